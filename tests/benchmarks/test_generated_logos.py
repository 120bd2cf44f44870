"""The pictures that stand in for a large folder are what they are said to be."""

from __future__ import annotations

from pathlib import Path

from benchmarks.generated_logos import content_of, model_of, name_of, path_of, write_logo
from pipeline.data.catalogue import build_catalogue
from pipeline.data.split_table import split_catalogue
from tests.support.fakes import settings_with

COUNT = 120


def test_two_in_a_hundred_are_copies_three_variants_two_broken_and_nothing_else_is_linked(tmp_path: Path) -> None:
    settings = settings_with(data__root="logos")
    root = tmp_path / "logos"
    for number in range(COUNT):
        write_logo(root, number)
    catalogue = build_catalogue(settings.data, tmp_path, 1)
    broken = {str(path_of(root, n).relative_to(root)) for n in (5, 6, 105, 106)}
    assert {rejected.path for rejected in catalogue.rejected} == broken
    assert len(catalogue.entries) == COUNT - len(broken)
    digests = {entry.path: entry.digest for entry in catalogue.entries}
    number_of = {str(path_of(root, n).relative_to(root)): n for n in range(COUNT)}
    groups: dict[str, set[int]] = {}
    for row in split_catalogue(catalogue.entries, settings, []):
        groups.setdefault(row.group, set()).add(number_of[row.path])
    assert sorted(map(sorted, (g for g in groups.values() if len(g) > 1))) == [[n, model_of(n)] for n in range(5)]
    for copy in (0, 1):
        first, second = (str(path_of(root, n).relative_to(root)) for n in (copy, model_of(copy)))
        assert digests[first] == digests[second]


def test_the_same_number_gives_the_same_file_and_no_name_comes_twice() -> None:
    assert content_of(12345) == content_of(12345) != content_of(12349)
    assert len({name_of(n) for n in range(100_000)}) == 100_000
