"""dvc.yaml must know what each stage reads, or `dvc repro` skips a stage that would give something else."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.settings.params import Settings
from pipeline.settings.schema import SettingsKey
from pipeline.tracking import lineage
from tests.support.source import ROOT, imports, modules, tree

PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]

ONLY_WRITTEN_DOWN = {
    "pipeline.tracking.lineage",  # all settings go on the MLflow run as its parameters
    "pipeline.tracking.run",  # and the seeds as tags
}
"""Modules whose reading of settings changes no result."""

WHEN_NOT_WHAT = (
    "checkpoints",
    "compute.backend",
    "compute.memory_limit_bytes",
    "compute.store_bytes",
    "compute.workers",
    "monitoring",
)
"""What decides when a training is saved and looked at, and where and by how many it is worked on; what comes of it is
the same to the bit."""


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
    """Our modules that a module imports, itself among them, those that theirs import, and those started by name."""
    known = modules("pipeline")
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        source = tree(known[name])
        named = [n for n, _ in imports(source)]
        named += [n.value for n in ast.walk(source) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        for dotted in named:
            waiting += [m for m in (dotted, dotted.rpartition(".")[0]) if m in known]
    return frozenset(found)


INFRASTRUCTURE = {
    "core/cluster", "core/errors", "core/files", "core/locks", "core/mappings", "core/processes", "core/stop_signals",
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
def test_a_stage_lists_every_setting_that_it_reads(stage: str) -> None:
    params = STAGES[stage].get("params", [])
    for read, where in sorted(settings_read(f"pipeline.stages.{stage}").items()):
        for key in [read] if any(read == param or read.startswith(f"{param}.") for param in params) else inner(read):
            listed = any(key == param or key.startswith(f"{param}.") for param in params)
            assert listed or key.startswith(WHEN_NOT_WHAT), f"{stage}: {where} reads {key}, which is not in its params"


def inner(key: str) -> list[str]:
    """The keys of a section, or the key itself where it is none."""
    value = PARAMS
    for part in key.split("."):
        value = value[part]
    return [f"{key}.{name}" for name in value] if isinstance(value, dict) else [key]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_no_setting_that_it_does_not_read(stage: str) -> None:
    read = settings_read(f"pipeline.stages.{stage}")
    for param in STAGES[stage].get("params", []):
        used = any(key == param or key.startswith(f"{param}.") or param.startswith(f"{key}.") for key in read)
        assert used, f"{stage}: {param} is in its params but not read"


Definition = tuple[str, str]
"""A module, and the name of a function, class or value at its top."""


def settings_read(module: str) -> dict[str, str]:
    """Dotted keys of params.yaml that the code reached from a stage's main reads, each with a place that does.

    Reached is what a reached function, method or class names: too much rather than too little. A section that is
    handed on counts as read whole, one in a variable of its own by what is taken from it there and where it goes.
    """
    found: dict[str, str] = {}
    for home, name in sorted(reached((module, "main"))):
        if home not in ONLY_WRITTEN_DOWN:
            for node in definitions(home)[name]:
                for key in Reading(home).keys(node, {}):
                    found.setdefault(key, f"{home}.{name}")
    return found


@dataclass(frozen=True)
class Reading:
    """Finds settings in a definition of a module. assigned: its own variables that stand for a section."""

    module: str
    assigned: set[str] = field(default_factory=set)

    def keys(self, node: ast.AST, variables: dict[str, str]) -> Iterator[str]:
        """`settings.train.seed`, `self._settings.train.seed` and `variable.seed` in a tree, as `train.seed`.

        variables: names that stand for a section, "" for all settings. Of nested attributes the longest is given.
        """
        match node:
            case ast.FunctionDef(args=arguments):
                every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
                variables = variables | {a.arg: key for a in every if (key := section_of(a.annotation)) is not None}
            case ast.Assign(targets=[ast.Name() | ast.Tuple() as target], value=value):
                names: list[ast.expr] = [target]
                values: list[ast.expr] = [value]
                if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                    names, values = target.elts, value.elts
                for name, given in zip(names, values, strict=True):
                    yield from self._assigned(name, given, variables)
                return
            case ast.Call(func=ast.Name(id="getattr"), args=[ast.Name(id=name), *_]) if name in self.assigned:
                yield from [variables[name]] if variables[name] else PARAMS
            case ast.Call(func=ast.Attribute(value=inner, attr="model_dump")) if path_of(inner, variables) == "":
                yield from self._included(node)
                return
            case ast.Attribute() if key := path_of(node, variables):
                yield key
                return
        for child in ast.iter_child_nodes(node):
            yield from self.keys(child, variables)

    def _assigned(self, name: ast.AST, value: ast.expr, variables: dict[str, str]) -> Iterator[str]:
        path = path_of(value, variables)
        if isinstance(name, ast.Name) and path in ("", *SECTIONS.values()):
            variables[name.id] = path
            self.assigned.add(name.id)
        else:
            yield from self.keys(value, variables)

    def _included(self, dump: ast.Call) -> list[str]:
        """The sections that a dump of all settings is limited to, if it is."""
        for keyword in dump.keywords:
            if keyword.arg == "include" and isinstance(keyword.value, ast.Name):
                [chosen] = definitions(self.module)[keyword.value.id]
                return [n.value for n in ast.walk(chosen) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        return list(PARAMS)


def path_of(node: ast.AST, variables: dict[str, str]) -> str | None:
    """The dotted key that an expression stands for, "" for all settings, None for anything else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    match node:
        case ast.Name(id=name) if name in variables:
            return existing([*variables[name].split("."), *names])
        case ast.Call(func=ast.Name(id="load_settings")):
            return existing(names)
        case ast.Name(id=name) if names or name in ("settings", "_settings"):
            names.insert(0, name)
    for start, name in enumerate(names):
        if name in ("settings", "_settings"):
            return existing(names[start + 1 :])
    return None


