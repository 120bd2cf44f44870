"""The `register` stage: compares the newly trained model with the champion, and records the decision."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import DataError, Mismatch, TracewrightError, Unavailable
from pipeline.core.facts.comparison import Comparison
from pipeline.core.facts.decision import ChampionVersion, Decision
from pipeline.core.facts.training import TrainReport
from pipeline.core.files import reading
from pipeline.core.json_records import from_json, read_record, to_json
from pipeline.core.parquet import read_table
from pipeline.settings.params import Settings
from pipeline.tracking import gate, mlflow_store, models
from pipeline.tracking.registry import Registry
from pipeline.tracking.run import Run

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

TRAIN = "results/train/train.json"
EVALUATE = "results/evaluate/evaluate.json"
IMAGES = "results/evaluate/images.parquet"

Evaluate = Callable[[Path], Mapping[str, float]]
"""An agent's folder -> image -> value, on the current test split at the largest number of traces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A model's results on a test set. objective: as JSON with sorted keys. traces: per image."""

    values: Mapping[str, float]
    test_digest: str
    objective: str
    traces: int

    @property
    def conditions(self) -> dict[str, str]:
        """Only values with equal conditions can be compared."""
        return {"test_digest": self.test_digest, "objective": self.objective, "traces": str(self.traces)}

    @property
    def file(self) -> str:
        """Named after the conditions, so that a later test of a champion finds these values or none."""
        return hashlib.sha256(json.dumps(self.conditions, sort_keys=True).encode()).hexdigest()[:16] + ".json"


def register(root: Path, settings: Settings, evaluate_agent: Evaluate) -> Decision:
    """Decides on the model that results/train and results/evaluate describe; returns the content of register.json.

    evaluate_agent: measures the champion if its values on this test set are not on record. When the model is the
    champion itself, its decision stays. Raises DataError, Mismatch, Unavailable.
    """
    run_id, model, measured = read_candidate(root)
    with Run.resume(root, run_id) as run:
        experiment = run.deliver()
        model_id = run.model_id(model)
        registry = Registry(experiment.client, experiment.uri, settings.experiment)
        with mlflow_store.answering(registry.uri):
            champion = registry.holder(models.CHAMPION)
            if champion is not None and models.model_id_of(champion) == model_id:
                _keep_values(registry, champion, measured)
                return _recorded_decision(champion)
            rival = _champion_values(registry, champion, measured, evaluate_agent, root) if champion else None
            verdict = gate.verdict(
                measured.values,
                rival,
                min_improvement=settings.register_.min_improvement,
                bootstrap_samples=settings.evaluate.bootstrap_samples,
                confidence=settings.evaluate.confidence,
                seed=settings.evaluate.seed,
            )
            version = registry.add(registry.client.get_logged_model(model_id))
            result = _result(registry, verdict, version, champion, measured)
            _keep_values(registry, version, measured)
            gain = {f"gain.{name}": f"{value:.6g}" for name, value in _gain(result).items()}
            shown = {name: str(getattr(result, name)) for name in ("decision", "reason", "wins", "losses", "images")}
            registry.tag(version, measured.conditions | gain | shown | {"verdict": json.dumps(to_json(result))})
            registry.describe(version, description(result))
            _log(run, result)
            if verdict.promote:
                registry.promote(version)
            else:
                registry.challenge(version)
            return result


def read_candidate(root: Path) -> tuple[str, str, Measurement]:
    """(run id, model's name, its results on the test split). Raises DataError, or Mismatch between the stages."""
    trained = read_record(TrainReport, root / TRAIN, "dvc repro train")
    evaluated = read_record(Comparison, root / EVALUATE, "dvc repro evaluate")
    if trained.run_id != evaluated.run_id:
        raise Mismatch(
            f"{root / EVALUATE} is of run {evaluated.run_id}, {root / TRAIN} of {trained.run_id}; "
            "run `dvc repro evaluate`"
        )
    traces = max(evaluated.traces)
    return (
        trained.run_id,
        trained.model,
        Measurement(
            values=read_values(root / IMAGES, traces),
            test_digest=evaluated.test_digest,
            objective=json.dumps(to_json(evaluated.objective), sort_keys=True),
            traces=traces,
        ),
    )


def read_values(path: Path, traces: int) -> dict[str, float]:
    """Image -> the agent's value at `traces`; images without a value are left out. Raises DataError."""
    with reading(path, "dvc repro --force evaluate"):
        table = read_table(path, ["path", "method", "traces", "value"])
    return {
        row["path"]: float(row["value"])
        for row in table.to_pylist()
        if row["method"] == "agent" and row["traces"] == traces and row["value"] is not None
        if math.isfinite(row["value"])
    }


def _champion_values(
    registry: Registry, champion: ModelVersion, measured: Measurement, evaluate_agent: Evaluate, root: Path
) -> Mapping[str, float]:
    """The champion's values under the candidate's conditions: from the record, or measured now and recorded."""
    known = _kept_values(registry, champion, measured)
    if known is not None:
        return known
    try:
        model = registry.client.get_logged_model(str(models.model_id_of(champion)))
        values = dict(evaluate_agent(models.fetch(registry.client, registry.uri, model, root)))
    except TracewrightError as error:
        raise Unavailable(
            f"champion version {champion.version} of {registry.name} cannot be measured: {error}. Repair it, or take "
            f"the alias {models.CHAMPION} from it in `make ui`, so that the next model is the first"
        ) from error
    _keep_values(registry, champion, replace(measured, values=values))
    return values


def _kept_values(registry: Registry, version: ModelVersion, measured: Measurement) -> dict[str, float] | None:
    """Per-image values on record under these conditions, from the artifacts of the version's run."""
    folder, run_id = f"register/{models.model_id_of(version)}", version.run_id
    if run_id is None:  # registered by hand
        return None
    if not any(f.path == f"{folder}/{measured.file}" for f in registry.client.list_artifacts(run_id, folder)):
        return None
    with tempfile.TemporaryDirectory(prefix="tracewright-") as target:
        path = Path(registry.client.download_artifacts(run_id, f"{folder}/{measured.file}", target))
        content = json.loads(path.read_text(encoding="utf-8"))
    return {image: float(value) for image, value in content["values"].items()}


def _keep_values(registry: Registry, version: ModelVersion, measured: Measurement) -> None:
    if version.run_id is not None:
        content = {**measured.conditions, "values": dict(measured.values)}
        registry.client.log_dict(version.run_id, content, f"register/{models.model_id_of(version)}/{measured.file}")


def _result(
    registry: Registry,
    verdict: gate.Verdict,
    version: ModelVersion,
    champion: ModelVersion | None,
    measured: Measurement,
) -> Decision:
    against = None
    if champion is not None:
        against = ChampionVersion(version=str(champion.version), run_id=registry.run_of(champion))
    return Decision(
        decision="refused" if not verdict.promote else "first" if champion is None else "promoted",
        name=version.name,
        version=str(version.version),
        alias="champion" if verdict.promote else "challenger",
        run_id=registry.run_of(version),
        model_uri=f"models:/{version.name}/{version.version}",
        against=against,
        gain=verdict.gain,
        wins=verdict.wins,
        losses=verdict.losses,
        images=verdict.images,
        left_out=verdict.left_out,
        test_digest=measured.test_digest,
        reason=verdict.reason,
    )


def _recorded_decision(version: ModelVersion) -> Decision:
    """The decision that made a version champion."""
    try:
        result = from_json(Decision, json.loads(version.tags["verdict"]))
    except (KeyError, ValueError) as error:
        raise DataError(
            f"version {version.version} of {version.name} is champion without a recorded decision; "
            "take the alias from it in `make ui`, or train a new model with `make repro`"
        ) from error
    return replace(result, alias=models.CHAMPION)


def _log(run: Run, result: Decision) -> None:
    """Shows the decision on the run of the model."""
    run.set_tags({f"register.{name}": str(getattr(result, name)) for name in ("decision", "version")})
    run.log_metrics({f"register/gain_{name}": value for name, value in _gain(result).items()}, 0)


def description(result: Decision) -> str:
    """What the page of a version says: what it is, the gate's verdict in a sentence, how to use it."""
    decided = "Refused" if result.decision == "refused" else "Promoted to champion"
    verdict = f"{decided}: {result.reason.removeprefix('refused: ').removeprefix('promoted: ')}."
    use = f"tracewright vectorize logos -o svg --model {result.model_uri}"
    return f"An agent that chooses VTracer's settings for logos, of run {result.run_id}.\n\n{verdict}\n\n    {use}\n"


def _gain(result: Decision) -> dict[str, float]:
    return result.gain.to_json() if result.gain else {}
