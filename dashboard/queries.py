"""All that the app reads, and nothing else does: records, reports and the folders of runs, cached by what is on disk.

What is missing is None or empty; what is damaged comes with a sentence for people. Nothing here raises for it.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zipfile import ZipFile

import streamlit as st

from pipeline.core.facts.training import CheckpointEntry
from pipeline.core.files import project_root
from pipeline.reports import archive, data_tables, drawing, outlines, run_folder, thumbnails, words
from pipeline.reports import resources as used
from pipeline.reports.archive import Version
from pipeline.reports.parts import Resources
from pipeline.reports.run_folder import JournalMetrics, JournalReader, State
from pipeline.reports.run_report import RunReport
from pipeline.reports.trouble import Trouble, attempted
from pipeline.runs.status import RunStatus

PROJECT = "TRACEWRIGHT_PROJECT"
"""Names the project's folder; the one at or above the current folder by default."""

ANSWER_SECONDS = 0.3

Stamp = tuple[int, int] | None
"""Of a file: when it was changed, in nanoseconds, and its size. None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """One training and what is known of it. archive: where its report is, None before there is one."""

    run_id: str
    folder: Path
    state: State
    status: RunStatus | None
    report: RunReport | None
    trouble: Trouble | None
    archive: Path | None
    started_seconds: float

    @property
    def short(self) -> str:
        """What is left of its name without the time that it may begin with."""
        return words.visible(self.run_id.rpartition("-")[2][:8])

    @property
    def label(self) -> str:
        """What a person picks it by: month, day and time when it started, a short name, its state."""
        return f"{words.moment(self.started_seconds)[5:16]} · {self.short} · {self.state}"


def project() -> Path | None:
    """The project's folder; None when there is none at or above the current one."""
    named = os.environ.get(PROJECT)
    return project_root(Path(named) if named else Path.cwd())


def runs(root: Path) -> list[RunView]:
    """Newest first. A fresh checkout that has only reports/ has one run, that of the report."""
    found = [_run(folder) for folder in archive.runs_of(root)]
    known = [run for run in found if run.status or run.report or run.trouble or (run.folder / "journal.jsonl").exists()]
    current = _read_report(str(root / "reports"), _stamp(root / "reports" / archive.REPORT))
    if isinstance(current, RunReport) and current.run_id not in {run.run_id for run in known if run.report}:
        known = [run for run in known if run.run_id != current.run_id]
        known.append(_checked_out(root, current))
    return sorted(known, key=lambda run: (-run.started_seconds, run.run_id))


def _run(folder: Path) -> RunView:
    status, state = run_folder.read_state(folder)
    kept = folder / archive.FOLDER
    read = _read_report(str(kept), _stamp(kept / archive.REPORT))
    report = read if isinstance(read, RunReport) else None
    if report is not None and state == "unknown":
        state = "finished"
    return RunView(
        run_id=folder.name,
        folder=folder,
        state=state,
        status=status,
        report=report,
        trouble=read if isinstance(read, Trouble) else None,
        archive=kept if report else None,
        started_seconds=_started(folder, status, report),
    )


def _checked_out(root: Path, report: RunReport) -> RunView:
    folder = root / archive.RUNS / report.run_id
    return RunView(
        run_id=report.run_id,
        folder=folder,
        state="finished",
        status=None,
        report=report,
        trouble=None,
        archive=root / "reports",
        started_seconds=_started(root / "reports", None, report),
    )


def _started(folder: Path, status: RunStatus | None, report: RunReport | None) -> float:
    if report and report.training.started:
        try:
            return datetime.fromisoformat(report.training.started).timestamp()
        except ValueError:
            pass
    if status:
        return status.process_started_seconds
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _stamp(path: Path) -> Stamp:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


@st.cache_resource(max_entries=200, show_spinner=False)
def _read_report(folder: str, stamp: Stamp) -> RunReport | Trouble | None:
    """stamp: of the report, so that a rewritten one is read again."""
    if stamp is None:
        return None
    return attempted(partial(archive.read_report, Path(folder)))


def images(run: RunView) -> Any:
    """The test images of a run as a pandas table, to be left as it is; Trouble where it cannot be read."""
    if run.archive is None:
        return Trouble("This run has no report yet; `dvc repro report` writes one.")
    return _read_images(str(run.archive), _stamp(run.archive / archive.IMAGES))


@st.cache_resource(max_entries=6, show_spinner=False)
def _read_images(folder: str, stamp: Stamp) -> Any:
    return attempted(partial(archive.read_images, Path(folder)))


@st.cache_resource(max_entries=6, show_spinner=False)
def _svgs(folder: str, stamp: Stamp) -> ZipFile | None:
    return archive.open_svgs(Path(folder))


def svg(root: Path, run: RunView, version: Version, digest: str) -> str | None:
    """One SVG of a run, as text; of a checkout without an archive, from results/evaluate."""
    if run.archive is None:
        return None
    if stamp := _stamp(run.archive / archive.SVGS):
        packed = _svgs(str(run.archive), stamp)
        return archive.read_svg(packed, version, digest) if packed else None
    return archive.read_loose_svg(root, version, digest)


