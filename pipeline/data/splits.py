"""Splitting images into train, val and test.

Groups of linked images (`data.links`) stay together. Each category has a quota in each split; a group goes to the split
in which its category lacks most: large groups first, the others in an order that the seed decides.
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

Subset = SplitName | Literal["aside"]
"""aside: in no split, because the image is linked to images of two splits."""

Ratios = Mapping[SplitName, float]

MIN_GROUPS = 3
"""A category with at least so many groups has one or more in each split."""

LARGE = 0.5
"""A group larger than this share of the smallest quota is dealt before those that can still even things out."""


@dataclass(frozen=True, slots=True)
class SplitRow:
    """Where one image is. group: the first path of its group."""

    path: str
    digest: str
    category: Category
    group: str
    split: Subset


def assign(
    items: Sequence[Item], ratios: Ratios, seed: int, near_duplicate_bits: int, previous: Iterable[SplitRow] = ()
) -> list[SplitRow]:
    """Assigns every image to a split; rows in the order of paths.

    previous: an earlier result; its images stay where they were, recognised by their pixels or else by their path.
    """
    groups = link(items, near_duplicate_bits, _previous_splits(items, previous))
    counts = [Counter(items[i].category for i in group) for group in groups.linked]
    categories = [max(CATEGORIES, key=count.__getitem__) for count in counts]
    keys = [items[group[0]].path for group in groups.linked]
    splits = list(groups.splits)
    for category in CATEGORIES:
        which = [n for n, c in enumerate(categories) if c == category]
        sizes = {n: len(groups.linked[n]) for n in which}
        large = LARGE * min(ratios.values()) * sum(sizes.values())
        lots = {n: hashlib.sha256(f"{seed}:{keys[n]}".encode()).hexdigest() for n in which}
        order = sorted(which, key=lambda n: (-sizes[n] if sizes[n] > large else -1, lots[n]))
        _deal(order, sizes, splits, ratios)
    subsets: dict[int, tuple[str, Subset]] = {i: (items[i].path, "aside") for i in groups.aside}
    for group, key, split in zip(groups.linked, keys, splits, strict=True):
        assert split is not None, "every group was dealt"
        subsets.update(dict.fromkeys(group, (key, split)))
    return [
        SplitRow(items[i].path, items[i].digest, items[i].category, *subsets[i])
        for i in sorted(subsets, key=lambda i: items[i].path)
    ]


def _previous_splits(items: Sequence[Item], previous: Iterable[SplitRow]) -> dict[int, SplitName]:
    """The splits that items are in already: first unchanged items, then copies of them and changed ones."""
    unchanged: dict[tuple[str, str], SplitName] = {}
    by_digest: dict[str, SplitName] = {}
    by_path: dict[str, SplitName] = {}
    for row in previous:
        if row.split != "aside":
            unchanged[row.path, row.digest] = by_digest[row.digest] = by_path[row.path] = row.split
    order = sorted(range(len(items)), key=lambda i: items[i].path)
    found = {i: split for i in order if (split := unchanged.get((items[i].path, items[i].digest)))}
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


def summarise(rows: Sequence[SplitRow]) -> SplitSummary:
    """The content of data/splits.json.

    Per split: images, groups, and a digest of its content (SHA-256 over the sorted pixel digests and categories);
    then counts by category, the sizes of groups, and the paths of images set aside.
    """
    members: dict[str, list[SplitRow]] = defaultdict(list)
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


def _content(rows: Sequence[SplitRow]) -> SplitContent:
    lines = sorted(f"{row.digest} {row.category}\n" for row in rows)
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    return SplitContent(images=len(rows), groups=len({row.group for row in rows}), digest=digest)
