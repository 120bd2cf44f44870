from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.errors import DataError, SettingsError
from pipeline.stages import register


def test_what_is_missing_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=r"params\.yaml"):
        register.main()
    (tmp_path / "params.yaml").write_text((Path(__file__).parents[2] / "params.yaml").read_text())
    with pytest.raises(DataError, match="dvc repro train"):
        register.main()
    assert [p.name for p in tmp_path.iterdir()] == ["params.yaml"]
