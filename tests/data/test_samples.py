from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import DataError, StorageError, Unavailable
from pipeline.core.records import CATEGORIES, Category
from pipeline.data import samples
from pipeline.data.images import list_images
from pipeline.data.samples import NOTICE, Candidate, choose, copy_samples, package_folder, read_candidates
from tests.support.fakes import settings_with


def candidate(path: str, category: Category = "simple", hash: str | None = None, quality: float = 1.0) -> Candidate:
    seen = hash or np.random.default_rng(list(path.encode())).bytes(32).hex()
    return Candidate(path, path, seen, category, quality)


def many(sizes: dict[Category, int], providers: int = 5) -> list[Candidate]:
    return [
        candidate(f"p{n % providers}/{category}/{category}x{n}y.png", category)
        for category, size in sizes.items()
        for n in range(size)
    ]


def by_category(chosen: list[Candidate]) -> list[int]:
    found = Counter(c.category for c in chosen)
    return [found[category] for category in CATEGORIES]


def test_categories_and_providers_take_turns() -> None:
    chosen = choose(many(dict.fromkeys(CATEGORIES, 50)), 80, 1)
    assert by_category(chosen) == [20, 20, 20, 20]
    assert set(Counter(c.provider for c in chosen).values()) == {16}


def test_what_a_category_lacks_the_others_give() -> None:
    sizes: dict[Category, int] = {"simple": 50, "text": 4, "gradient": 50, "complex": 50}
    assert by_category(choose(many(sizes), 100, 1)) == [32, 4, 32, 32]


def test_the_seed_decides_and_the_order_given_does_not() -> None:
    some = many(dict.fromkeys(CATEGORIES, 50))
    assert choose(some, 40, 1) == choose(some[::-1], 40, 1)
    assert choose(some, 40, 1) != choose(some, 40, 2)
    assert len(set(choose(some, 40, 1))) == 40


def test_no_two_alike_while_others_are_left() -> None:
    template = "ab" * 32
    alike = [candidate(f"a/alike{n}x.png", hash=template) for n in range(30)]
    named = [candidate(f"{p}/database{variant}.png") for p in "bcd" for variant in ("", "-icon", "-dark")]
    others = [candidate(f"e/other{n}x.png") for n in range(10)]
    chosen = choose([*alike, *named, *others], 12, 1)
    assert sum("alike" in c.path for c in chosen) == 1
    assert sum("database" in c.path for c in chosen) == 1
    assert len(chosen) == 12
    assert len(choose([*alike, *named, *others], 100, 1)) == 49


def test_sharp_before_blurred() -> None:
    some = [candidate(f"p{n % 3}/n{n}x.png", quality=0.5 if n % 2 else 0.9) for n in range(40)]
    assert {c.quality for c in choose(some, 20, 1)} == {0.9}
    assert len(choose(some, 30, 1)) == 30


def test_candidates_are_usable_and_different(logos: Callable[..., Path], tmp_path: Path) -> None:
    root = logos("p/g/a.png", "p/g/b.png", "q/c.png")
    (root / "q/copy.png").write_bytes((root / "q/c.png").read_bytes())
    (root / "q/bad.png").write_bytes(b"no")
    found = read_candidates(root, settings_with().data, tmp_path / "cache", 1)
    assert [c.path for c in found] == ["p/g/a.png", "p/g/b.png", "q/c.png"]
    assert [c.provider for c in found] == ["p", "p", "q"]


def test_files_are_copied_unchanged_with_a_notice(logos: Callable[..., Path], tmp_path: Path) -> None:
    root, target = logos("p/g/a.png", "q/b.png", "q/c.png"), tmp_path / "data/samples"
    for paths in (["p/g/a.png", "q/b.png"], ["q/c.png"]):
        copy_samples([candidate(path) for path in paths], root, target)
        assert [str(path) for path in list_images(target)[0]] == paths
        assert all((target / path).read_bytes() == (root / path).read_bytes() for path in paths)
    assert [path.name for path in target.parent.iterdir()] == ["samples"]
    notice = (target / NOTICE).read_text()
    assert notice.startswith(f"1 icons from the Python package diagrams {samples.VERSION}")
    assert "MIT" in notice


def test_files_of_ones_own_are_not_removed(logos: Callable[..., Path], tmp_path: Path) -> None:
    root, target = logos("a.png"), tmp_path / "data/samples"
    target.mkdir(parents=True)
    (target / "mine.png").write_bytes(b"mine")
    with pytest.raises(DataError, match="holds files that are no samples"):
        copy_samples([candidate("a.png")], root, target)
    assert [path.name for path in target.parent.rglob("*")] == ["samples", "mine.png"]


def test_a_failure_leaves_what_was_there(logos: Callable[..., Path], tmp_path: Path) -> None:
    root, target = logos("a.png"), tmp_path / "data/samples"
    copy_samples([candidate("a.png")], root, target)
    with pytest.raises(StorageError, match=r"missing\.png|No such file"):
        copy_samples([candidate("missing.png")], root, target)
    assert (target / "a.png").is_file()
    assert [path.name for path in target.parent.iterdir()] == ["samples"]


def test_the_package_is_the_pinned_one(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        installed = version(samples.PACKAGE)
    except PackageNotFoundError:
        pytest.skip("diagrams is not installed")
    assert installed == samples.VERSION
    assert len(list(package_folder().rglob("*.png"))) > 2000
    monkeypatch.setattr(samples, "VERSION", "0.1")
    with pytest.raises(Unavailable, match=rf"{installed} is installed.*pip install diagrams==0\.1"):
        package_folder()
    monkeypatch.setattr(samples, "PACKAGE", "no-such-package")
    with pytest.raises(Unavailable, match="pip install no-such-package"):
        package_folder()
