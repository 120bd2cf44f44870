from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.records import CATEGORIES, SPLITS, Category, SplitName
from pipeline.data.links import Item
from pipeline.data.splits import SplitRow, assign, summarise

RATIOS: dict[SplitName, float] = {"train": 0.7, "val": 0.2, "test": 0.1}


def items_of(count: int, category: Category = "simple", start: int = 0, brands: int = 0) -> list[Item]:
    """Images that do not look alike; of so many brands, or each its own."""
    result = []
    for n in range(start, start + count):
        look = np.random.default_rng([CATEGORIES.index(category), n]).bytes(32).hex()
        brand = f"{category}{n % brands if brands else n}"
        result.append(Item(f"{category}/{n:03d}.png", f"{category}{n}", category, brand, look))
    return result


def split(items: Sequence[Item], seed: int = 1, previous: Sequence[SplitRow] = ()) -> list[SplitRow]:
    return assign(items, RATIOS, seed, 6, previous)


def counts(rows: Sequence[SplitRow], category: Category = "simple") -> list[int]:
    found = Counter(row.split for row in rows if row.category == category)
    return [found[name] for name in SPLITS]


BATCH = st.lists(st.tuples(st.sampled_from(CATEGORIES), st.integers(0, 12), st.integers(0, 9)), max_size=40).map(
    lambda rows: [
        Item(f"{37 * n % 40:02d}.png", f"d{digest}", category, f"b{brand}", np.random.default_rng(n).bytes(32).hex())
        for n, (category, digest, brand) in enumerate(rows)
    ]
)


@given(BATCH, st.integers(0, 3))
def test_no_group_straddles_and_no_image_is_lost(items: list[Item], seed: int) -> None:
    rows = split(items, seed)
    assert [row.path for row in rows] == sorted(item.path for item in items)
    in_order = sorted(items, key=lambda item: item.path)
    for a, first in zip(in_order, rows, strict=True):
        for b, second in zip(in_order, rows, strict=True):
            if a.digest == b.digest or a.brand == b.brand:
                assert (first.split, first.group) == (second.split, second.group)
    assert rows == split(list(reversed(items)), seed)


@given(BATCH, st.integers(0, 40))
def test_adding_images_moves_none(items: list[Item], kept: int) -> None:
    before = split(items[:kept])
    after = {row.path: row for row in split(items[::-1], previous=before)}
    for row in before:
        assert after[row.path].split == row.split
    together: dict[str, set[str]] = {}
    for row in after.values():
        if row.split != "aside":
            together.setdefault(row.digest, set()).add(row.split)
    assert all(len(splits) == 1 for splits in together.values())


@given(BATCH)
def test_the_same_images_stay_as_they_are(items: list[Item]) -> None:
    before = split(items)
    assert split(items, previous=before) == before


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("count", [10, 50, 237])
def test_quotas_of_single_images_are_met(category: Category, count: int) -> None:
    found = counts(split(items_of(count, category)), category)
    for share, ratio in zip(found, RATIOS.values(), strict=True):
        assert abs(share - ratio * count) <= 1


def test_each_category_has_its_share() -> None:
    sizes = dict(zip(CATEGORIES, (100, 20, 40, 70), strict=True))
    rows = split([item for category, size in sizes.items() for item in items_of(size, category)])
    for category, size in sizes.items():
        assert counts(rows, category) == pytest.approx([0.7 * size, 0.2 * size, 0.1 * size], abs=1)


def test_groups_even_out_to_the_ratios() -> None:
    rng = np.random.default_rng(0)
    items = [
        Item(f"{n}.png", f"d{n}", "text", f"b{brand}", rng.bytes(32).hex())
        for n, brand in enumerate(np.minimum(rng.geometric(0.02, 300), 120))
    ]
    assert counts(split(items), "text") == pytest.approx([210, 60, 30], abs=6)


@pytest.mark.parametrize("groups", [3, 4, 5, 7])
def test_three_groups_reach_every_split(groups: int) -> None:
    assert all(counts(split(items_of(groups))))
    assert all(counts(split(items_of(groups * 4, brands=groups))))


