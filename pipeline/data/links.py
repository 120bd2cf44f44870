"""Which images belong together, so that no two of them are ever in different splits."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipeline.core.records import Category, SplitName
from pipeline.data.hashes import NearHashes


@dataclass(frozen=True, slots=True)
class Item:
    """What a split depends on for one image; see `catalogue.CatalogueEntry`."""

    path: str
    digest: str
    category: Category
    brand: str
    hash: str


_VARIANTS = frozenset(
    """
    icon icons logo logos logotype wordmark mark symbol glyph badge brand emblem favicon lockup monogram avatar
    dark light black white grey gray mono monochrome color colour colors colours colored coloured bw inverse
    inverted reverse reversed negative positive outline outlined filled fill solid flat plain transparent bg
    background horizontal vertical stacked squared rounded full small medium large big tiny xs
    sm md lg xl old new alt alternative original official default vector copy final
    """.split()  # noqa: SIM905 - a literal would take eighty lines
)
"""Words that tell variants of one logo apart, not one brand from another."""

_SIZE = re.compile(r"\d+x\d+|\d+px|\d+x|16|20|24|32|40|48|64|72|80|96|128|144|152|180|192|200|256|300|400|512|1024")
_COPY = re.compile(r"\(\d+\)|@\dx")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_WORD = re.compile(r"[^\W_]+")


def brand_of(path: str) -> str:
    """The words of a file's name without those for variants and sizes, joined, in lower case.

    `adobe-lightroom.png`, `adobe_lightroom-icon.png` and `AdobeLightroom (1) white 256x256.png` are one brand. Other
    numbers stay, since `shape-1` and `shape-2` are two pictures more often than one. Empty, which links to nothing,
    where only such words or digits are left (`logo.png`, `17.png`).
    """
    stem = _CAMEL.sub(" ", _COPY.sub(" ", PurePosixPath(path).stem))
    words = [word for word in _WORD.findall(stem.lower()) if word not in _VARIANTS and not _SIZE.fullmatch(word)]
    return "" if all(word.isdigit() for word in words) else "".join(words)


@dataclass(frozen=True, slots=True)
class Groups:
    """Indices of items. linked: each group, sorted by path. splits: the split each already has. aside: in none."""

    linked: list[list[int]]
    splits: list[SplitName | None]
    aside: list[int]


def link(items: Sequence[Item], near_duplicate_bits: int, known: Mapping[int, SplitName] | None = None) -> Groups:
    """Group items that share pixels, a brand or a near perceptual hash; links chain.

    known: the splits that some items are in already. An item that would join two splits is set aside instead: later
    ones of `known` yield to earlier ones, all others to those, and among these later paths to earlier ones.
    """
    known = known or {}
    others = sorted(set(range(len(items))) - set(known), key=lambda i: items[i].path)
    looks = list(dict.fromkeys(item.hash for item in items))
    number_of = {look: number for number, look in enumerate(looks)}
    hashes = NearHashes(looks, near_duplicate_bits)
    forest = _Forest()
    # All items with one digest, brand or look are in one group, so any of them stands for all.
    holders: dict[tuple[str, str], int] = {}
    aside: list[int] = []
    for index in [*known, *others]:
        item = items[index]
        keys = [("digest", item.digest), ("brand", item.brand), ("look", item.hash)]
        near = [("look", looks[number]) for number in hashes.near(number_of[item.hash]).tolist()]
        linked = [holders[key] for key in [*keys, *near] if key[1] and key in holders]
        if forest.join(index, linked, known.get(index)):
            holders.update({key: holders.get(key, index) for key in keys})
        else:
            aside.append(index)
    members: dict[int, list[int]] = defaultdict(list)
    for index in sorted(forest.parents, key=lambda i: items[i].path):
        members[forest.root(index)].append(index)
    return Groups(list(members.values()), [forest.splits[root] for root in members], aside)


class _Forest:
    """Disjoint sets of indices, each in at most one split."""

    def __init__(self) -> None:
        self.parents: dict[int, int] = {}
        self.splits: dict[int, SplitName | None] = {}

    def root(self, index: int) -> int:
        while self.parents[index] != index:
            self.parents[index] = self.parents[self.parents[index]]
            index = self.parents[index]
        return index

    def join(self, index: int, others: Sequence[int], split: SplitName | None) -> bool:
        """Add an index and unite it with those of the others that are in; False, and nothing done, if splits differ."""
        roots = {self.root(other) for other in others if other in self.parents}
        splits = {split, *(self.splits[root] for root in roots)} - {None}
        if len(splits) > 1:
            return False
        self.parents[index] = index
        self.parents.update(dict.fromkeys(roots, index))
        self.splits[index] = next(iter(splits), None)
        return True
