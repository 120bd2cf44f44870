"""`tracewright doctor`: whether what lies in the project's folder is still what was written there."""

from __future__ import annotations

import shutil
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from pipeline.core.errors import DataError, TracewrightError
from pipeline.core.files import sha256_of
from pipeline.data.images import path_of
from pipeline.machine.ports import holder, is_free
from pipeline.runs.resume import TRAINING, read_lineage
from pipeline.settings.params import Settings, load_settings
from pipeline.tracing.store_pool import STORE
from pipeline.tracking import lineage, mlflow_store
from pipeline.tracking.journal import JOURNAL, records
from pipeline.training.checkpoint import read_checkpoint
from pipeline.training.checkpoint_store import FOLDER, files_in

Severity = Literal["fine", "note", "damaged"]

LEAST_FREE_BYTES = 1_000_000_000
PORTS = {
    5000: "the MLflow UI",
    8501: "the dashboard",
    9108: "the exporter",
}
CATALOGUE = Path("data/catalogue.parquet")


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """note: worth knowing. damaged: something is not what was written, and `text` says what to do."""

    level: Severity
    subject: str
    text: str


def examine(root: Path) -> Iterator[Diagnosis]:
    """Every check, one after the other. A check that fails itself is a finding, and the others go on."""
    try:
        settings = load_settings(root / "params.yaml")
    except TracewrightError as error:
        yield Diagnosis("damaged", "settings", str(error))
        return
    yield Diagnosis("fine", "settings", "params.yaml is in order")
    checks: list[tuple[str, Callable[[], Iterator[Diagnosis]]]] = [
        ("images", lambda: _images(root, settings)),
        ("DVC", lambda: _outs(root)),
        ("DVC cache", lambda: _cache(root)),
        ("databases", lambda: _databases(root)),
        ("checkpoints", lambda: _checkpoints(root)),
        ("journals", lambda: _journals(root)),
        ("versions", lambda: _versions(root)),
        ("disk", lambda: _disk(root)),
        ("ports", _ports),
    ]
    for subject, check in checks:
        try:
            yield from check()
        except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError) as error:
            yield Diagnosis("damaged", subject, f"could not be checked: {error}")


def _images(root: Path, settings: Settings) -> Iterator[Diagnosis]:
    """Each image against the digest in the catalogue: DVC trusts times and sizes, and does not see a bit that rots."""
    import pyarrow.parquet as pq

    if not (root / CATALOGUE).is_file():
        yield Diagnosis("note", "images", "no catalogue yet; `make repro` makes it")
        return
    rows = pq.read_table(root / CATALOGUE, columns=["path", "sha256"]).to_pylist()
    folder = root / settings.data.root
    changed = [row["path"] for row in rows if _sha256(folder / path_of(row["path"])) != row["sha256"]]
    for path in changed:
        yield Diagnosis(
            "damaged", "images", f"{folder / path}: is not the file that was catalogued; restore it, or rerun"
        )
    if not changed:
        yield Diagnosis("fine", "images", f"{len(rows)} images are those that were catalogued")


def _sha256(path: Path) -> str | None:
    try:
        return sha256_of(path)
    except OSError:
        return None


def _outs(root: Path) -> Iterator[Diagnosis]:
    """Results against dvc.lock."""
    lock = root / "dvc.lock"
    if not lock.is_file():
        yield Diagnosis("note", "DVC", "no dvc.lock yet; `make repro` makes it")
        return
    content: dict[str, Any] = yaml.safe_load(lock.read_text(encoding="utf-8"))
    outs = [out for stage in content["stages"].values() for out in stage.get("outs", [])]
    there = [out for out in outs if (root / out["path"]).exists()]
    changed = [out["path"] for out in there if lineage.digest_of(root / out["path"]) != out["md5"]]
    for path in changed:
        text = "is not what dvc.lock says; `dvc repro` makes it again, `dvc checkout` fetches it from the cache"
        yield Diagnosis("damaged", "DVC", f"{path}: {text}")
    if not changed:
        missing = f", {len(outs) - len(there)} not there" if len(there) < len(outs) else ""
        yield Diagnosis("fine", "DVC", f"{len(there)} results are what dvc.lock says{missing}")