def test_two_groups_go_to_training_first() -> None:
    assert counts(split(items_of(1))) == [1, 0, 0]


def test_a_giant_group_leaves_the_others_to_the_rest() -> None:
    giant = [Item(f"g{n}.png", f"g{n}", "simple", "giant", "0" * 64) for n in range(30)]
    rows = split([*giant, *items_of(30)])
    assert {row.split for row in rows if row.path.startswith("g")} == {"train"}
    assert counts(rows) == [42, 12, 6]


def test_the_seed_decides() -> None:
    items = items_of(60)
    assert split(items, seed=1) == split(items, seed=1)
    assert split(items, seed=1) != split(items, seed=2)


def test_new_images_go_where_the_quota_is_short() -> None:
    before = [row for row in split(items_of(60)) if row.split != "test"]
    known = {row.path for row in before}
    items = [item for item in items_of(60) if item.path in known] + items_of(6, start=100)
    rows = split(items, previous=before)
    assert {row.split for row in rows if row.path >= "simple/100"} == {"test"}


def test_a_renamed_image_stays_and_a_changed_one_keeps_its_place() -> None:
    items = items_of(40)
    before = {row.digest: row.split for row in split(items)}
    renamed = [Item("z" + item.path, item.digest, item.category, "", item.hash) for item in items]
    assert {row.digest: row.split for row in split(renamed, previous=split(items))} == before
    looks = [other.hash for other in items_of(40, "text")]
    changed = [Item(i.path, "new" + i.digest, i.category, "", look) for i, look in zip(items, looks, strict=True)]
    assert [row.split for row in split(changed, previous=split(items))] == [row.split for row in split(items)]


def test_an_image_that_links_two_splits_is_in_none() -> None:
    items = items_of(40)
    before = split(items)
    in_train = next(i for i, row in zip(items, before, strict=True) if row.split == "train")
    in_test = next(i for i, row in zip(items, before, strict=True) if row.split == "test")
    bridge = Item("bridge.png", in_train.digest, "simple", in_test.brand, in_test.hash)
    after = split([bridge, *items], previous=before)
    assert [row for row in after if row.path != "bridge.png"] == before
    assert summarise(after).aside == ("bridge.png",)
    again = split([bridge, *items], previous=after)
    assert again == after


def test_a_group_counts_as_what_most_of_it_is() -> None:
    mixed = [Item(f"m{n}.png", f"m{n}", "text" if n else "complex", "mixed", f"{n:064x}") for n in range(3)]
    rows = split([*mixed, *items_of(10, "complex")])
    assert len({row.split for row in rows if row.path.startswith("m")}) == 1
    assert {row.category for row in rows if row.path.startswith("m")} == {"text", "complex"}


def test_the_summary_counts_and_digests() -> None:
    items = [*items_of(20), *items_of(12, "complex", brands=6)]
    summary = summarise(split(items))
    assert sum(summary.content(name).images for name in SPLITS) == 32
    assert sum(summary.by_category["complex"].values()) == 12
    assert summary.by_category["text"] == {"train": 0, "val": 0, "test": 0}
    assert summary.groups.count == 26
    assert (summary.groups.of_several, summary.groups.largest) == (6, 2)
    assert summary.aside == ()


def test_the_digest_is_of_the_content_not_of_names() -> None:
    rows = split(items_of(20))
    renamed = [SplitRow("x" + r.path, r.digest, r.category, "x" + r.group, r.split) for r in reversed(rows)]
    other = [SplitRow(r.path, r.digest, "complex", r.group, r.split) for r in rows]
    for name in SPLITS:
        assert summarise(rows).content(name).digest == summarise(renamed).content(name).digest
        assert summarise(rows).content(name).digest != summarise(other).content(name).digest


def test_nothing_is_split_into_nothing() -> None:
    assert split([]) == []
    assert summarise([]).train.images == 0
