"""The connection to MLflow: its address, and clients that answer or fail within seconds.

Without MLFLOW_TRACKING_URI everything is embedded: a SQLite file and a folder of artifacts under `mlruns/`.
"""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from pipeline.core.errors import Unavailable, brief
from pipeline.core.files import whole
from pipeline.core.locks import Lock

if TYPE_CHECKING:
    from mlflow import MlflowClient

DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # MLflow's own 120 s and 7 retries block one call for 246 s
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",  # MLflow's own goes past the server, to a store without keys
}
"""Environment variables of MLflow that we set unless the user has."""

PROBE_SECONDS = 5
DATABASE, ARTIFACTS = Path("mlruns/mlflow.db"), Path("mlruns/artifacts")
"""Of the embedded MLflow, in the project's `home`."""

EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",  # else MLflow opens its page for language models
    "mlflow.note.content": """\
Trainings of tracewright: agents that choose VTracer's settings for each logo, for the smallest SVG without visible \
damage. A run is one training of one seed, named by the settings that differ from the committed `params.yaml`.

- `val/` is measured on validation images while the agent trains; its step axis is the timesteps.
- `test/` compares the agent with its rivals on images that nobody trained on; its step axis is the number of traces.
- A ratio is bytes in relation to VTracer's minified default: 0.3 means 70 % fewer. Lower is better.
- A run's artifacts hold its report, pictures, a few SVGs, `params.yaml` and what it was made from (`lineage.json`).

The alias `champion` of the registered model marks the agent that `tracewright vectorize` uses.
""",
}
"""Set on every experiment that lacks them."""

RUNS_FOLDER = Path(".tracewright/runs")
"""The folder with a folder for each run, in the project's `home`."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment in the MLflow at `uri`."""

    client: MlflowClient
    uri: str
    experiment_id: str


def home(root: Path) -> Path:
    """`root`, or the main checkout when `root` lies in a copy of `dvc exp run --temp` or `--queue`.

    DVC deletes such a copy, with all that was written there, after the experiment.
    """
    root = root.resolve()
    parts = root.parts
    for i in range(len(parts) - 2):
        if parts[i : i + 3] == (".dvc", "tmp", "exps"):
            return Path(*parts[:i])
    return root


def tracking_uri(root: Path) -> str:
    """MLFLOW_TRACKING_URI, else the embedded SQLite file. A relative SQLite path counts from the project's folder."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if not uri:
        return sqlite_uri(embedded_database(root))
    prefix, _, path = uri.partition("sqlite:///")
    if prefix == "" and path and not path.startswith("/"):
        return sqlite_uri(home(root) / path)
    return uri


def sqlite_uri(path: Path) -> str:
    """SQLAlchemy reads a question mark as the start of options, and decodes what a percent sign begins. Where there is
    one in the path, MLflow leaves an empty folder of the encoded name beside it.
    """
    return f"sqlite:///{str(path).replace('%', '%25').replace('?', '%3F')}"


def has_runs(root: Path) -> bool:
    """Whether there is anything to read: False before the first run into the embedded database."""
    return tracking_uri(root) != sqlite_uri(embedded_database(root)) or embedded_database(root).is_file()


def client(root: Path) -> MlflowClient:
    """A client of `tracking_uri(root)`; creates the embedded database if there is none.

    Raises Unavailable when a server does not answer within 5 s, the database cannot be opened, or the project's folder
    has a name that MLflow cannot keep.
    """
    try:
        str(home(root)).encode()
    except UnicodeEncodeError:
        message = f"{str(home(root))!r}: is not UTF-8, and MLflow cannot keep it; rename the project's folder"
        raise Unavailable(message) from None
    _set_defaults()
    from mlflow import MlflowClient

    uri = tracking_uri(root)
    with answering(uri):
        if uri == sqlite_uri(embedded_database(root)):
            _make_database(embedded_database(root))
            _correct_addresses(root)
        if uri.startswith(("http://", "https://")):
            _probe(uri)
        elif uri.startswith("postgresql"):
            _probe_database(uri)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def connect(root: Path, name: str) -> Experiment:
    """The experiment of this name, created if it is missing. Raises Unavailable."""
    mlflow = client(root)
    uri = tracking_uri(root)
    with answering(uri):
        return Experiment(mlflow, uri, _experiment_id(mlflow, name, root))


@contextmanager
def answering(uri: str) -> Iterator[None]:
    """Turns MLflow's errors in the block into Unavailable, with the address and a remedy."""
    _set_defaults()
    from mlflow.exceptions import MlflowException
    from requests import RequestException  # of uploads to a server, which MLflow lets through
    from sqlalchemy.exc import SQLAlchemyError  # of a database that cannot be opened

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError, sqlite3.Error) as error:
        raise Unavailable(
            f"MLflow at {public(uri)} cannot be used: {brief(error)}; start it or correct MLFLOW_TRACKING_URI "
            "(unset, runs are kept in mlruns/)"
        ) from error


