from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core.errors import DataError
from pipeline.data.catalogue import build_catalogue, read_catalogue, write_catalogue
from pipeline.data.categories import categorise
from pipeline.settings.params import DataSettings
from tests.support.fakes import settings_with


def data(**changes: Any) -> DataSettings:
    return settings_with(data__root="logos").data.model_copy(update=changes)


def test_folders_decide_and_otherwise_pixels(logos: Callable[..., Path]) -> None:
    root = logos("simple_geometric/acme-icon.png", "abstract/deep/b.png", "other/c.png", "d.png")
    entries = {entry.path: entry for entry in build_catalogue(data(), root.parent, 1).entries}
    assert list(entries) == ["abstract/deep/b.png", "d.png", "other/c.png", "simple_geometric/acme-icon.png"]
    first, last = entries["simple_geometric/acme-icon.png"], entries["d.png"]
    assert (first.category, first.category_source, first.confidence) == ("simple", "folder", None)
    assert entries["abstract/deep/b.png"].category == "complex"
    assert last.category_source == "pixels"
    assert (last.category, last.confidence) == categorise(last.measures)
    assert first.brand == "acme"
    assert first.quality == first.measures.quality
    assert len({entry.digest for entry in entries.values()}) == 4


def test_rejects_are_named_with_their_reasons(logos: Callable[..., Path], tmp_path: Path) -> None:
    root = logos("a.png", "b.png", "c.png")
    (root / "broken.png").write_bytes(b"no")
    (root / "away.png").symlink_to("/etc/hostname")
    catalogue = build_catalogue(data(), tmp_path, 1)
    assert [(r.path, r.reason) for r in catalogue.rejected] == [
        ("away.png", "undecodable"),
        ("broken.png", "undecodable"),
    ]
    assert len(catalogue.entries) == 3


def test_the_share_of_rejects_has_a_limit(logos: Callable[..., Path], tmp_path: Path) -> None:
    root = logos("a.png", "b.png")
    for n in range(2):
        (root / f"broken{n}.png").write_bytes(b"no")
    assert len(build_catalogue(data(max_reject_ratio=0.5), tmp_path, 1).rejected) == 2
    with pytest.raises(DataError, match=r"2 of 4 images were rejected \(2 undecodable\).*\n  broken0.png: undecodable"):
        build_catalogue(data(max_reject_ratio=0.49), tmp_path, 1)
    for path in root.glob("?.png"):
        path.unlink()
    with pytest.raises(DataError, match="2 of 2"):
        build_catalogue(data(max_reject_ratio=1.0), tmp_path, 1)


def test_an_empty_or_missing_folder_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such folder; .*data\.root"):
        build_catalogue(data(), tmp_path, 1)
    (tmp_path / "logos").mkdir()
    (tmp_path / "logos/NOTICE.txt").write_text("no image")
    with pytest.raises(DataError, match=r"no images found \(png, .*data\.root"):
        build_catalogue(data(), tmp_path, 1)


def test_other_folder_names_need_no_second_reading(logos: Callable[..., Path]) -> None:
    root = logos("signs/a.png", "signs/b.png")
    before = build_catalogue(data(), root.parent, 1).entries
    after = build_catalogue(data(folders={"signs": "text"}), root.parent, 1).entries
    assert [entry.category for entry in after] == ["text", "text"]
    assert [
        replace(e, category=b.category, category_source="pixels", confidence=b.confidence)
        for e, b in zip(after, before, strict=True)
    ] == before


def test_the_table_gives_everything_back(logos: Callable[..., Path], tmp_path: Path) -> None:
    entries = build_catalogue(data(), logos("a.png", "abstract/new\nline ü.png", "c.png").parent, 1).entries
    write_catalogue(entries, tmp_path / "data/catalogue.parquet")
    assert read_catalogue(tmp_path / "data/catalogue.parquet") == entries
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["catalogue.parquet"]


def test_an_unreadable_table_is_told_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.parquet"
    with pytest.raises(DataError, match="dvc repro catalogue"):
        read_catalogue(path)
    path.write_bytes(b"PAR1 no table")
    with pytest.raises(DataError, match="delete it and run"):
        read_catalogue(path)


def test_an_old_table_is_not_taken_for_a_new_one(logos: Callable[..., Path], tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = tmp_path / "catalogue.parquet"
    write_catalogue(build_catalogue(data(), logos("a.png").parent, 1).entries, path)
    pq.write_table(pq.read_table(path).drop_columns(["noise"]), path)
    with pytest.raises(DataError, match="noise"):
        read_catalogue(path)


def test_real_logos_are_all_usable(real_logos: Path, tmp_path: Path) -> None:
    root = tmp_path / "logos"
    for folder in ("simple_geometric", "text_based"):
        (root / folder).mkdir(parents=True)
        for path in sorted((real_logos / folder).glob("*.png"))[:8]:
            (root / folder / path.name).write_bytes(path.read_bytes())
    catalogue = build_catalogue(data(), tmp_path, 1)
    assert not catalogue.rejected
    assert np.mean([entry.quality for entry in catalogue.entries]) > 0.8
