"""Watching the registry: when an alias moves, its new holder takes over between two requests."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import yaml

from pipeline.agent.agent import WEIGHTS, Agent, load_agent
from pipeline.core.errors import DataError, TracewrightError
from pipeline.serving.service import Model, PredictionService
from pipeline.tracking import mlflow_store, models, registry

META = "registered_model_meta"  # MLflow's file beside a model that it downloads from a registry

_log = logging.getLogger(__name__)


def origin(agent_dir: Path) -> tuple[str, str] | None:
    """Name and version in the registry of a downloaded model's agent; None for an agent from elsewhere."""
    try:
        meta = yaml.safe_load((agent_dir.parents[1] / META).read_text(encoding="utf-8"))
        return str(meta["model_name"]), str(meta["model_version"])
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError):
        return None


def model_of(agent_dir: Path) -> Model:
    """Raises DataError or Mismatch when the agent cannot be used by this version of tracewright."""
    registered = origin(agent_dir)
    digest = models.file_digests(agent_dir)[f"sha256.{WEIGHTS}"]
    return Model(load_agent(agent_dir), "/".join(registered) if registered else f"sha256:{digest[:12]}")


def named_in_a_command(address: str) -> bool:
    """Whether a parent process has this address in its command: MLflow's server itself knows only the folder."""
    for process in psutil.Process().parents():
        with suppress(psutil.Error):
            if any(address in argument for argument in process.cmdline()):
                return True
    return False


class AliasWatcher:
    """Checks every few seconds, in a thread, which version holds an alias. An unusable version is logged once, and the
    current model stays.

    version: the one that the service was started with. root: the base of a relative MLFLOW_TRACKING_URI.
    """

    def __init__(self, service: PredictionService, root: Path, name: str, version: str, alias: str) -> None:
        self._service = service
        self._root, self._name, self._alias = root, name, alias
        self._seen = version
        self._trouble = ""

    def start(self) -> None:
        """Does nothing if another version holds the alias and the server was not started by the alias.

        If it was, the alias has moved since, which happens when uvicorn replaces a dead process.
        """
        try:
            holder = self._holder()
        except TracewrightError as error:
            _log.warning("the registry is not watched: %s", error)
            return
        if holder != self._seen and not named_in_a_command(f"models:/{self._name}@{self._alias}"):
            _log.warning("version %s of %s stays: it is not the %s", self._seen, self._name, self._alias)
            return
        _log.warning("version %s of %s is served, and whichever becomes %s", self._seen, self._name, self._alias)
        threading.Thread(target=self._watch, name="alias", daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(self._service.settings.follow_seconds)
            self.look()

    def look(self) -> None:
        """Checks once, and lets the alias's new holder take over."""
        try:
            version = self._holder()
            if version in (None, self._seen):
                return
            self._service.model = Model(self._load(version), f"{self._name}/{version}")
            self._seen, self._trouble = version, ""
            _log.warning("version %s of %s answers from now on", version, self._name)
        except (TracewrightError, OSError) as error:
            if str(error) != self._trouble:
                _log.warning("version %s of %s stays: %s", self._seen, self._name, error)
            self._trouble = str(error)

    def _holder(self) -> str | None:
        opened = registry.open_registry(self._root, self._name)
        with mlflow_store.answering(opened.uri):
            holder = opened.holder(self._alias)
        return str(holder.version) if holder is not None else None

    def _load(self, version: str) -> Agent:
        """Through a temporary folder: nothing is read from it once the agent is in memory."""
        opened = registry.open_registry(self._root, self._name)
        with tempfile.TemporaryDirectory(prefix="tracewright-") as folder, mlflow_store.answering(opened.uri):
            model_id = models.model_id_of(opened.client.get_model_version(self._name, version))
            if not model_id:
                raise DataError(f"version {version} is no agent of tracewright")
            model = opened.client.get_logged_model(model_id)
            return load_agent(models.fetch(opened.client, opened.uri, model, Path(folder)))
