"""The registered model: its versions, and the holders of the aliases champion, challenger and previous.

champion: used by `tracewright vectorize`. challenger: the newest refused version. previous: the champion before this
one, for `rollback`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import Unavailable
from pipeline.tracking import mlflow_store, models
from pipeline.tracking.models import CHAMPION
from pipeline.tracking.replica import RUN_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

DESCRIPTION = """\
Agents that choose VTracer's settings for each logo, for the smallest SVG without visible damage.

- `champion` is the version that `tracewright vectorize` uses; `challenger` is the newest refused version; `previous` \
is the champion before this one. `tracewright models rollback` restores it.
- A version becomes champion only if it does better than the champion on the test images, beyond chance. Each \
version's description gives the verdict.

    tracewright vectorize logos -o svg --model models:/{name}@champion
"""
CHALLENGER = "challenger"
PREVIOUS = "previous"


@dataclass(frozen=True, slots=True)
class Registry:
    """One registered model in one MLflow. Its methods raise MlflowException."""

    client: MlflowClient
    uri: str
    name: str

    def holder(self, alias: str) -> ModelVersion | None:
        """The version that has an alias."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_model_version_by_alias(self.name, alias)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def versions(self) -> list[ModelVersion]:
        """All versions, newest first."""
        found: list[ModelVersion] = []
        token: str | None = None
        while token != "":
            page = self.client.search_model_versions(f"name = '{self.name}'", page_token=token)
            found += page
            token = page.token or ""
        return sorted(found, key=lambda v: int(v.version), reverse=True)

    def add(self, model: LoggedModel) -> ModelVersion:
        """Registers a logged model, or finds its version if it is registered already. Gives it no alias."""
        from mlflow.exceptions import MlflowException

        known = next((v for v in self.versions() if models.model_id_of(v) == model.model_id), None)
        if known is not None:
            return known
        try:
            self.client.create_registered_model(self.name, description=DESCRIPTION.format(name=self.name))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        version = self.client.create_model_version(
            self.name,
            source=model.artifact_location,  # a models:/ address would be looked up in MLflow's global store
            run_id=model.source_run_id,
            tags={key: value for key, value in model.tags.items() if key.startswith("sha256.")},
            model_id=model.model_id,
        )
        shown = [{"name": version.name, "version": version.version}]  # how MLflow's own registering links the two
        self.client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": json.dumps(shown)})
        return version

    def run_of(self, version: ModelVersion) -> str | None:
        """Our id of the run that made a version; MLflow's for one that was logged by other means."""
        if version.run_id is None:
            return None
        tags = self.client.get_run(version.run_id).data.tags
        return str(tags.get(RUN_TAG, version.run_id))

    def tag(self, version: ModelVersion, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            self.client.set_model_version_tag(self.name, version.version, key, value)

    def describe(self, version: ModelVersion, text: str) -> None:
        """Sets the description of a version, and of the registered model where it lacks one."""
        self.client.update_model_version(self.name, version.version, text)
        if not self.client.get_registered_model(self.name).description:
            self.client.update_registered_model(self.name, DESCRIPTION.format(name=self.name))

    def promote(self, version: ModelVersion) -> None:
        """Makes a version champion. The old champion becomes previous first, so that a kill loses neither."""
        champion = self.holder(CHAMPION)
        if champion is not None and champion.version != version.version:
            self._give(PREVIOUS, champion)
        self._give(CHAMPION, version)
        challenger = self.holder(CHALLENGER)
        if challenger is not None and challenger.version == version.version:
            self.client.delete_registered_model_alias(self.name, CHALLENGER)

    def challenge(self, version: ModelVersion) -> None:
        self._give(CHALLENGER, version)

    def _give(self, alias: str, version: ModelVersion) -> None:
        self.client.set_registered_model_alias(self.name, alias, version.version)


def open_registry(root: Path, name: str) -> Registry:
    """Raises Unavailable."""
    return Registry(mlflow_store.client(root), mlflow_store.tracking_uri(root), name)


def rollback(root: Path, name: str) -> str:
    """Swaps champion and previous; returns a sentence for the user. A second rollback undoes the first.

    Raises Unavailable when there is no previous champion.
    """
    registry = _with_runs(root, name)
    with mlflow_store.answering(registry.uri):
        champion, previous = registry.holder(CHAMPION), registry.holder(PREVIOUS)
        if previous is None or (champion is not None and champion.version == previous.version):
            raise Unavailable(f"{name} has no champion before this one; `tracewright models list` shows its versions")
        registry.promote(previous)
        if champion is None:
            registry.client.delete_registered_model_alias(name, PREVIOUS)
    return f"{name} version {previous.version} is champion again" + (
        f"; version {champion.version} is kept as previous" if champion is not None else ""
    )


@dataclass(frozen=True, slots=True)
class VersionSummary:
    """One version. made: UTC, ISO 8601. reason: the gate's, empty for one that it did not decide on."""

    version: str
    aliases: tuple[str, ...]
    made: str
    decision: str | None
    reason: str
    run_id: str | None


def list_versions(root: Path, name: str) -> list[VersionSummary]:
    """Newest first. Raises Unavailable when there is none."""
    registry = _with_runs(root, name)
    with mlflow_store.answering(registry.uri):
        versions = registry.versions()
        aliases: dict[str, list[str]] = {}
        for alias in (CHAMPION, CHALLENGER, PREVIOUS):
            if (held := registry.holder(alias)) is not None:
                aliases.setdefault(str(held.version), []).append(alias)
    if not versions:
        raise _nothing(name)
    return [
        VersionSummary(
            version=str(version.version),
            aliases=tuple(aliases.get(str(version.version), ())),
            made=f"{datetime.fromtimestamp(version.creation_timestamp / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}",
            decision=version.tags.get("decision"),
            reason=version.tags.get("reason", ""),
            run_id=version.run_id,
        )
        for version in versions
    ]


def _with_runs(root: Path, name: str) -> Registry:
    if not mlflow_store.has_runs(root):
        raise _nothing(name)
    return open_registry(root, name)


def _nothing(name: str) -> Unavailable:
    return Unavailable(f"no version of {name} is registered; run `make repro` to train one")
