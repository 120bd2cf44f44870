"""`tracewright doctor`: whether what lies in the project's folder is still what was written there."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from pipeline.core.errors import DataError, TracewrightError
from pipeline.core.files import sha256_of
from pipeline.core.parquet import read_table
from pipeline.data.images import path_of
from pipeline.machine.ports import holder, is_free
from pipeline.runs.resume import TRAINING, read_lineage
from pipeline.settings.params import Settings, load_settings
from pipeline.tracing.evaluation_store import damaged_rows
from pipeline.tracing.store_pool import LEDGER, STORE, read_ledger
from pipeline.tracking import lineage, mlflow_store, models, replica
from pipeline.tracking.journal import JOURNAL, Record, records
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


def _verdict(subject: str, troubles: Sequence[str], fine: str) -> Iterator[Diagnosis]:
    """Each trouble, or that all is fine."""
    yield from (Diagnosis("damaged", subject, trouble) for trouble in troubles)
    if not troubles:
        yield Diagnosis("fine", subject, fine)


def _images(root: Path, settings: Settings) -> Iterator[Diagnosis]:
    """Each image against the digest in the catalogue: DVC trusts times and sizes, and does not see a bit that rots."""
    if not (root / CATALOGUE).is_file():
        yield Diagnosis("note", "images", "no catalogue yet; `make repro` makes it")
        return
    rows = read_table(root / CATALOGUE, ["path", "sha256"]).to_pylist()
    folder = root / settings.data.root
    digests = {folder / path_of(row["path"]): row["sha256"] for row in rows}
    changed = [f"{path}: is not the file that was catalogued; restore it, or rerun" for path in _changed(digests)]
    yield from _verdict("images", changed, f"{len(rows)} images are those that were catalogued")


def _changed(digests: Mapping[Path, str]) -> list[Path]:
    """Files that are not what their SHA-256 says, or not there."""
    return [path for path, digest in digests.items() if sha256_if_there(path) != digest]


def sha256_if_there(path: Path) -> str | None:
    """Of a file; None where it cannot be read."""
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
    text = "is not what dvc.lock says; `dvc repro` makes it again, `dvc checkout` fetches it from the cache"
    changed = [f"{out['path']}: {text}" for out in there if lineage.digest_of(root / out["path"]) != out["md5"]]
    missing = f", {len(outs) - len(there)} not there" if len(there) < len(outs) else ""
    yield from _verdict("DVC", changed, f"{len(there)} results are what dvc.lock says{missing}")


def _cache(root: Path) -> Iterator[Diagnosis]:
    yield from _verdict("DVC cache", _rotten(root), "every file is what its name says")


def check_cache(root: Path) -> None:
    """Raises DataError for a damaged file in DVC's cache, which DVC itself would check out as a result."""
    if rotten := _rotten(root):
        raise DataError("\n".join(rotten))


def _rotten(root: Path) -> list[str]:
    """Files in DVC's cache that are not what their names, their MD5, say."""
    advice = "has changed; delete it, then `dvc fetch` or `make repro`"
    files = [path for path in (root / ".dvc/cache/files/md5").glob("??/*") if path.is_file()]
    named = {path: (path.parent.name + path.name).removesuffix(".dir") for path in files}
    return [f"{path}: {advice}" for path, name in named.items() if lineage.digest_of(path) != name]


def _databases(root: Path) -> Iterator[Diagnosis]:
    home = mlflow_store.home(root)
    store, mlflow = root / STORE, home / mlflow_store.DATABASE
    if store.is_file():
        trouble = _trouble_in(store) or _trouble_in_rows(store)
        yield from _verdict(
            "databases",
            [f"{store}: {trouble}; delete it: it is created again, and evaluations are traced again"]
            if trouble
            else [],
            f"{store.relative_to(root)} is sound",
        )
    if mlflow.is_file():
        trouble = _trouble_in(mlflow) or _trouble_in_metrics(home, mlflow)
        advice = "put it aside and run `tracewright sync`: the journals have what it had"
        yield from _verdict(
            "databases",
            [f"{mlflow}: {trouble}; {advice}"] if trouble else [],
            f"{mlflow.relative_to(home)} is sound",
        )
        for folder in [] if trouble else mlflow_store.moved_from(root):
            yield Diagnosis(
                "note",
                "databases",
                f"the project was at {folder}; the next command that opens MLflow corrects its addresses",
            )


