"""The checkpoints of one run: which are kept, which is the latest and the best, and an index that may be lost."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipeline.core.errors import DataError
from pipeline.core.facts.training import CheckpointEntry, CheckpointReason
from pipeline.core.files import write_bytes
from pipeline.settings.params import CheckpointSettings
from pipeline.training.checkpoint import SUFFIX, Checkpoint, pack, read_checkpoint

INDEX = "index.json"
FOLDER = "checkpoints"

_NAME = re.compile(r"(\d{6,})-(\d+)\.ckpt")

_log = logging.getLogger(__name__)


_ENTRIES = TypeAdapter(list[CheckpointEntry])


class CheckpointStore:
    """`run_folder/checkpoints`. One process writes at a time; reading changes nothing."""

    def __init__(self, run_folder: Path, settings: CheckpointSettings) -> None:
        self.folder = run_folder / FOLDER
        self._settings = settings
        self._written: dict[str, CheckpointEntry] = {}

    def entries(self, *, check: bool = False) -> list[CheckpointEntry]:
        """Oldest first. A file that the index does not know, or knows otherwise, is read; a damaged one is left out.

        check: every file is read, since the index does not show a bit that rots.
        """
        known = self._written or {entry.name: entry for entry in _read_index(self.folder / INDEX)}
        found = []
        for path in files_in(self.folder):
            entry = known.get(path.name)
            if check or entry is None or entry.bytes != path.stat().st_size:
                try:
                    entry = entry_of(path, read_checkpoint(path))
                except DataError as error:
                    _log.warning("%s", error)
                    continue
            found.append(entry)
        return found

    def save(self, checkpoint: Checkpoint, reason: CheckpointReason) -> CheckpointEntry:
        """Write a state whose `facts["summary"]` has timesteps, phase and metrics; let go of what is not to be kept.

        Raises StorageError when it cannot be written; what was there before then still is.
        """
        before = self.entries()
        number = 1 + max((int(path.name.partition("-")[0]) for path in files_in(self.folder)), default=0)
        summary = {**checkpoint.facts["summary"], "number": number, "reason": reason, "saved_seconds": time.time()}
        whole = Checkpoint({**checkpoint.facts, "summary": summary}, checkpoint.arrays)
        path = self.folder / f"{number:06d}-{summary['timesteps']}{SUFFIX}"
        write_bytes(path, pack(whole, compress=self._settings.compress))
        entry = entry_of(path, whole)
        self._let_go([*before, entry])
        return entry

    def latest(self) -> tuple[Path, Checkpoint] | None:
        """As `latest_in`."""
        return latest_in(self.folder)

    def best(self) -> CheckpointEntry | None:
        """By `checkpoints.best_metric`; None when no validation was kept."""
        return best_of(self.entries(), self._settings)

    def prune(self) -> list[str]:
        """Let go of all but what the settings keep, and of damaged and half-written files; returns their names."""
        sound = self.entries(check=True)
        names = {entry.name for entry in sound}
        gone = [p for p in files_in(self.folder) if p.name not in names] + list(self.folder.glob(f".*{SUFFIX}"))
        for path in gone:
            path.unlink(missing_ok=True)
        return [path.name for path in gone] + self._let_go(sound)

    def clear_half_written(self) -> None:
        """Remove what a kill left of files that were being written. Only for the process that holds the run."""
        for path in self.folder.glob(f".*{SUFFIX}"):
            path.unlink(missing_ok=True)

    def _let_go(self, entries: Sequence[CheckpointEntry]) -> list[str]:
        kept = kept_of(entries, self._settings)
        gone = [entry.name for entry in entries if entry.name not in kept]
        self._written = {entry.name: entry for entry in entries if entry.name in kept}
        try:
            for name in gone:
                (self.folder / name).unlink(missing_ok=True)
            _write_index(self.folder / INDEX, list(self._written.values()))
        except OSError as error:
            _log.warning("%s: not tidied up (%s); the checkpoints themselves are sound", self.folder, error)
        return gone


def files_in(folder: Path) -> list[Path]:
    """Every checkpoint there is, sound or not, oldest first."""
    numbered = [(int(match[1]), p) for p in folder.glob(f"*{SUFFIX}") if (match := _NAME.fullmatch(p.name))]
    return [path for _, path in sorted(numbered)]


def latest_in(folder: Path) -> tuple[Path, Checkpoint] | None:
    """The newest checkpoint that is sound; each damaged one on the way is named in a warning."""
    for path in reversed(files_in(folder)):
        try:
            return path, read_checkpoint(path)
        except DataError as error:
            _log.warning("%s; taking the one before it", error)
    return None


def kept_of(entries: Sequence[CheckpointEntry], settings: CheckpointSettings) -> set[str]:
    """Names of the last `keep_last`, the best, and every `keep_every`-th of entries that stand oldest first."""
    kept = {entry.name for entry in entries[-settings.keep_last :]}
    if settings.keep_every:
        kept |= {entry.name for entry in entries if entry.number % settings.keep_every == 0}
    best = best_of(entries, settings)
    return kept | {best.name} if best else kept


def best_of(entries: Sequence[CheckpointEntry], settings: CheckpointSettings) -> CheckpointEntry | None:
    """The first of the best by `best_metric`, of those that were validated."""
    measured = [entry for entry in entries if settings.best_metric in entry.metrics]
    sign = 1 if settings.best_mode == "max" else -1
    return max(measured, key=lambda entry: sign * entry.metrics[settings.best_metric], default=None)


def bound_store(runs: Path, max_bytes: int, spare: Sequence[Path]) -> list[Path]:
    """Delete the oldest checkpoints of all runs in the folder `runs` until no more than `max_bytes` are left.

    The newest of a run goes only when nothing else is left to go. spare: folders of runs that are being written, which
    are left alone. Returns what was deleted.
    """
    per_run = [sorted(folder.glob(f"*{SUFFIX}")) for folder in runs.glob(f"*/{FOLDER}") if folder.parent not in spare]
    older = sorted((p for files in per_run for p in files[:-1]), key=_saved)
    newest = sorted((files[-1] for files in per_run if files), key=_saved)
    total = sum(path.stat().st_size for path in runs.glob(f"*/{FOLDER}/*{SUFFIX}"))
    gone = []
    for path in [*older, *newest]:
        if total <= max_bytes:
            break
        total -= path.stat().st_size
        path.unlink(missing_ok=True)
        gone.append(path)
    return gone


def entry_of(path: Path, checkpoint: Checkpoint) -> CheckpointEntry:
    """Raises DataError when the file is a checkpoint of something else."""
    try:
        summary = checkpoint.facts["summary"]
        values = {name: summary[name] for name in ("number", "seed", "timesteps", "phase", "reason", "saved_seconds")}
        found = {"name": path.name, "bytes": path.stat().st_size, "metrics": summary["metrics"], **values}
        return _ENTRIES.validate_python([found])[0]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: does not say what it is a checkpoint of ({error!r}); use another one") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        what = f"{first['loc'][-1]}: {first['msg']}"
        raise DataError(f"{path}: does not say what it is a checkpoint of ({what}); use another one") from error


def _saved(path: Path) -> float:
    return path.stat().st_mtime


def _read_index(path: Path) -> list[CheckpointEntry]:
    """Nothing when there is none or it is not what was written: it is rebuilt from the files."""
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        if index["sha256"] != _digest(index["entries"]):
            return []
        return _ENTRIES.validate_python(index["entries"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return []


def _write_index(path: Path, entries: Sequence[CheckpointEntry]) -> None:
    """Not synced: it can be lost, and a training is not to wait for it."""
    values = [asdict(entry) for entry in entries]
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps({"sha256": _digest(values), "entries": values}), encoding="utf-8")
    temporary.replace(path)


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
