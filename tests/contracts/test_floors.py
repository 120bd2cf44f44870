from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.source import ROOT, imports, modules, tree

PYPROJECT = ROOT / "pyproject.toml"
CONTRACTS = {c["id"]: c for c in tomllib.loads(PYPROJECT.read_text())["tool"]["importlinter"]["contracts"]}

TOP, F4, F3, F2, F1, F0 = (re.findall(r"[\w.]+", layer) for layer in CONTRACTS["floors"]["layers"])

IMPURE = {"os", "random", "secrets", "socket", "subprocess", "tempfile", "threading", "time", "multiprocessing"}


def test_every_contract_is_kept() -> None:
    """In a process of its own: import-linter disables every logger that there is."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--config", str(PYPROJECT), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_module_has_one_floor() -> None:
    """A new module is on no floor until pyproject.toml gives it one."""
    floors = [*TOP, *F4, *F3, *F2, *F1, *F0]
    for name in modules("pipeline"):
        homes = [floor for floor in floors if name == floor or name.startswith(f"{floor}.")]
        assert len(homes) == 1, f"{name} is on {len(homes)} floors; put it on one of [tool.importlinter]'s"


def test_the_pure_floor_is_the_one_that_is_kept_pure() -> None:
    assert sorted(CONTRACTS["pure"]["source_modules"]) == sorted(F1)


@pytest.mark.parametrize("name", F1)
def test_f1_has_no_paths_clock_or_global_random_state(name: str) -> None:
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


def test_a_stage_is_a_main_alone() -> None:
    """No stage imports another: DVC is what connects them."""
    stages = {n: p for n, p in modules("pipeline").items() if n.startswith("pipeline.stages.") and "._" not in n}
    assert {"pipeline.stages.train", "pipeline.stages.evaluate", "pipeline.stages.register"} <= set(stages)
    for name, path in stages.items():
        defined = [n.name for n in tree(path).body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        assert defined == ["main"], name
        others = [i for i, _ in imports(tree(path)) if i.startswith("pipeline.stages.")]
        assert others in ([], ["pipeline.stages._main.run"]), name