def _cache(root: Path) -> Iterator[Diagnosis]:
    """Each file in DVC's cache against its name, which is its MD5."""
    folder = root / ".dvc/cache/files/md5"
    files = [path for path in folder.glob("??/*") if path.is_file()]
    rotten = [path for path in files if lineage.digest_of(path) != (path.parent.name + path.name).removesuffix(".dir")]
    for path in rotten:
        yield Diagnosis("damaged", "DVC cache", f"{path}: has changed; delete it, then `dvc fetch` or `make repro`")
    if files and not rotten:
        yield Diagnosis("fine", "DVC cache", f"{len(files)} files are what their names say")


def _databases(root: Path) -> Iterator[Diagnosis]:
    advice = {
        root / STORE: "delete it: it is created again, and evaluations are traced again",
        mlflow_store.home(root)
        / "mlruns/mlflow.db": "put it aside and run `tracewright sync`: the journals have what it had",
    }
    for path, what_to_do in advice.items():
        if not path.is_file():
            continue
        trouble = _trouble_in(path)
        if trouble:
            yield Diagnosis("damaged", "databases", f"{path}: {trouble}; {what_to_do}")
        else:
            yield Diagnosis("fine", "databases", f"{path.relative_to(mlflow_store.home(root))} is sound")


def _trouble_in(path: Path) -> str | None:
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            answer = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        return str(error)
    return None if answer == "ok" else answer


def _checkpoints(root: Path) -> Iterator[Diagnosis]:
    count = 0
    damaged = False
    for run in _run_folders(root):
        if (run / TRAINING).exists():
            try:
                read_lineage(run)
            except DataError as error:
                damaged = True
                yield Diagnosis("damaged", "checkpoints", str(error))
        for path in files_in(run / FOLDER):
            count += 1
            try:
                read_checkpoint(path)
            except DataError as error:
                damaged = True
                yield Diagnosis("damaged", "checkpoints", f"{error}; `tracewright checkpoints prune` removes it")
    if count and not damaged:
        yield Diagnosis("fine", "checkpoints", f"{count} are sound")


def _journals(root: Path) -> Iterator[Diagnosis]:
    journals = [path for run in _run_folders(root) if (path := run / JOURNAL).is_file()]
    for path in journals:
        try:
            deque(records(path, 0), maxlen=0)
        except DataError as error:
            yield Diagnosis("damaged", "journals", f"{error}, or take the file from a backup")
    if journals:
        yield Diagnosis("fine", "journals", f"{len(journals)} were read")


def _run_folders(root: Path) -> list[Path]:
    return sorted(path for path in (mlflow_store.home(root) / mlflow_store.RUNS_FOLDER).glob("*") if path.is_dir())


def _versions(root: Path) -> Iterator[Diagnosis]:
    lock = root / "requirements.lock"
    if not lock.is_file():
        return
    pinned = dict(line.split("==") for line in lock.read_text(encoding="utf-8").splitlines() if "==" in line)
    installed = lineage.version_tags()
    other = []
    for name in lineage.DISTRIBUTIONS:
        version = installed.get(f"version.{name}")
        if version and name in pinned and version.partition("+")[0] != pinned[name]:
            other.append(f"{name} {version} (pinned: {pinned[name]})")
    if other:
        text = (
            f"not those of requirements.lock: {', '.join(other)}; results may differ; `make setup` installs the pinned"
        )
        yield Diagnosis("note", "versions", text)
    else:
        yield Diagnosis("fine", "versions", "what decides a result is installed as requirements.lock pins it")


def _disk(root: Path) -> Iterator[Diagnosis]:
    free = shutil.disk_usage(root).free
    if free < LEAST_FREE_BYTES:
        text = f"{free / 1e9:.2f} GB free, less than {LEAST_FREE_BYTES / 1e9:g} GB; a training may not be able to save"
        yield Diagnosis("note", "disk", text)
    else:
        yield Diagnosis("fine", "disk", f"{free / 1e9:.1f} GB free")


def _ports() -> Iterator[Diagnosis]:
    for port, what in PORTS.items():
        if is_free(port):
            yield Diagnosis("fine", "ports", f"{port}, of {what}, is free")
        else:
            yield Diagnosis("note", "ports", f"{port}, of {what}, is taken by {holder(port)}")
