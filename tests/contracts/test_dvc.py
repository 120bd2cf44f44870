"""dvc.yaml must know what each stage reads, or `dvc repro` skips a stage that would give something else."""

from __future__ import annotations

import importlib
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml

from pipeline.settings.params import EXECUTION, load_settings
from pipeline.tracking import lineage
from tests.support.source import ROOT, modules

PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]

STARTED = {
    "pipeline.reports.report": "pipeline.reports.drawing",
    "pipeline.tracing.worker_process": "pipeline.tracing.worker",
}
"""Modules that start another one as a process of its own."""


def listed(stage: str, *kinds: str) -> list[str]:
    """Paths of a stage's deps, outs, ... with data.root filled in."""
    entries = [entry for kind in kinds for entry in STAGES[stage].get(kind, [])]
    paths = [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]
    return [path.replace("${data.root}", PARAMS["data"]["root"]) for path in paths]


def outs(stage: str) -> list[str]:
    return listed(stage, "outs", "metrics", "plots")


def is_within(path: str, folder: str) -> bool:
    return Path(path).is_relative_to(folder)


@cache
def closure(module: str) -> frozenset[str]:
    """Our modules that a module imports, directly or not, itself, and those that they start as processes."""
    graph = import_graph()
    found = {module, *graph.find_upstream_modules(module)}
    for started in [STARTED[name] for name in STARTED if name in found]:
        found |= {started, *graph.find_upstream_modules(started)}
    return frozenset(found & modules("pipeline").keys())


@cache
def import_graph() -> grimp.ImportGraph:
    return grimp.build_graph("pipeline", exclude_type_checking_imports=True, cache_dir=None)


INFRASTRUCTURE = {
    "core/cluster", "core/errors", "core/files", "core/locks", "core/mappings", "core/parquet", "core/processes",
    "core/stop_signals",
    "data/answer_cache", "data/catalogue", "data/categories", "data/hashes", "data/links", "data/readings",
    "machine", "runs/callbacks", "runs/launch", "runs/resume", "runs/state", "runs/status",
    "tracking/journal", "tracking/lineage", "tracking/mlflow_store", "tracking/models", "tracking/replica",
    "tracking/run",
}  # fmt: skip
"""What `train`, `evaluate` and `register` import without their results depending on it: it says where the work is done,
how it is stored and who is told. A change of it neither repeats a stage nor refuses a resume."""


def code_of(stage: str) -> set[str]:
    """Our files that a stage imports, relative to pipeline/, without those that change no result of it."""
    files = {modules("pipeline")[name].relative_to(ROOT / "pipeline") for name in closure(f"pipeline.stages.{stage}")}
    ignored = INFRASTRUCTURE if stage in ("train", "evaluate", "register") else set()
    return {str(file) for file in files if not any(file.with_suffix("").is_relative_to(part) for part in ignored)}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_code_that_decides_its_result(stage: str) -> None:
    """A dep too few skips a stage that would give something else; one too many trains for hours for nothing."""
    deps = [dep.removeprefix("pipeline/") for dep in listed(stage, "deps") if is_within(dep, "pipeline")]
    used = code_of(stage)
    assert {file for file in used if not any(is_within(file, dep) for dep in deps)} == set()
    assert {dep for dep in deps if not any(is_within(file, dep) for file in used)} == set()


def test_what_shows_a_training_neither_repeats_it_nor_refuses_a_resume(tmp_path: Path) -> None:
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    before = lineage.code_inputs(tmp_path, "train")
    for path in ("tracking/ui.py", "tracking/replica.py", "cli/main.py", "runs/listing.py", "reports/words.py"):
        assert (tmp_path / "pipeline" / path).is_file()
        (tmp_path / "pipeline" / path).write_text("# another\n")
    assert lineage.code_inputs(tmp_path, "train") == before
    (tmp_path / "pipeline/training/ppo.py").write_text("# another\n")
    assert lineage.code_inputs(tmp_path, "train") != before


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_reads_is_there_or_made_by_a_stage_before(stage: str) -> None:
    before = list(STAGES)[: list(STAGES).index(stage)]
    for dep in listed(stage, "deps"):
        if is_within(dep, "pipeline") or is_within(dep, "monitoring"):
            assert (ROOT / dep).exists(), f"{stage}: {dep} does not exist"
        elif dep != PARAMS["data"]["root"]:
            makers = [s for s in before if any(is_within(o, dep) or is_within(dep, o) for o in outs(s))]
            assert makers, f"{stage}: no stage before it makes {dep}"


def test_no_two_stages_write_the_same() -> None:
    written = [(out, stage) for stage in STAGES for out in outs(stage)]
    for number, (out, stage) in enumerate(written):
        for other, rival in written[number + 1 :]:
            assert not is_within(out, other), f"{stage} writes {out} inside {other} of {rival}"
            assert not is_within(other, out), f"{rival} writes {other} inside {out} of {stage}"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_run_as_its_module(stage: str) -> None:
    assert STAGES[stage]["cmd"] == f"python -m pipeline.stages.{stage}"
    assert STAGES[stage]["desc"]


def test_every_stage_that_exists_is_in_the_pipeline() -> None:
    names = [n.rpartition(".")[2] for n in modules("pipeline") if n.startswith("pipeline.stages.")]
    assert set(names) == {*STAGES, "entry"}


@pytest.mark.parametrize("stage", STAGES)
def test_the_params_of_a_stage_exist(stage: str) -> None:
    params = STAGES[stage].get("params", [])
    assert len(set(params)) == len(params)
    for key in params:
        inner = PARAMS
        for part in key.split("."):
            assert isinstance(inner, dict), f"{stage}: {key} is not in params.yaml"
            assert part in inner, f"{stage}: {key} is not in params.yaml"
            inner = inner[part]


@pytest.mark.parametrize("stage", STAGES)
def test_the_params_of_a_stage_are_the_settings_that_it_declares(stage: str) -> None:
    declared = importlib.import_module(f"pipeline.stages.{stage}").READS
    assert STAGES[stage]["params"] == sorted(declared)


def test_a_stage_reads_no_setting_that_it_does_not_declare() -> None:
    settings = load_settings(ROOT / "params.yaml")
    limited = settings.only(["data.root", "register", "train"])
    assert limited.data.root == settings.data.root
    assert limited.register_ == settings.register_
    assert limited.train == settings.train
    assert limited.compute.workers == settings.compute.workers, EXECUTION
    for read in (lambda: limited.split, lambda: limited.data.background, lambda: limited.compute.timeout_seconds):
        with pytest.raises(AttributeError):
            read()
    assert limited.to_json() == settings.to_json(), "a run records all settings"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_takes_its_settings_limited_to_those_it_declares(stage: str) -> None:
    source = (ROOT / f"pipeline/stages/{stage}.py").read_text(encoding="utf-8")
    assert source.count("load_settings(") == source.count('load_settings(root / "params.yaml").only(READS)') == 1