def data_root(root: Path, run: RunView | None) -> Path | None:
    """Where a run's images were; None when nothing says."""
    if run is None:
        return None
    said = settings(run).get("data.root") or (run.report.dataset.root if run.report and run.report.dataset else None)
    return root / said if said else None


@st.cache_data(max_size="30mb", show_spinner=False)
def original(data: Path, path: str, digest: str) -> tuple[bytes, int, int] | None:
    """(PNG, width, height) of a test image; None when it is gone or no longer the one that was traced."""
    return thumbnails.original(data, path, digest)


@st.cache_data(max_size="30mb", show_spinner=False)
def thumbnail(data: Path, path: str, side: int) -> bytes | None:
    return thumbnails.thumbnail(data, path, side)


@st.cache_data(max_size="20mb", show_spinner=False)
def differences(
    data: Path, path: str, background: str, ours: str | None, default: str | None
) -> dict[str, drawing.DifferenceImage] | Trouble:
    """By "ours" and "default", where each differs from the original."""
    svgs = {name: text for name, text in (("ours", ours), ("default", default)) if text}
    return attempted(partial(drawing.differences, thumbnails.image_file(data, path), background, svgs))


@st.cache_data(max_size="20mb", show_spinner=False)
def lines_of(svg_text: str, colour: str, node_colour: str) -> outlines.Outlines | None:
    return outlines.outlines(svg_text, colour, node_colour)


@st.cache_resource(max_entries=100, show_spinner=False)
def _journal(folder: str) -> JournalReader:
    return JournalReader(Path(folder))


def metrics(run: RunView) -> JournalMetrics:
    """What the run's journal says by now."""
    return _journal(str(run.folder)).read()


def status(run: RunView) -> tuple[RunStatus | None, State]:
    """Of this moment."""
    return run_folder.read_state(run.folder)


def checkpoints(run: RunView) -> Sequence[CheckpointEntry]:
    """Those on disk now, else those that the report lists."""
    return run_folder.read_checkpoints(run.folder) or (
        run.report.checkpoints.entries if run.report and run.report.checkpoints else ()
    )


def settings(run: RunView) -> dict[str, str]:
    """All that the run was given, by dotted name: what its journal says, else the sections that the report holds."""
    return metrics(run).params or (dict(_flat(run.report.settings, "")) if run.report else {})


def background(run: RunView) -> str:
    """`#rrggbb` that transparent images of the run were seen on."""
    said = settings(run).get("data.background", "")
    return said if re.fullmatch(r"#[0-9a-fA-F]{6}", said) else "#ffffff"


def _flat(value: Any, before: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{before}.{name}" if before else str(name))
    else:
        yield before, json.dumps(value) if isinstance(value, list | bool | None) else str(value)


def resources(run: RunView) -> tuple[list[dict[str, float]], Resources | None]:
    """Points for charts, and their summary: of a run that goes on from its samples, else from its report."""
    rows, summary = _read_resources(str(run.folder), _stamp(run.folder / used.HISTORY))
    return rows, summary or (run.report.resources if run.report else None)


@st.cache_resource(max_entries=16, show_spinner=False)
def _read_resources(folder: str, stamp: Stamp) -> tuple[list[dict[str, float]], Resources | None]:
    return used.points(used.read_samples(Path(folder))), used.read_resources(Path(folder))


REPORT_FILES = ((archive.PAGE, "text/html", "Report (HTML)"), (archive.REPORT, "application/json", "Report (JSON)"))


def report_file(run: RunView, name: str) -> bytes | None:
    """One of the report's files as it was written."""
    return archive.read_written(run.archive, name) if run.archive else None


def agent_folder(root: Path) -> Path | None:
    """The newest training's agent; None where there is none."""
    folder = root / "models/agent"
    return folder if folder.is_dir() else None


def catalogue(root: Path) -> Any:
    """Every usable image with its split, as a pandas table; None before `dvc repro catalogue`, Trouble if damaged."""
    paths = (root / data_tables.CATALOGUE, root / data_tables.SPLITS)
    return _read_catalogue(str(root), _stamp(paths[0]), _stamp(paths[1]))


@st.cache_resource(max_entries=4, show_spinner=False)
def _read_catalogue(root: str, stamp: Stamp, splits: Stamp) -> Any:
    if stamp is None:
        return None
    return attempted(partial(data_tables.read_catalogue, Path(root)))


def quality(root: Path) -> Any:
    """data/quality.json; None when there is none, Trouble when it is damaged."""
    return _read_quality(str(root), _stamp(root / data_tables.QUALITY))


@st.cache_resource(max_entries=4, show_spinner=False)
def _read_quality(root: str, stamp: Stamp) -> Any:
    if stamp is None:
        return None
    return attempted(partial(data_tables.read_quality, Path(root)))


@st.cache_data(ttl=15, show_spinner=False)
def answers(address: str) -> bool:
    """Whether something listens at a web address."""
    try:
        parts = urlsplit(address)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((parts.hostname or "", port), ANSWER_SECONDS):
            return True
    except (OSError, ValueError):
        return False


def age_in_words(seconds: float) -> str:
    """How long ago a moment was: "12 s ago"."""
    return f"{words.duration(max(0.0, time.time() - seconds))} ago"
