"""`tracewright sync`: what MLflow has not got of any run, because it was away or a process died."""

from __future__ import annotations

from pathlib import Path

from pipeline.core.errors import TracewrightError, Unavailable
from pipeline.core.locks import Lock
from pipeline.tracking import mlflow_store
from pipeline.tracking.journal import JOURNAL, Journal
from pipeline.tracking.replica import Replica


def sync(root: Path) -> list[tuple[str, str | TracewrightError]]:
    """Send the rest of every run, the oldest first; for each its id and what was done, or why it could not be."""
    results: list[tuple[str, str | TracewrightError]] = []
    for folder in sorted(path.parent for path in (mlflow_store.home(root) / mlflow_store.RUNS).glob(f"*/{JOURNAL}")):
        try:
            results.append((folder.name, send_the_rest(root, folder)))
        except TracewrightError as error:
            results.append((folder.name, error))
    return results


def send_the_rest(root: Path, folder: Path) -> str:
    """What a run that nobody writes has and MLflow has not. Returns what was done, in words.

    A run whose process died without a word is closed as KILLED. Raises Unavailable, DataError or StorageError.
    """
    try:
        lock = Lock(folder)
    except Unavailable:
        return "is being written; its own process sends it"
    try:
        journal = Journal(folder)
        try:
            if journal.status is None and journal.size:
                journal.end("KILLED", "its process died")
        finally:
            journal.close()
        replica = Replica(root, folder)
        unsent = journal.size - replica.sent.sent_bytes
        replica.send()
    finally:
        lock.release()
    return f"{unsent} bytes of its journal sent" if unsent else "was complete"
