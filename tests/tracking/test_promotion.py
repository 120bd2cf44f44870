from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import DataError, Mismatch, Unavailable
from pipeline.core.facts.decision import ChampionVersion, Decision
from pipeline.core.files import write_json
from pipeline.core.json_records import write_record
from pipeline.settings.params import Settings
from pipeline.tracking import models, promotion, registry
from pipeline.tracking.run import Run
from tests.support.facts import comparison_of, train_report
from tests.support.logged_runs import in_mlflow, make_agent

PATHS = [f"simple/{i}.png" for i in range(12)]


def at(gain: float) -> dict[str, float | None]:
    return {path: 0.1 + 0.01 * i + gain for i, path in enumerate(PATHS)}


def write_results(
    root: Path, run_id: str, model: str, values: Mapping[str, float | None], test_digest: str = "t" * 64
) -> None:
    write_record(root / promotion.TRAIN, train_report(run_id=run_id, model=model))
    evaluated = comparison_of(run_id=run_id, test_digest=test_digest, traces=(1, 8, 4))
    write_record(root / promotion.EVALUATE, evaluated)
    rows = [
        {"path": path, "method": method, "traces": traces, "value": None if value is None else value + other}
        for path, value in values.items()
        for method, traces, other in (("agent", 8, 0.0), ("agent", 4, -5.0), ("tpe", 8, 7.0))
    ]
    pq.write_table(pa.Table.from_pylist(rows), root / promotion.IMAGES)


class Training:
    """Trains, evaluates and registers with made-up values. measured: folders that were evaluated anew."""

    def __init__(self, root: Path, settings: Settings, folder: Path) -> None:
        self.root, self.settings, self.folder = root, settings, folder
        self.measured: list[Path] = []
        self.again: Mapping[str, float] = {}
        self.trained = 0

    def train(self, values: Mapping[str, float | None], **results: str) -> str:
        self.trained += 1
        agent = make_agent(self.folder / str(self.trained), str(self.trained).encode())
        with Run.start(self.root, self.settings, stage="train") as run:
            run.log_model(agent, "agent-1", 1, {}, {}, None)
        write_results(self.root, run.run_id, "agent-1", values, **results)
        return run.run_id

    def register(self) -> Decision:
        return promotion.register(self.root, self.settings, self._evaluate)

    def _evaluate(self, agent_dir: Path) -> Mapping[str, float]:
        self.measured.append(agent_dir)
        return self.again


@pytest.fixture
def training(root: Path, settings: Settings, tmp_path: Path) -> Training:
    return Training(root, settings, tmp_path)


def champion_of(training: Training) -> str:
    version = registry.open_registry(training.root, training.settings.experiment).holder("champion")
    return str(version.version) if version is not None else ""


def test_first_then_better_then_equal(training: Training) -> None:
    first_run = training.train(at(0.0))
    first = training.register()
    assert (first.decision, first.version, first.alias, first.against) == ("first", "1", "champion", None)
    assert first.images == 12
    assert first.model_uri == f"models:/{training.settings.experiment}/1"

    better_run = training.train(at(0.2))
    better = training.register()
    assert (better.decision, better.version, better.alias) == ("promoted", "2", "champion")
    assert better.against == ChampionVersion(version="1", run_id=first_run)
    assert better.gain
    assert better.gain.mean == pytest.approx(0.2)
    assert better.wins == 12

    training.train(at(0.2))
    equal = training.register()
    assert (equal.decision, equal.version, equal.alias) == ("refused", "3", "challenger")
    assert equal.against == ChampionVersion(version="2", run_id=better_run)
    assert "exactly as well" in equal.reason
    assert champion_of(training) == "2"
    assert training.measured == []  # every champion's values were on record