def _trouble_in(path: Path) -> str | None:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            answer = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        return str(error)
    return None if answer == "ok" else answer


def _trouble_in_rows(store: Path) -> str | None:
    try:
        rows, damaged = damaged_rows(store)
    except sqlite3.Error as error:
        return str(error)
    return f"{damaged} of {rows} rows are not what was written" if damaged else None


def _trouble_in_metrics(home: Path, database: Path) -> str | None:
    """The journals' parameters and metrics against those that MLflow has of them."""
    missing = 0
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        for run in _run_folders(home):
            sent = replica.read_state(run, f"sqlite:///{database}")
            if sent.run_id is None:
                continue
            ours = {
                fact for record, end in _records(run) if end <= sent.sent_bytes for fact in replica.facts_of(record)
            }
            queries = ("SELECT key, value FROM params", "SELECT key, value, timestamp, step FROM metrics")
            rows = [row for q in queries for row in connection.execute(f"{q} WHERE run_uuid = ?", (sent.run_id,))]
            missing += len(ours.difference(rows)) if rows else 0  # without any, the run was deleted in MLflow
    return f"{missing} values are not those of the journals" if missing else None


def _checkpoints(root: Path) -> Iterator[Diagnosis]:
    count, troubles = 0, []
    for run in _run_folders(root):
        if (run / TRAINING).exists():
            try:
                is_left = not read_lineage(run).delivered
            except DataError as error:
                troubles.append(str(error))
                continue
            if is_left and (run / LEDGER).is_file() and (damaged := read_ledger(run / LEDGER)[1]):
                troubles.append(
                    f"{run / LEDGER}: {damaged} records are damaged; results/train lacks as many evaluations"
                )
        for path in files_in(run / FOLDER):
            count += 1
            try:
                read_checkpoint(path)
            except DataError as error:
                troubles.append(f"{error}; `tracewright checkpoints prune` removes it")
    if count or troubles:
        yield from _verdict("checkpoints", troubles, f"{count} are sound")


def _journals(root: Path) -> Iterator[Diagnosis]:
    """Each journal, and the files that it names, here and in the embedded MLflow."""
    troubles, count, files = [], 0, 0
    for run in _run_folders(root):
        if not (run / JOURNAL).is_file():
            continue
        count += 1
        try:
            digests = _files_of(mlflow_store.home(root), run)
        except DataError as error:
            troubles.append(f"{error}, or take the file from a backup")
            continue
        files += len(digests)
        troubles += [f"{path}: is not the file that was kept; restore it, or train again" for path in _changed(digests)]
    if count:
        yield from _verdict("journals", troubles, f"{count} were read, and {files} files are those that they name")


def _records(run: Path) -> list[tuple[Record, int]]:
    """Nothing of a damaged journal, which is a finding of its own."""
    try:
        return list(records(run / JOURNAL, 0))
    except (OSError, DataError):
        return []


def _files_of(home: Path, run: Path) -> dict[Path, str]:
    """The files that a run kept, and what is there of their copies in the embedded MLflow, with their SHA-256."""
    own, copies = {}, {}
    sent = replica.read_state(run, f"sqlite:///{home / mlflow_store.DATABASE}")
    artifacts = home / mlflow_store.ARTIFACTS
    for record, _ in records(run / JOURNAL, 0):
        if record["kind"] == "artifact":
            own[run / record["path"]] = digest = record["sha256"]
            copies[
                artifacts / str(sent.run_id) / "artifacts" / (record["folder"] or "") / Path(record["path"]).name
            ] = digest
        elif record["kind"] == "model":
            model_id = str(sent.models.get(record["name"]))
            for name, digest in record["sha256"].items():
                own[run / "models" / record["name"] / name] = digest
                copies[artifacts / "models" / model_id / "artifacts/artifacts/agent" / name] = digest
                copies[home / models.KEPT / model_id / name] = digest
    return own | {path: digest for path, digest in copies.items() if path.exists()}


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
