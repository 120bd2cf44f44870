"""What the data stages write beside their tables: data/splits.json and data/quality.json."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pipeline.core.records import SplitName


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitContent:
    """One split. digest: SHA-256 over the sorted digests and categories of its images, whatever their names."""

    images: int
    groups: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCounts:
    """Groups of images that belong together. largest: images in it. largest_group: path of its first image."""

    count: int
    of_several: int
    largest: int
    largest_group: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSummary:
    """data/splits.json. by_category: images by category, then split. aside: paths that are in no split."""

    train: SplitContent
    val: SplitContent
    test: SplitContent
    by_category: dict[str, dict[str, int]]
    groups: GroupCounts
    aside: tuple[str, ...]

    def content(self, name: SplitName) -> SplitContent:
        contents = {"train": self.train, "val": self.val, "test": self.test}
        return contents[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedFile:
    path: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryQuality:
    """confidence_mean: of the images that were categorised from their pixels; None, as quality_mean, over no image."""

    images: int
    from_folder: int
    from_pixels: int
    confidence_mean: float | None
    quality_mean: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelCategory:
    """An image whose category no folder said. confidence: the probability of the category, 0 to 1."""

    path: str
    category: str
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityReport:
    """data/quality.json. measures: [lowest, quarter, median, three quarters, highest] of each."""

    root: str
    images: int
    distinct_images: int
    reject_ratio: float
    quality_mean: float
    categories: dict[str, CategoryQuality]
    rejected: tuple[RejectedFile, ...]
    from_pixels: tuple[PixelCategory, ...]
    modes: dict[str, int]
    measures: dict[str, tuple[float, ...]]
    recommendations: tuple[str, ...]

    @property
    def rejects(self) -> dict[str, int]:
        """Files by the reason for which they were rejected."""
        return dict(Counter(file.reason for file in self.rejected))
