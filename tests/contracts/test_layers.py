"""What the import linter does not see; `make check` runs its contracts."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.source import ROOT, imports, modules, tree

IMPURE = {"os", "random", "secrets", "socket", "subprocess", "tempfile", "threading", "time", "multiprocessing"}

PURE = sorted(
    name
    for name in modules("pipeline")
    if name.startswith("pipeline.svg.")
    or name
    in {
        "pipeline.agent.candidates",
        "pipeline.agent.episode",
        "pipeline.agent.features",
        "pipeline.agent.objectives",
        "pipeline.agent.outcome",
        "pipeline.core.intervals",
        "pipeline.core.pixels",
        "pipeline.data.categories",
        "pipeline.data.hashes",
        "pipeline.data.links",
        "pipeline.data.probe",
        "pipeline.data.splits",
        "pipeline.tracing.frames",
        "pipeline.tracing.preparation",
        "pipeline.tracing.quality",
        "pipeline.tracing.space",
        "pipeline.tracking.gate",
        "pipeline.training.curriculum",
        "pipeline.training.sampling",
    }
)
"""Values in, values out: the same answer every time, from the arguments alone."""


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_has_no_paths_clock_or_global_random_state(name: str) -> None:
    """pathlib for arithmetic on names is fine (PurePath), and so is NumPy's random state when it is handed in."""
    module = tree(modules("pipeline")[name])
    for imported, line in imports(module):
        assert imported.partition(".")[0] not in IMPURE, f"{name}:{line} imports {imported}"
        assert not re.match(r"pathlib\.(?!Pure)", imported), f"{name}:{line} imports {imported}"
    for node in ast.walk(module):
        text = ast.unparse(node) if isinstance(node, ast.Call) else ""
        assert not re.match(r"(open|input|print|np\.random\.(?!default_rng\(.|SeedSequence\(.))\b", text), (
            f"{name}: {text}"
        )
        assert not re.match(r"(datetime\.(now|today)|date\.today)\b", text), f"{name}: {text}"


def test_packages_are_empty_so_that_an_import_is_light() -> None:
    for package in ("pipeline", "monitoring", "dashboard"):
        for path in (ROOT / package).rglob("__init__.py"):
            assert path.read_bytes() == b"", path


def test_only_an_entry_point_stands_loose_at_the_top_of_a_package() -> None:
    for path in (ROOT / "pipeline").glob("*.py"):
        assert path.name in {"__init__.py", "__main__.py"}, path


def test_a_stage_is_a_main_alone() -> None:
    """No stage imports another: DVC is what connects them."""
    stages = {n: p for n, p in modules("pipeline").items() if n.startswith("pipeline.stages.")}
    del stages["pipeline.stages.entry"]
    assert {"pipeline.stages.train", "pipeline.stages.evaluate", "pipeline.stages.register"} <= set(stages)
    for name, path in stages.items():
        defined = [n.name for n in tree(path).body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        assert defined == ["main"], name
        others = [i for i, _ in imports(tree(path)) if i.startswith("pipeline.stages.")]
        assert others == ["pipeline.stages.entry.run"], name


def test_tests_share_through_support_alone() -> None:
    """A test module that another one imports would run with it, and could not be changed or moved alone."""
    for path in (ROOT / "tests").rglob("*.py"):
        for imported, line in imports(tree(path)):
            assert not imported.startswith("tests.") or imported.startswith("tests.support"), f"{path}:{line}"
