"""Each of our images has the code that its command imports, and the packages that this code imports."""

from __future__ import annotations

import ast
import importlib.metadata as metadata
import re
import tomllib
from collections.abc import Iterable
from functools import cache

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.compose import DOCKERFILE
from tests.support.source import PACKAGES, ROOT, imports, modules, tree

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {"core": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
STARTS = {"exporter": "monitoring.__main__", "dashboard": "dashboard.app"}


@cache
def needed_by(distribution: str) -> frozenset[str]:
    """A distribution and all that it asks for itself."""
    try:
        wanted = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return frozenset()
    found: set[str] = {canonicalize_name(distribution)}
    for requirement in map(Requirement, wanted):
        if (requirement.marker is None or requirement.marker.evaluate({"extra": ""})) and requirement.name not in found:
            found |= needed_by(requirement.name)
    return frozenset(found)


def installed(target: str) -> set[str]:
    """What the target's build stage installs."""
    line = DOCKERFILE.split(f" AS build-{target}\n")[1].split("\n")[0]
    names = re.findall(r"--requirement (\w+)\.txt", line)
    return {d for name in names for wanted in EXTRAS[name] for d in needed_by(Requirement(wanted).name)}


def reached(start: str) -> tuple[set[str], set[str]]:
    """Our modules that are imported when `start` is, and the other packages. What functions import is left out."""
    ours: set[str] = set()
    others: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in ours or name not in modules(*PACKAGES):
            continue
        ours.add(name)
        body = [node for node in tree(modules(*PACKAGES)[name]).body if not isinstance(node, ast.FunctionDef)]
        for imported, _ in imports(ast.Module(body, [])):
            if imported.split(".")[0] in PACKAGES:
                waiting += [imported, imported.rpartition(".")[0]]
            else:
                others.add(imported.split(".")[0])
    return ours, others


def lacking(packages: Iterable[str], there: set[str]) -> set[str]:
    known = metadata.packages_distributions()
    return {p for p in packages if p in known and not {canonicalize_name(d) for d in known[p]} & there}


@pytest.mark.parametrize("target", STARTS)
def test_an_image_has_all_that_its_code_imports(target: str) -> None:
    ours, others = reached(STARTS[target])
    stage = DOCKERFILE.split(f" AS {target}\n")[1].split("\nFROM ")[0]
    for package in {name.split(".")[0] for name in ours}:
        assert f"\nCOPY {package} /app/{package}\n" in stage, f"{target} imports {package}"
    assert len(ours) > 5
    assert lacking(others, installed(target)) == set(), "add it to the extra that the image installs"
