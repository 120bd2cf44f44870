from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.records import SplitName
from pipeline.data.links import Groups, Item, brand_of, link

FAR = ["0" * 64, "f" * 64, "0f" * 32, "f0" * 32, "33" * 32, "cc" * 32, "55" * 32, "aa" * 32]


def item(path: str, digest: str = "", brand: str = "", hash: str = "") -> Item:
    return Item(path, digest or path, "simple", brand, hash or FAR[sum(path.encode()) % len(FAR)])


def grouped(items: list[Item], known: dict[int, SplitName] | None = None) -> tuple[list[set[str]], list[str]]:
    groups = link(items, 6, known)
    return [{items[i].path for i in group} for group in groups.linked], [items[i].path for i in groups.aside]


@pytest.mark.parametrize(
    ("path", "brand"),
    [
        ("abstract/adobe-lightroom.png", "adobelightroom"),
        ("adobe_lightroom-icon.png", "adobelightroom"),
        ("AdobeLightroom (1) white 256x256.png", "adobelightroom"),
        ("bash-icon.png", "bash"),
        ("bash.png", "bash"),
        ("vite-icon-dark.webp", "vite"),
        ("acme@2x.png", "acme"),
        ("acme-512.png", "acme"),
        ("ACME_Logo_RGB.png", "acmergb"),
        ("c-plusplus.png", "cplusplus"),
        ("shape-1.png", "shape1"),
        ("shape-2.png", "shape2"),
        ("café logo.png", "café"),
        ("v8-ignition.png", "v8ignition"),
        ("logo.png", ""),
        ("acme/logo-dark.png", ""),
        ("icon-17.png", ""),
        ("0042.png", ""),
        ("---.png", ""),
    ],
)
def test_brand(path: str, brand: str) -> None:
    assert brand_of(path) == brand


def test_what_is_linked() -> None:
    one_bit_off = f"{1:064x}"
    items = [
        item("a", digest="same", hash=FAR[1]),
        item("b", digest="same", hash=FAR[1]),
        item("c", brand="acme", hash=FAR[2]),
        item("d", brand="acme", hash=FAR[3]),
        item("e", hash=FAR[0]),
        item("f", hash=one_bit_off),
        item("g", hash=FAR[5]),
    ]
    assert grouped(items) == ([{"a", "b"}, {"c", "d"}, {"e", "f"}, {"g"}], [])


def test_links_chain() -> None:
    steps = [f"{(1 << n) - 1:064x}" for n in (0, 5, 10, 15)]
    assert grouped([item(str(n), hash=h) for n, h in enumerate(steps)]) == ([{"0", "1", "2", "3"}], [])


def test_no_brand_links_nothing() -> None:
    assert grouped([item("a", hash=FAR[0]), item("b", hash=FAR[1])]) == ([{"a"}, {"b"}], [])


def test_who_would_join_two_splits_is_set_aside() -> None:
    bridge = item("a-new", digest="p", brand="q", hash=FAR[2])
    items = [item("x", digest="p", hash=FAR[0]), item("y", brand="q", hash=FAR[1]), bridge]
    assert grouped(items, {0: "train", 1: "test"}) == ([{"x"}, {"y"}], ["a-new"])
    assert grouped(items, {0: "train", 1: "train"}) == ([{"a-new", "x", "y"}], [])
    assert grouped(items) == ([{"a-new", "x", "y"}], [])


def test_who_resembles_only_what_was_set_aside_is_free() -> None:
    items = [
        item("x", digest="p", hash=FAR[0]),
        item("y", brand="q", hash=FAR[1]),
        item("new-1", digest="p", brand="q", hash=FAR[2]),
        item("new-2", hash=FAR[2]),
    ]
    assert grouped(items, {0: "train", 1: "test"}) == ([{"new-2"}, {"x"}, {"y"}], ["new-1"])


def test_known_ones_that_clash_are_not_joined() -> None:
    items = [item("a", digest="p"), item("b", digest="p")]
    assert grouped(items, {0: "train", 1: "test"}) == ([{"a"}], ["b"])


SPLIT = st.sampled_from(["train", "val", "test", None])
ITEMS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 7), SPLIT), max_size=20)


