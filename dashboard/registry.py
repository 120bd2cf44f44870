"""The registered model's versions, asked of MLflow with a short patience; without it, what the reports recorded.

MLflow itself is never imported here: a server is asked by its REST API, the embedded SQLite file is read only.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

import streamlit as st

from dashboard.queries import RunView
from pipeline.reports import words

NAME = "tracewright"
TIMEOUT_SECONDS = 2.0  # of one request; the first that is not answered in time is the last
KEEP_SECONDS = 15.0  # before MLflow is asked again
MOST_BYTES = 20_000_000
LOCAL = "http://127.0.0.1:5000"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """One version. gain: over the champion of its time, or the default (mean, low, high), in natural log units."""

    version: str
    aliases: tuple[str, ...] = ()
    created_seconds: float | None = None
    run_id: str | None = None
    decision: str | None = None
    reason: str | None = None
    gain: tuple[float, float, float] | None = None
    wins: int | None = None
    losses: int | None = None
    images: int | None = None
    test_digest: str | None = None

    @property
    def verdict(self) -> str:
        """The gate's decision without its figures, which older releases wrote as logarithms."""
        return (self.reason or "").partition("; ")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownVersions:
    """versions: newest first. source: where this comes from. trouble: why MLflow could not be asked. link: its page."""

    name: str
    versions: tuple[ModelVersion, ...]
    source: str
    trouble: str | None = None
    link: str | None = None


def read(root: Path, runs: Sequence[RunView]) -> KnownVersions:
    """Of the model that the newest report names."""
    name = next((r.report.registry.name for r in runs if r.report and r.report.registry), None)
    name = name or next((r.report.training.experiment for r in runs if r.report and r.report.training.experiment), NAME)
    address = tracking_address(root)
    versions, trouble = _asked(address, name, int(time.monotonic() // KEEP_SECONDS))
    link = f"{words.without_secrets(address) if address.startswith('http') else LOCAL}/#/models/{quote(name)}"
    if trouble is None:
        source = "MLflow's server" if address.startswith("http") else "MLflow's database in mlruns/"
        return KnownVersions(name=name, versions=versions, source=source, link=link)
    recorded = tuple(_recorded(runs))
    if not recorded and not address.startswith("http") and not Path(address).exists():
        trouble = None  # nothing was registered yet, which is no fault
    return KnownVersions(name=name, versions=recorded, source="the reports on disk", trouble=trouble, link=link)


def tracking_address(root: Path) -> str:
    """http(s)://... of a server, else the path of the SQLite file."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if uri.startswith(("http://", "https://")):
        return uri.rstrip("/")
    path = unquote(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else "mlruns/mlflow.db"
    return str(root / path)


@st.cache_resource(max_entries=8, show_spinner=False)
def _asked(address: str, name: str, period: int) -> tuple[tuple[ModelVersion, ...], str | None]:
    """Versions, or why there are none. period: so that an answer is kept for KEEP_SECONDS."""
    try:
        if address.startswith("http"):
            return tuple(_from_server(address, name)), None
        return tuple(_from_database(Path(address), name)), None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, sqlite3.Error) as error:
        reason = getattr(error, "reason", None) or error
        shown = words.without_secrets(address) if address.startswith("http") else address
        return (), f"MLflow at {shown} does not answer ({reason}); this is what the reports on disk recorded."


def _from_server(address: str, name: str) -> Iterator[ModelVersion]:
    model = _get(address, "registered-models/get", {"name": name})["registered_model"]
    held: dict[str, list[str]] = {}
    for alias in model.get("aliases", []):
        held.setdefault(str(alias["version"]), []).append(str(alias["alias"]))
    found = _get(address, "model-versions/search", {"filter": f"name='{name}'", "max_results": "1000"})
    versions = found.get("model_versions", [])
    for version in sorted(versions, key=lambda v: -int(v["version"])):
        tags = {tag["key"]: tag["value"] for tag in version.get("tags", [])}
        created = float(version["creation_timestamp"]) / 1000
        yield _version(str(version["version"]), held, created, version.get("run_id"), tags)


def _get(address: str, path: str, query: Mapping[str, str]) -> Any:
    parts = urlsplit(address)
    place = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    request = urllib.request.Request(f"{place}/api/2.0/mlflow/{path}?{urlencode(query)}")
    name = parts.username or os.environ.get("MLFLOW_TRACKING_USERNAME", "")
    if name:
        password = parts.password or os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
        login = base64.b64encode(f"{unquote(name)}:{unquote(password)}".encode()).decode("ascii")
        request.add_header("Authorization", f"Basic {login}")
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # only http(s), see tracking_address
        content = answer.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError("its answer is too long")
    return json.loads(content)


def _from_database(path: Path, name: str) -> Iterator[ModelVersion]:
    """MLflow's own tables, which versions 2.3 to 3.17 share; tests/dashboard reads a database that MLflow made."""
    if not path.is_file():
        raise OSError("the file is not there")
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=1.0)) as database:
        held: dict[str, list[str]] = {}
        for alias, version in database.execute(
            "SELECT alias, version FROM registered_model_aliases WHERE name = ?", (name,)
        ):
            held.setdefault(str(version), []).append(str(alias))
        tags: dict[str, dict[str, str]] = {}
        for version, key, value in database.execute(
            "SELECT version, key, value FROM model_version_tags WHERE name = ?", (name,)
        ):
            tags.setdefault(str(version), {})[str(key)] = str(value)
        for version, created, run_id in database.execute(
            "SELECT version, creation_time, run_id FROM model_versions WHERE name = ? ORDER BY version DESC", (name,)
        ).fetchall():
            yield _version(str(version), held, created / 1000, run_id, tags.get(str(version), {}))


def _version(
    version: str, held: Mapping[str, Sequence[str]], created: float, run_id: str | None, tags: Mapping[str, str]
) -> ModelVersion:
    limits = [tags.get(f"gain.{key}") for key in ("mean", "low", "high")]
    mean, low, high = (float(limit) if limit else None for limit in limits)
    counts = {key: int(tags[key]) if tags.get(key, "").isdigit() else None for key in ("wins", "losses", "images")}
    return ModelVersion(
        version=version,
        aliases=tuple(sorted(held.get(version, ()))),
        created_seconds=created,
        run_id=run_id,
        decision=tags.get("decision"),
        reason=tags.get("reason"),
        gain=(mean, low, high) if mean is not None and low is not None and high is not None else None,
        test_digest=tags.get("test_digest"),
        **counts,
    )


def _recorded(runs: Sequence[RunView]) -> Iterator[ModelVersion]:
    """Decisions that the reports hold, newest first; of those that were promoted the newest holds the alias."""
    promoted = False
    seen: set[str] = set()
    for run in runs:
        decision = run.report.registry if run.report else None
        if decision is None or decision.version is None or str(decision.version) in seen:
            continue
        seen.add(str(decision.version))
        is_champion = decision.decision in ("promoted", "first") and not promoted
        promoted |= is_champion
        gain = decision.gain
        yield ModelVersion(
            version=str(decision.version),
            aliases=("champion",) if is_champion else (),
            created_seconds=run.started_seconds,
            run_id=decision.run_id,
            decision=decision.decision,
            reason=decision.reason,
            gain=(gain.mean, gain.low, gain.high) if gain else None,
            wins=decision.wins,
            losses=decision.losses,
            images=decision.images,
            test_digest=decision.test_digest,
        )
