"""`tracewright sync`: sends MLflow the records that it lacks, after an outage or a killed process."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from pipeline.core.errors import TracewrightError, Unavailable
from pipeline.core.locks import Lock
from pipeline.tracking import mlflow_store
from pipeline.tracking.journal import JOURNAL, Journal
from pipeline.tracking.replica import Replica


def sync(root: Path) -> list[tuple[str, str | TracewrightError]]:
    """Sends the rest of every run, oldest first; for each its id and what was done, or the error."""
    results: list[tuple[str, str | TracewrightError]] = []
    for folder in sorted(
        path.parent for path in (mlflow_store.home(root) / mlflow_store.RUNS_FOLDER).glob(f"*/{JOURNAL}")
    ):
        try:
            results.append((folder.name, send_rest(root, folder)))
        except TracewrightError as error:
            results.append((folder.name, error))
    return results


def send_rest(root: Path, folder: Path) -> str:
    """Sends what MLflow lacks of a run that no process writes; returns what was done, in words.

    A run whose process died is closed as KILLED. Raises Unavailable, DataError or StorageError.
    """
    try:
        lock = Lock(folder)
    except Unavailable:
        return "is being written; its own process sends it"
    with lock:
        with closing(Journal(folder)) as journal:
            if journal.status is None and journal.size:
                journal.end("KILLED", "its process died")
        replica = Replica(root, folder)
        unsent = journal.size - replica.sent.sent_bytes
        replica.send()
    return f"{unsent} bytes of its journal sent" if unsent else "was complete"