def existing(names: list[str]) -> str:
    """As many of the names as lead into params.yaml, dotted."""
    inner, key = PARAMS, []
    for name in filter(None, names):
        name = "register" if name == "register_" else name
        if not isinstance(inner, dict) or name not in inner:
            break
        inner = inner[name]
        key.append(name)
    return ".".join(key)


def section_of(annotation: ast.expr | None) -> str | None:
    """The section that a parameter of such a type holds, "" for all settings."""
    names = [n.id for n in ast.walk(annotation) if isinstance(n, ast.Name)] if annotation else []
    return next((SECTIONS[name] for name in names if name in SECTIONS), "" if "Settings" in names else None)


def sections(place: SettingsKey) -> Iterator[tuple[str, str]]:
    for inner in place.inner():
        if inner.section and "[]" not in inner.key:
            yield inner.section.__name__, inner.key
            yield from sections(inner)


SECTIONS = dict(sections(SettingsKey("", Settings)))


@cache
def definitions(module: str) -> dict[str, list[ast.stmt]]:
    """What is at the top of a module, by name; "" is what runs at import and has none."""
    found: dict[str, list[ast.stmt]] = {"": []}
    for node in tree(modules("pipeline")[module]).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found[name] = [node]
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = [node]
            case _:
                found[""].append(node)
    return found


@cache
def imported_names(module: str) -> dict[str, str]:
    """Names that a module's imports bind, at its top or inside a function, to what they stand for."""
    found = {}
    for node in ast.walk(tree(modules("pipeline")[module])):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
        elif isinstance(node, ast.Import):
            found.update({alias.asname or alias.name: alias.name for alias in node.names})
    return found


def reached(start: Definition) -> set[Definition]:
    found: set[Definition] = set()
    waiting = [start]
    while waiting:
        module, name = waiting.pop()
        if (module, name) in found or name not in definitions(module):
            continue
        found.add((module, name))
        waiting.append((module, ""))
        for node in definitions(module)[name]:
            waiting += list(named(module, node))
    return found


def named(module: str, node: ast.AST) -> Iterator[Definition]:
    """Definitions of ours that a piece of a module names."""
    bound = imported_names(module)
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield module, inner.id
            home, _, name = bound.get(inner.id, "").rpartition(".")
            if home in modules("pipeline"):
                yield home, name
        elif isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name):
            home = bound.get(inner.value.id, "")
            if home in modules("pipeline"):
                yield home, inner.attr


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_every_file_of_another_that_it_names(stage: str) -> None:
    """Every text in the code reached that is a path of some stage's outs, or a folder above one."""
    made = {out: maker for maker in STAGES for out in outs(maker)}
    mine = [*outs(stage), *listed(stage, "deps")]
    for home, name in sorted(reached((f"pipeline.stages.{stage}", "main"))):
        constants = [n for node in definitions(home)[name] for n in ast.walk(node) if isinstance(n, ast.Constant)]
        for path in [c.value for c in constants if isinstance(c.value, str) and "/" in c.value]:
            if any(near(path, out) for out in made) and home not in ONLY_WRITTEN_DOWN:
                assert any(near(path, out) for out in mine), f"{stage}: {home}.{name} names {path}"


def near(path: str, other: str) -> bool:
    return is_within(path, other) or is_within(other, path)


def test_the_reading_of_settings_is_seen() -> None:
    """The checks above would pass if they found nothing."""
    read = set(settings_read("pipeline.stages.train"))
    assert {"train.ppo.learning_rate", "train.max_steps", "tracing", "compute.memory_limit_bytes"} <= read
    assert "register.min_improvement" in settings_read("pipeline.stages.register")
    assert not [key for key in read if key.startswith("register")]
    assert "data.sample_seed" in settings_read("pipeline.stages.samples")
    assert SECTIONS["PPOSettings"] == "train.ppo"
    assert {key.partition(".")[0] for key in read} <= set(PARAMS)
