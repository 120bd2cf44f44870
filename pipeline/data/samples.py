"""Real logos for users without a folder of their own: icons of the pip package `diagrams`.

They are chosen to differ: no two alike while others are left, evenly from all providers and categories.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp

from pipeline.core.errors import DataError, Unavailable
from pipeline.core.files import write_bytes, write_text, writing
from pipeline.core.records import CATEGORIES, Category
from pipeline.data.categories import categorise
from pipeline.data.images import ImageLimits, list_images, path_of, path_text
from pipeline.data.links import Item, brand_of, link
from pipeline.data.probe import Measures
from pipeline.data.readings import Reading, read_all
from pipeline.settings.params import DataSettings

FOLDER = Path("data/samples")
PACKAGE = "diagrams"
VERSION = "0.25.1"
NOTICE = "NOTICE.txt"

ALIKE_BITS = 12  # perceptual hashes (256 bits) that differ by no more look like variants of one icon
BLURRED = 0.7  # quality below which an icon is taken only when there is no other
"""Some icons of the package are enlargements of very small ones."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An icon of the package. provider: the first folder of its path."""

    path: str
    digest: str
    hash: str
    category: Category
    quality: float

    @property
    def provider(self) -> str:
        return PurePosixPath(self.path).parts[0]


def package_folder() -> Path:
    """The folder of icons, by the installed package's own list of files.

    Raises Unavailable when it is not installed in the expected version.
    """
    try:
        package: Distribution = distribution(PACKAGE)
    except PackageNotFoundError:
        raise Unavailable(f"{PACKAGE} is not installed; run `pip install {PACKAGE}=={VERSION}`") from None
    if package.version != VERSION:
        remedy = f"run `pip install {PACKAGE}=={VERSION}`, or set data.root to a folder of your own"
        raise Unavailable(f"{PACKAGE} {package.version} is installed, the samples are those of {VERSION}; {remedy}")
    icons = [file for file in package.files or [] if file.parts[0] == "resources" and file.suffix == ".png"]
    if not icons:
        raise Unavailable(f"{PACKAGE} {VERSION} is installed without its icons; reinstall it")
    return Path(str(package.locate_file(icons[0].parts[0])))


def read_candidates(source: Path, settings: DataSettings, cache: Path, workers: int) -> list[Candidate]:
    """All usable icons below a folder; of several with the same pixels, the first."""
    paths = [path_text(path) for path in list_images(source)[0]]
    seen: set[str] = set()
    candidates = []
    for path, reading in read_all(source, paths, ImageLimits.of(settings), workers, cache).items():
        if isinstance(reading, Reading) and reading.digest not in seen:
            seen.add(reading.digest)
            measures = Measures(*reading.measures)
            category = categorise(measures)[0]
            candidates.append(Candidate(path, reading.digest, reading.hash, category, measures.quality))
    return candidates


def choose(candidates: Sequence[Candidate], count: int, seed: int) -> list[Candidate]:
    """Up to `count` candidates, sorted by path; the same for the same seed.

    Categories take turns, and within each its providers. Of icons that look alike or bear one name, a second is
    taken only when all categories are down to such; blurred ones come after sharp ones.
    """
    items = [Item(c.path, c.digest, c.category, brand_of(c.path), c.hash) for c in candidates]
    groups = link(items, ALIKE_BITS).linked
    first = {min(group, key=lambda n: _order(candidates[n], seed)) for group in groups}
    chosen: list[Candidate] = []
    for wanted in (True, False):
        some = [c for n, c in enumerate(candidates) if (n in first) == wanted]
        queues = [_provider_turns([c for c in some if c.category == category], seed) for category in CATEGORIES]
        chosen += list(_turns(queues))[: count - len(chosen)]
    return sorted(chosen, key=lambda c: c.path)


def _order(candidate: Candidate, seed: int) -> tuple[bool, str]:
    lot = hashlib.sha256(f"{seed}:{candidate.path}".encode()).hexdigest()
    return candidate.quality < BLURRED, lot


def _provider_turns(candidates: Sequence[Candidate], seed: int) -> list[Candidate]:
    """Sharp ones before blurred ones; in each, one of every provider, then a second of every provider, and so on."""
    result: list[Candidate] = []
    for blurred in (False, True):
        providers: dict[str, list[Candidate]] = defaultdict(list)
        for candidate in sorted(candidates, key=lambda c: _order(c, seed)):
            if (candidate.quality < BLURRED) == blurred:
                providers[candidate.provider].append(candidate)
        result += _turns(list(providers.values()))
    return result


def _turns(queues: Sequence[Sequence[Candidate]]) -> Iterator[Candidate]:
    """The first of each queue, then the second of each; short queues end early."""
    for turn in range(max(map(len, queues), default=0)):
        yield from (queue[turn] for queue in queues if turn < len(queue))


def copy_samples(chosen: Sequence[Candidate], source: Path, target: Path) -> None:
    """Replaces a folder by one with the icons and a notice; on an error it stays as it was.

    Raises DataError when the folder holds anything but samples, StorageError when it cannot be written.
    """
    if target.exists() and any(target.iterdir()) and not (target / NOTICE).is_file():
        raise DataError(f"{target}: holds files that are no samples; move them elsewhere and set data.root to there")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
        try:
            folder.chmod(0o755)
            for candidate in chosen:
                write_bytes(folder / path_of(candidate.path), (source / path_of(candidate.path)).read_bytes())
            write_text(folder / NOTICE, _NOTICE.format(count=len(chosen), package=PACKAGE, version=VERSION))
            old = folder.with_name(folder.name + "-old")
            if target.exists():
                target.rename(old)
            folder.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


_NOTICE = """\
{count} icons from the Python package {package} {version} of the Python Package Index, unchanged.

The package is published under the MIT licence, Copyright (c) 2020 MinJae Kwon. The icons show names and marks of the
companies and projects that own them; they are here as examples to vectorise, not to be used as one's own.
"""
