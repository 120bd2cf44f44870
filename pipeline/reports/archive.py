"""What stays of a run when DVC's outs are those of a later one: four files in `.tracewright/runs/RUN/report/`.

report.json     the report for machines, written last: where it is, the others are
report.html     the same for people, with its pictures
images.parquet  one row per test image: ours with all scores, every other method's value, bytes and damage
svgs.zip        ours/DIGEST.svg and default/DIGEST.svg, up to MOST_SVG_BYTES of text
"""

from __future__ import annotations

import json
import math
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pipeline.core.errors import DataError
from pipeline.core.facts.comparison import OURS, ImageResult
from pipeline.core.files import whole, write_text
from pipeline.core.json_records import from_json, write_record
from pipeline.core.parquet import read_table, write_table
from pipeline.reports.results import Results
from pipeline.reports.run_report import SCHEMA_VERSION, RunReport

RUNS = Path(".tracewright/runs")
FOLDER = "report"
REPORT, PAGE, IMAGES, SVGS = "report.json", "report.html", "images.parquet", "svgs.zip"
OURS_SVGS, DEFAULT_SVGS = "results/evaluate/svg", "results/evaluate/default"
MOST_SVG_BYTES = 200_000_000
MOST_SHOWN_BYTES = 8_000_000  # of one SVG; what is larger is not shown

Version = Literal["ours", "default"]
VALUE_OF, RATIO_OF, DAMAGE_OF = "value_", "ratio_", "damage_"
"""Before a method's name: the column of its value, bytes / default's bytes and damage at the headline's traces."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


def keep(run_folder: Path, report: RunReport, page: str, results: Results, svgs: Mapping[Version, Path]) -> Path:
    """Write a run's archive; returns its folder.

    page: the report as HTML. svgs: folders of DIGEST.svg. Those of the most and the least improved images go first,
    until MOST_SVG_BYTES are reached. Raises StorageError.
    """
    folder = run_folder / FOLDER
    write_images(folder / IMAGES, results)
    with whole(folder / SVGS) as temporary:
        _pack(temporary, _in_order(report, results.images), svgs)
    write_text(folder / PAGE, page)
    write_record(folder / REPORT, report)
    return folder


def write_images(path: Path, results: Results) -> None:
    """One row per image. Raises StorageError."""
    import pyarrow as pa

    traces = results.comparison.headline_traces
    others = [m.name for m in results.comparison.methods if m.name != OURS]
    rows = []
    for image in results.images:
        row: dict[str, Any] = asdict(image)
        for name in others:
            measured = results.measures.get((name, traces), {}).get(image.path)
            row[f"{VALUE_OF}{name}"] = measured.value if measured else None
            row[f"{RATIO_OF}{name}"] = math.exp(-measured.size_gain) if measured else None
            row[f"{DAMAGE_OF}{name}"] = measured.damage if measured else None
        rows.append(row)
    write_table(pa.Table.from_pylist(rows), path)


def _in_order(report: RunReport, images: Sequence[ImageResult]) -> Iterator[str]:
    notable = [i.digest for i in (*report.most_improved, *report.least_improved, *report.sample)]
    yield from dict.fromkeys([*notable, *(i.digest for i in images)])


def _pack(target: Path, digests: Iterator[str], svgs: Mapping[Version, Path]) -> None:
    room = MOST_SVG_BYTES
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as packed:
        for digest in digests:
            for version, folder in svgs.items():
                try:
                    content = (folder / f"{digest}.svg").read_bytes()
                except OSError:
                    continue  # the stage left none; the app shows an empty panel
                room -= len(content)
                if room < 0:
                    return
                packed.writestr(zipfile.ZipInfo(_name(version, digest)), content, zipfile.ZIP_DEFLATED)


def _name(version: Version, digest: str) -> str:
    return f"{version}/{digest}.svg"


def runs_of(project: Path) -> list[Path]:
    """The folders of all runs that left anything, in no order; none when nothing was run."""
    try:
        return [path for path in (project / RUNS).iterdir() if path.is_dir() and not path.name.startswith(".")]
    except OSError:
        return []


def read_report(folder: Path) -> RunReport:
    """report.json of an archive, or of reports/. Raises DataError when it is missing, damaged or of another release."""
    path = folder / REPORT
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content.get("schema_version") if isinstance(content, dict) else None
        if found != SCHEMA_VERSION:
            raise DataError(f"{path}: is of form {found}, this release reads {SCHEMA_VERSION}; run `dvc repro report`")
        return from_json(RunReport, content)
    except FileNotFoundError:
        raise DataError(f"{path}: not found; run `dvc repro report`") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read ({error}); run `dvc repro --force report`") from error


def read_images(folder: Path) -> Any:
    """images.parquet as a pandas table, a row per image. Raises DataError."""

    path = folder / IMAGES
    try:
        table = read_table(path).to_pandas()
        missing = {"path", "digest", "category", "value", "ratio"} - set(table.columns)
    except FileNotFoundError:
        raise DataError(f"{path}: not found; run `dvc repro --force report`") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); run `dvc repro --force report`") from error
    if missing:
        raise DataError(f"{path}: lacks {', '.join(sorted(missing))}; run `dvc repro --force report`")
    return table


def read_written(folder: Path, name: str) -> bytes | None:
    """REPORT or PAGE as it was written; None where there is none."""
    try:
        return (folder / name).read_bytes() if name in (REPORT, PAGE) else None
    except OSError:
        return None


def open_svgs(folder: Path) -> zipfile.ZipFile | None:
    """The archive of SVGs, whose index takes a while to read; None when there is none that can be read."""
    try:
        return zipfile.ZipFile(folder / SVGS)
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return None


def read_svg(packed: zipfile.ZipFile, version: Version, digest: str) -> str | None:
    """One SVG; None when the archive has none, or none that can be read or shown."""
    if not _DIGEST.fullmatch(digest):
        return None
    try:
        member = packed.getinfo(_name(version, digest))
        return packed.read(member).decode("utf-8") if member.file_size <= MOST_SHOWN_BYTES else None
    except (OSError, KeyError, ValueError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return None


def read_loose_svg(root: Path, version: Version, digest: str) -> str | None:
    """The same from results/evaluate of the project, which has those of its newest run."""
    if not _DIGEST.fullmatch(digest):
        return None
    path = root / "results/evaluate" / {"ours": "svg", "default": "default"}[version] / f"{digest}.svg"
    try:
        return path.read_text(encoding="utf-8") if path.stat().st_size <= MOST_SHOWN_BYTES else None
    except (OSError, UnicodeDecodeError):
        return None
