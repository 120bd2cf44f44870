"""docs/params.md and the comments of params.yaml say what the settings are; the classes say what they may be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import yaml

from pipeline.settings.params import Settings
from pipeline.settings.schema import leaves
from tests.support.source import ROOT

TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
VALUES = yaml.safe_load(TEXT)


@dataclass(frozen=True, slots=True)
class Row:
    key: str
    default: str
    allowed: str


def expected_rows() -> list[Row]:
    """What docs/params.md must say, in the order of the settings."""
    return [Row(place.key, shown(place.key), place.allowed) for place in leaves(Settings)]


def shown(key: str) -> str:
    """The value in params.yaml, as it stands there; of a list of sections those of all, or how many they are."""
    values: Any = [VALUES]
    for part in key.split("."):
        name, is_list = part.removesuffix("[]"), part.endswith("[]")
        values = [value[name] for value in values]
        values = [item for value in values for item in value] if is_list else values
    if isinstance(values[0], list) and isinstance(values[0][0], dict):
        return f"{len(values[0])} stages"
    return ", ".join(flow(value) for value in values)


def flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False).removesuffix("...\n").strip()


def documented_rows() -> list[tuple[Row, str, str]]:
    """Each row of the tables, with its unit and its text."""
    found = []
    for line in (ROOT / "docs/params.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells and (key := re.fullmatch(r"`([\w.\[\]]+)`", cells[0])):
            _, default, allowed, unit, text = cells
            found.append((Row(key[1], default.strip("`"), allowed), unit, text))
    return found


def test_every_setting_is_documented_once_in_order() -> None:
    assert [row.key for row, _, _ in documented_rows()] == [row.key for row in expected_rows()]


def test_the_defaults_are_those_of_params_yaml_and_the_ranges_those_that_are_checked() -> None:
    documented = {row.key: row for row, _, _ in documented_rows()}
    for row in expected_rows():
        if row.key == "data.root":  # `make repro DATA=folder` sets it
            row = replace(row, default=documented[row.key].default)
        assert documented[row.key] == row, f"docs/params.md should say {row}"


def test_each_has_a_unit_and_a_sentence() -> None:
    for row, unit, text in documented_rows():
        assert unit, row.key
        assert text.endswith((".", ").")), row.key
        assert len(text) > 20, row.key


def test_names_that_carry_a_unit_have_it_in_the_table() -> None:
    suffixes = {
        "_bytes": "bytes",
        "_seconds": "seconds",
        "_timesteps": "timesteps",
        "_pixels": "pixels",
        "_bits": "bits",
    }
    for row, unit, _ in documented_rows():
        for suffix, expected in suffixes.items():
            if row.key.endswith(suffix):
                assert unit == expected, row.key


def test_params_yaml_explains_every_value_or_the_block_it_stands_in() -> None:
    lines = TEXT.splitlines()
    stands = dict(positions(yaml.compose(TEXT)))
    for key in (place.key for place in leaves(Settings) if "[]" not in place.key):
        blocks = [key.rsplit(".", n)[0] for n in range(key.count(".") + 1)]
        beside = any("#" in lines[stands[block]] for block in blocks)
        above = any(lines[stands[block] - 1].lstrip().startswith("#") for block in blocks)
        assert beside or above, f"params.yaml: {key} has no comment"


def positions(node: yaml.Node | None, key: str = "") -> Iterator[tuple[str, int]]:
    """Each dotted key, of sections too, with the number of its line."""
    for name, value in node.value if isinstance(node, yaml.MappingNode) else ():
        inner = f"{key}.{name.value}" if key else str(name.value)
        yield inner, name.start_mark.line
        yield from positions(value, inner)
