"""A project with a few drawn logos, split, and settings so small that a training takes seconds."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.json_records import write_record
from pipeline.data.catalogue import TABLE, build_catalogue, write_catalogue
from pipeline.data.split_table import SUMMARY, split_catalogue, write_splits
from pipeline.data.split_table import TABLE as SPLITS
from pipeline.data.splits import summarise
from pipeline.settings.overrides import with_overrides
from pipeline.settings.params import Settings, parse_settings
from tests.support.fakes import MUCH_MEMORY_BYTES, ROOT
from tests.support.small_logos import tiny_params, write_logos


def small_project(root: Path, **changes: Any) -> Settings:
    """Make it in `root`, which must be there and empty. changes: of settings, dotted keys with `__` for the dots."""
    shutil.copy(ROOT / "dvc.yaml", root)
    values = tiny_params(yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")), "logos")
    values["compute"] |= {"workers": 1, "memory_limit_bytes": MUCH_MEMORY_BYTES}
    values["monitoring"]["sample_every_seconds"] = 0.0
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    settings = with_overrides(parse_settings(values, "params.yaml"), dotted, "the test")
    (root / "params.yaml").write_text(yaml.safe_dump(settings.to_json(), sort_keys=False))
    write_logos(root / "logos")
    catalogue = build_catalogue(settings.data, root, 1)
    write_catalogue(catalogue.entries, root / TABLE)
    rows = split_catalogue(catalogue.entries, settings, [])
    write_splits(rows, settings, root / SPLITS)
    write_record(root / SUMMARY, summarise(rows))
    return settings
