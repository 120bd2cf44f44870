"""Our own source, read and not run: what the contract tests look at."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("pipeline", "monitoring", "dashboard")


@cache
def modules(*folders: str) -> dict[str, Path]:
    """Module names to files, of the packages named; packages by their own name where __init__.py is not empty."""
    found = {}
    for folder in folders or PACKAGES:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            if path.name != "__init__.py":
                found[name] = path
            elif path.stat().st_size:
                found[name.removesuffix(".__init__")] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Dotted names imported anywhere in a tree, inside functions too, with their lines; `from a import b` gives a.b.

    What only a type checker sees is left out.
    """
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                for other in child.orelse:
                    yield from imports(other)
                continue
            case ast.Import(names=names):
                yield from ((alias.name, child.lineno) for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield from ((f"{module}.{alias.name}", child.lineno) for alias in names)
        yield from imports(child)


@cache
def tracked_files() -> tuple[Path, ...]:
    """What git tracks, or would; without git every file outside hidden and generated folders."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split("\0")
        files = [ROOT / name for name in listed if name]
    except (OSError, subprocess.CalledProcessError):
        made = ("data", "models", "mlruns", "results", "reports", "out", "build")
        files = [
            path
            for path in ROOT.rglob("*")
            if not any(p.startswith(".") or p in (*made, "__pycache__") for p in path.relative_to(ROOT).parts[:1])
        ]
    return tuple(path for path in files if path.is_file())
