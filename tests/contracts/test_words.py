from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support.source import PACKAGES, ROOT, modules, tracked_files, tree

UNUSED = ("Manager", "Engine", "Framework", "Handler", "Helper")
"""Words that say nothing about what a class does."""

OWN_PATHS = re.compile(
    r"(?<![\w.~}])/(?:work|root|tmp/v|workspace)/|/home/(?!you\b|user\b)\w+/|/Users/\w+/|[A-Z]:\\Users\\"
)
"""A path that only one developer's machine has."""

INDEX = re.compile(
    r"--?(?:extra-)?index-url|--find-links|--trusted-host|\bPIP_(?:EXTRA_)?INDEX|https?://[^\s/]*(?:artifactory|nexus|devpi|mirror)"
)
"""Where packages come from is the reader's own affair: a lock file must install from anybody's index."""

BANNED = (
    "gone on with",
    "go on with",
    "goes on with",
    "going on with",
    "goes on where",
    "on with where",
    "has not got",
    "have not got",
    "not to be had",
    "came of",
    "brings the one before back",
    "as you like",
    "it is to be",
    "is to be an",
    "that there are",
    "what there is",
    "one that is there",
    "of one's own",
    "whoever",
    "without a word",
    "of the moment",
    "for want of",
    "asked for",
    "is told",
    "was told",
    "anew",
)
"""Unidiomatic phrases that earlier versions used often: resume, does not have, result, must be, report, again."""

PHRASES = re.compile(r"\b(?:" + "|".join(p.replace(" ", r"[\s#]+") for p in BANNED) + r")\b", re.IGNORECASE)
"""Also across the line breaks of a paragraph, a docstring or a comment."""

PLAIN = (
    *PACKAGES,
    "README.md",
    "CHANGELOG.md",
    "docs",
    "dvc.yaml",
    "params.yaml",
    "Makefile",
    "Dockerfile",
    "docker-compose.yml",
    ".ci",
)
"""Files and folders whose prose is free of BANNED."""

ABOUT_ITSELF = Path(__file__).resolve()


def texts() -> list[tuple[Path, str]]:
    found = []
    for path in tracked_files():
        content = path.read_bytes()
        if b"\0" not in content[:8000] and path.resolve() != ABOUT_ITSELF:
            found.append((path.relative_to(ROOT), content.decode("utf-8", "replace")))
    return found


def test_classes_are_named_after_what_they_are() -> None:
    for name, path in modules(*PACKAGES, "benchmarks", "tests").items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                assert not node.name.endswith(UNUSED), f"{name}.{node.name}"
                assert not node.name.startswith(UNUSED), f"{name}.{node.name}"


def test_no_module_is_a_drawer_for_everything() -> None:
    for name in modules(*PACKAGES, "benchmarks", "tests"):
        assert not {"utils", "util", "helpers", "helper", "common", "misc", "managers"} & set(name.split(".")), name


@pytest.mark.parametrize(("pattern", "what"), [(OWN_PATHS, "a path of one machine"), (INDEX, "a package index")])
def test_nothing_in_the_repository_belongs_to_one_machine(pattern: re.Pattern[str], what: str) -> None:
    assert len(texts()) > 80
    found = [
        f"{path}:{number}: {what}: {line.strip()[:100]}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("line", ["cd /work/main", "open('/tmp/v/x')", "/home/anna/logos", r"C:\Users\anna"])
def test_a_path_of_one_machine_is_seen(line: str) -> None:
    assert OWN_PATHS.search(line)


@pytest.mark.parametrize("line", ["docs/work/plan", "/home/you/logos", "$HOME/work/x", "/tmp/out", "~/work/x"])
def test_a_path_that_anybody_may_have_is_let_be(line: str) -> None:
    assert not OWN_PATHS.search(line)


@pytest.mark.parametrize(
    "line", ["--index-url https://x/simple", "pip install --extra-index-url=x", "-f --find-links x"]
)
def test_a_package_index_is_seen(line: str) -> None:
    assert INDEX.search(line)


def test_text_files_are_utf_8_and_end_with_a_newline() -> None:
    for path in tracked_files():
        content = path.read_bytes()
        if (
            content
            and path.suffix in (".py", ".md", ".yaml", ".toml", ".txt", ".lock", ".json")
            and b"\0" not in content
        ):
            content.decode("utf-8")
            assert content.endswith(b"\n"), path
            assert b"\r\n" not in content, path


def prose(place: str) -> list[tuple[Path, str]]:
    return [(path, text) for path, text in texts() if path.is_relative_to(place)]


@pytest.mark.parametrize("place", PLAIN)
def test_prose_is_plain_english(place: str) -> None:
    found = [
        f"{path}:{text.count(chr(10), 0, match.start()) + 1}: {' '.join(match[0].split())}"
        for path, text in prose(place)
        for match in PHRASES.finditer(text)
    ]
    assert prose(place) != []
    assert found == []


@pytest.mark.parametrize(
    "text", ["It is gone on with.", "MLflow has\n    not got it", "# what\n# came of it", "The time asked\n# for"]
)
def test_a_banned_phrase_is_seen_across_lines(text: str) -> None:
    assert PHRASES.search(text)


@pytest.mark.parametrize("text", ["The run resumes.", "It became of interest", "a new one", "renewal"])
def test_plain_english_passes(text: str) -> None:
    assert not PHRASES.search(text)
