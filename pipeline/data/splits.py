"""Who is trained on, and who is kept for judging.

Groups of linked images (`data.links`) are dealt whole. Each category has a quota of each split; a group goes where
its category's quota is most short: large groups first, the others in an order that the seed decides.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.core.facts.data import GroupCounts, SplitContent, SplitSummary
from pipeline.core.records import CATEGORIES, SPLITS, Category, SplitName
from pipeline.data.links import Item, link

Placed = SplitName | Literal["aside"]
"""aside: in no split, because the image resembles images of two splits."""

Ratios = Mapping[SplitName, float]

MIN_GROUPS = 3
"""A category with as many groups, or more, has at least one in each split."""

LARGE = 0.5
"""A group that takes more of the smallest quota is dealt before those that can still even things out."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """Where one image is. group: the first path of its group."""

    path: str
    digest: str
    category: Category
    group: str
    split: Placed


def assign(
    items: Sequence[Item], ratios: Ratios, seed: int, near_duplicate_bits: int, previous: Iterable[Assigned] = ()
) -> list[Assigned]:
    """Put every image into a split, in the order of paths.

    previous: an earlier result; its images stay where they were, known by their pixels or else by their path.
    """
    known = _known(items, previous)
    groups = link(items, near_duplicate_bits, known)
    categories = [_majority(items[i].category for i in group) for group in groups.linked]
    keys = [items[group[0]].path for group in groups.linked]
    splits = list(groups.splits)
    for category in CATEGORIES:
        which = [n for n, c in enumerate(categories) if c == category]
        sizes = {n: len(groups.linked[n]) for n in which}
        large = LARGE * min(ratios.values()) * sum(sizes.values())
        order = sorted(which, key=lambda n: (-sizes[n] if sizes[n] > large else -1, _lot(keys[n], seed)))
        _deal(order, sizes, splits, ratios)
    placed: dict[int, tuple[str, Placed]] = {i: (items[i].path, "aside") for i in groups.aside}
    for group, key, split in zip(groups.linked, keys, splits, strict=True):
        assert split is not None, "every group was dealt"
        placed.update(dict.fromkeys(group, (key, split)))
    return [
        Assigned(items[i].path, items[i].digest, items[i].category, *placed[i])
        for i in sorted(placed, key=lambda i: items[i].path)
    ]


def _known(items: Sequence[Item], previous: Iterable[Assigned]) -> dict[int, SplitName]:
    """The splits that items are in already: first those that are as they were, then copies of them and changed ones."""
    as_it_was: dict[tuple[str, str], SplitName] = {}
    by_digest: dict[str, SplitName] = {}
    by_path: dict[str, SplitName] = {}
    for row in previous:
        if row.split != "aside":
            as_it_was[row.path, row.digest] = by_digest[row.digest] = by_path[row.path] = row.split
    order = sorted(range(len(items)), key=lambda i: items[i].path)
    found = {i: split for i in order if (split := as_it_was.get((items[i].path, items[i].digest)))}
    for i in order:
        if split := by_digest.get(items[i].digest) or by_path.get(items[i].path):
            found.setdefault(i, split)
    return found


def _deal(order: list[int], sizes: Mapping[int, int], splits: list[SplitName | None], ratios: Ratios) -> None:
    """Fill in the splits of the groups of one category that have none yet."""
    have: Counter[SplitName] = Counter()
    for n in order:
        if (split := splits[n]) is not None:
            have[split] += sizes[n]
    total = sum(sizes.values())
    undealt = [n for n in order if splits[n] is None]
    for left, n in zip(range(len(undealt), 0, -1), undealt, strict=True):
        empty = [split for split in SPLITS if not have[split]]
        open_to = empty if empty and len(order) >= MIN_GROUPS and left <= len(empty) else SPLITS
        chosen = max(open_to, key=lambda split: ratios[split] * total - have[split])
        splits[n] = chosen
        have[chosen] += sizes[n]


def _majority(categories: Iterable[Category]) -> Category:
    counts = Counter(categories)
    return max(CATEGORIES, key=lambda category: counts[category])


def _lot(key: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{key}".encode()).hexdigest()


def summarise(rows: Sequence[Assigned]) -> SplitSummary:
    """What data/splits.json says.

    Per split: images, groups, and a digest of its content (SHA-256 over the sorted pixel digests and categories);
    then counts by category, the sizes of groups, and who was set aside.
    """
    members: dict[str, list[Assigned]] = defaultdict(list)
    for row in rows:
        members[row.split].append(row)
    sizes = Counter(row.group for row in rows if row.split != "aside")
    by_category = {
        str(category): {str(split): sum(row.category == category for row in members[split]) for split in SPLITS}
        for category in CATEGORIES
    }
    groups = GroupCounts(
        count=len(sizes),
        of_several=sum(size > 1 for size in sizes.values()),
        largest=max(sizes.values(), default=0),
        largest_group=max(sizes, key=lambda group: (sizes[group], group), default=None),
    )
    return SplitSummary(
        train=_content(members["train"]),
        val=_content(members["val"]),
        test=_content(members["test"]),
        by_category=by_category,
        groups=groups,
        aside=tuple(row.path for row in members["aside"]),
    )


def _content(rows: Sequence[Assigned]) -> SplitContent:
    lines = sorted(f"{row.digest} {row.category}\n" for row in rows)
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    return SplitContent(images=len(rows), groups=len({row.group for row in rows}), digest=digest)