def test_the_verdict_is_on_the_run_and_on_the_version(training: Training) -> None:
    run_id = training.train(at(0.0))
    result = training.register()
    opened = registry.open_registry(training.root, training.settings.experiment)
    version = opened.holder("champion")
    assert version is not None
    assert version.tags["decision"] == "first"
    assert version.tags["test_digest"] == "t" * 64
    assert float(version.tags["gain.low"]) > 0
    with Run.resume(training.root, run_id) as tracked:
        run = in_mlflow(tracked)
    assert (run.data.tags["register.decision"], run.data.tags["register.version"]) == ("first", "1")
    assert version.description
    assert "Promoted to champion: better beyond chance; " in version.description
    assert "than VTracer's default in the objective, " in version.description
    assert f"--model {result.model_uri}" in version.description
    assert "`champion` is the version" in opened.client.get_registered_model(opened.name).description
    assert result.gain
    assert run.data.metrics["register/gain_mean"] == pytest.approx(result.gain.mean)


def test_the_same_model_is_registered_and_judged_once(training: Training) -> None:
    training.train(at(0.0))
    first = training.register()
    assert training.register() == first
    training.train(at(0.0))
    refused = training.register()
    assert training.register() == refused
    assert len(registry.open_registry(training.root, training.settings.experiment).versions()) == 2


def test_a_champion_is_measured_anew_on_other_images_once(training: Training) -> None:
    training.train(at(0.0))
    training.register()
    training.again = dict.fromkeys(PATHS, 1.0)
    training.train(at(0.5), test_digest="u" * 64)
    assert training.register().decision == "refused"
    assert training.register().decision == "refused"
    [measured] = training.measured
    assert (measured / "policy.safetensors").read_bytes() == b"1"


def test_a_first_model_no_better_than_the_default_is_refused(training: Training) -> None:
    training.train(dict.fromkeys(PATHS, 0.0))
    result = training.register()
    assert (result.decision, result.alias, result.against) == ("refused", "challenger", None)
    assert champion_of(training) == ""


def test_images_without_a_value_are_left_out_not_zero(training: Training) -> None:
    training.train(at(0.0))
    training.register()
    training.train(at(0.2) | {PATHS[0]: None, PATHS[1]: float("nan")})
    result = training.register()
    assert (result.images, result.left_out) == (10, 2)
    assert result.gain
    assert result.gain.mean == pytest.approx(0.2)


def test_a_champion_that_cannot_be_had_is_named(training: Training) -> None:
    training.train(at(0.0))
    training.register()
    opened = registry.open_registry(training.root, training.settings.experiment)
    version = opened.holder("champion")
    assert version is not None
    model = opened.client.get_logged_model(str(models.model_id_of(version)))
    stored = Path(model.artifact_location.removeprefix("file://")) / "artifacts/agent/policy.safetensors"
    stored.write_bytes(b"other weights")
    training.train(at(0.5), test_digest="u" * 64)
    with pytest.raises(Unavailable, match=r"champion version 1 .* cannot be measured: .*recorded was"):
        training.register()
    assert champion_of(training) == "1"


def test_results_of_different_runs_do_not_mix(training: Training) -> None:
    training.train(at(0.0))
    evaluated = json.loads((training.root / promotion.EVALUATE).read_text())
    write_json(training.root / promotion.EVALUATE, evaluated | {"run_id": "other"})
    with pytest.raises(Mismatch, match="dvc repro evaluate"):
        training.register()


def test_results_that_are_missing_say_what_to_run(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(DataError, match="dvc repro train"):
        promotion.register(tmp_path, settings, lambda folder: {})
    write_results_folder = tmp_path / "results/evaluate"
    write_results_folder.mkdir(parents=True)
    write_results(tmp_path, "r", "m", at(0.0))
    (tmp_path / promotion.TRAIN).write_text("{}")
    with pytest.raises(DataError, match=r"train\.json: run_id: field required; run `dvc repro train` again"):
        promotion.register(tmp_path, settings, lambda folder: {})
    write_results(tmp_path, "r", "m", at(0.0))
    (tmp_path / promotion.IMAGES).unlink()
    with pytest.raises(DataError, match="dvc repro --force evaluate"):
        promotion.register(tmp_path, settings, lambda folder: {})