def _set_defaults() -> None:
    """Call it before importing anything of MLflow, which reads some of them on import."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)


def public(uri: str) -> str:
    """The address without user name and password."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri


def _probe(uri: str) -> None:
    """One request without retries, by MLflow's own credentials, certificates and proxies. Raises MlflowException."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    creds = get_default_host_creds(uri)  # type: ignore[no-untyped-call]
    answer = http_request(  # type: ignore[no-untyped-call]
        creds, "/health", "GET", max_retries=0, timeout=PROBE_SECONDS, raise_on_status=False
    )
    if answer.status_code >= 500:
        raise MlflowException(f"it answers {answer.status_code}")


def _probe_database(uri: str) -> None:
    """One connection, where MLflow would try ten times in 100 seconds. Raises SQLAlchemyError, or Unavailable."""
    from sqlalchemy import create_engine

    try:
        engine = create_engine(uri, connect_args={"connect_timeout": PROBE_SECONDS})
    except ImportError as error:
        raise Unavailable(
            f"MLflow at {public(uri)} needs a driver that is not installed ({error}); "
            "`pip install 'tracewright[server]'`, and write postgresql+psycopg://"
        ) from error
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def embedded_database(root: Path) -> Path:
    return home(root) / DATABASE


def _make_database(path: Path) -> None:
    """Migrates a new database under a temporary name and renames it.

    A migration that is killed half-way leaves a file that MLflow can neither read nor repair; two at once break each
    other, hence the lock.
    """
    if path.is_file():
        return
    with Lock(path.parent, "mlflow.lock", wait_seconds=math.inf):
        if path.is_file():
            return
        from mlflow.store.db import utils as database
        from sqlalchemy import create_engine, event

        with whole(path) as temporary:
            engine = create_engine(sqlite_uri(temporary))
            # Hundreds of syncs take 6 s; one at the end, by `whole`, does.
            event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
            database._initialize_tables(engine)  # type: ignore[no-untyped-call]
            engine.dispose()


_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def moved_from(root: Path) -> list[str]:
    """Other projects' addresses in the embedded database: this one was moved, copied or restored from there."""
    here = (home(root) / ARTIFACTS).as_uri()
    query = (
        "SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location LIKE ? AND artifact_location != ?"
    )
    with closing(sqlite3.connect(f"{embedded_database(root).as_uri()}?mode=ro", uri=True)) as connection:
        return [row[0] for row in connection.execute(query, (f"file://%/{ARTIFACTS}", here))]


def _correct_addresses(root: Path) -> None:
    """MLflow writes down absolute ones. In a copy they would lead to the files of the project that was copied."""
    here = (home(root) / ARTIFACTS).as_uri()
    for old in moved_from(root):
        with closing(sqlite3.connect(embedded_database(root), timeout=PROBE_SECONDS)) as connection, connection:
            for table, column in _ADDRESSES:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column} || '/', 1, ?) = ?",
                    (here, len(old) + 1, len(old) + 1, old + "/"),
                )


def _experiment_id(mlflow: MlflowClient, name: str, root: Path) -> str:
    from mlflow.exceptions import MlflowException

    embedded = tracking_uri(root).startswith("sqlite:")
    artifacts = (home(root) / ARTIFACTS).as_uri() if embedded else None
    found = mlflow.get_experiment_by_name(name)
    if found is None:
        try:
            return str(mlflow.create_experiment(name, artifact_location=artifacts, tags=EXPERIMENT_TAGS))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process was first
                raise
            found = mlflow.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage != "active":
        raise Unavailable(
            f"MLflow experiment {name!r} was deleted; restore it with `mlflow experiments restore`, "
            "or choose another `experiment` in params.yaml"
        )
    for key in EXPERIMENT_TAGS.keys() - found.tags.keys():
        mlflow.set_experiment_tag(found.experiment_id, key, EXPERIMENT_TAGS[key])
    return str(found.experiment_id)