@given(ITEMS)
def test_no_link_ever_crosses_two_groups(rows: list[tuple[int, int, int, SplitName | None]]) -> None:
    items = [
        Item(f"{n:02d}", f"d{digest}", "simple", f"b{brand}" if brand else "", FAR[hash])
        for n, (digest, brand, hash, _) in enumerate(rows)
    ]
    known = {n: row[3] for n, row in enumerate(rows) if row[3] is not None}
    groups: Groups = link(items, 6, known)
    assert sorted([i for group in groups.linked for i in group] + groups.aside) == list(range(len(items)))
    for group, split in zip(groups.linked, groups.splits, strict=True):
        assert {known[i] for i in group if i in known} <= {split}
    where = {i: n for n, group in enumerate(groups.linked) for i in group}
    for i in where:
        for j in where:
            a, b = items[i], items[j]
            if a.digest == b.digest or (a.brand and a.brand == b.brand) or a.hash == b.hash:
                assert where[i] == where[j]
    for i in groups.aside:
        linked = {
            groups.splits[where[j]]
            for j in where
            if items[i].digest == items[j].digest
            or (items[i].brand and items[i].brand == items[j].brand)
            or items[i].hash == items[j].hash
        }
        assert len({known.get(i), *linked} - {None}) > 1


def linked_by_all_pairs(items: list[Item], bits: int, known: dict[int, SplitName]) -> Groups:
    """What `link` is to give, item against item."""
    groups: list[tuple[list[int], SplitName | None]] = []
    aside = []
    for i in [*known, *sorted(set(range(len(items))) - set(known), key=lambda i: items[i].path)]:
        mine = [g for g in groups if any(are_linked(items[i], items[j], bits) for j in g[0])]
        splits = {known.get(i), *(split for _, split in mine)} - {None}
        if len(splits) > 1:
            aside.append(i)
            continue
        united = sorted([i, *(j for members, _ in mine for j in members)], key=lambda j: items[j].path)
        groups = [g for g in groups if g not in mine] + [(united, next(iter(splits), None))]
    groups.sort(key=lambda g: items[g[0][0]].path)
    return Groups([members for members, _ in groups], [split for _, split in groups], aside)


def are_linked(a: Item, b: Item, bits: int) -> bool:
    differing = (int(a.hash, 16) ^ int(b.hash, 16)).bit_count()
    return a.digest == b.digest or bool(a.brand and a.brand == b.brand) or differing <= bits


LIKE = st.tuples(
    st.sampled_from(FAR[:4]), st.lists(st.integers(0, 20), max_size=9), st.integers(0, 20), st.integers(0, 12), SPLIT
)


@given(st.lists(LIKE, max_size=24), st.integers(0, 8), st.randoms())
def test_groups_are_those_of_all_pairs(
    rows: list[tuple[str, list[int], int, int, SplitName | None]], bits: int, order: random.Random
) -> None:
    names = [f"{n:02d}" for n in range(len(rows))]
    order.shuffle(names)
    items = [
        Item(
            name,
            f"d{digest}",
            "simple",
            f"b{brand}" if brand else "",
            f"{int(far, 16) ^ sum(1 << b for b in flips):064x}",
        )
        for name, (far, flips, digest, brand, _) in zip(names, rows, strict=True)
    ]
    known = {n: row[4] for n, row in enumerate(rows) if row[4] is not None}
    assert link(items, bits, known) == linked_by_all_pairs(items, bits, known)


def test_ten_thousand_that_look_the_same_are_one_group_and_a_chain_as_long_another() -> None:
    """Pair by pair, or in a tree as deep as the chain is long, these would take minutes."""
    same = [item(f"a{n:05d}", hash=FAR[1]) for n in range(10_000)]
    chain, look = [], 0
    for n in range(10_000):
        chain.append(item(f"b{n:05d}", digest=f"d{n // 2}", brand=f"b{(n + 1) // 2}", hash=f"{look:064x}"))
        look = int.from_bytes(hashlib.sha256(str(n).encode()).digest())
    assert [len(group) for group in link([*same, *chain], 6).linked] == [10_000, 10_000]
