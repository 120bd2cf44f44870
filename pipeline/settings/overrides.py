"""Settings that differ from params.yaml for one run: `train.seed=2`, as `dvc exp run -S` takes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from pipeline.settings.params import Settings, parse_settings
from pipeline.settings.schema import read_yaml

Overrides = Mapping[str, Any]
"""Dotted key -> value."""


def overridden(
    settings: Settings, assignments: Sequence[str], source: str = "params.yaml with --set"
) -> tuple[Settings, dict[str, Any]]:
    """Settings changed by `KEY=VALUE` texts, each value in YAML; and what changed.

    source: names them in the message. Raises SettingsError with all that is wrong with any of them.
    """
    overrides, wrong = _parsed(assignments)
    return with_overrides(settings, overrides, source, wrong), overrides


def with_overrides(settings: Settings, overrides: Overrides, source: str, wrong: Sequence[str] = ()) -> Settings:
    """Settings with some values changed, checked as params.yaml is.

    source: names them in the message. wrong: errors found before, told with the others. Raises SettingsError with every
    unknown key and every value out of range.
    """
    values = settings.to_json()
    misplaced = [line for key, value in overrides.items() if (line := put(values, key, value))]
    return parse_settings(values, source, [*wrong, *misplaced])


def _parsed(assignments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """And a line for each text that is no assignment."""
    overrides: dict[str, Any] = {}
    wrong = []
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        try:
            if not equals or not key:
                raise ValueError("is no KEY=VALUE, as train.seed=2 is")
            if key in overrides:
                raise ValueError(f"gives {key} a second time; keep one")
            overrides[key], _ = read_yaml(text)
        except (ValueError, yaml.YAMLError) as error:
            wrong.append(f"{assignment}: {' '.join(str(error).split())}")
    return overrides, wrong


def put(values: dict[str, Any], key: str, value: Any) -> str | None:
    """Change a value in place; what is wrong with the key, where the check of the whole would not see it."""
    *sections, name = key.split(".")
    inner = values
    for number, section in enumerate(sections):
        found = inner.setdefault(section, {})
        if not isinstance(found, dict):
            return f"{key}: {'.'.join(sections[: number + 1])} is a value, not a section"
        inner = found
    inner[name] = value
    return None


def value_at(settings: Settings, key: str) -> Any:
    """The value of a dotted key that there is, as params.yaml has it."""
    value: Any = settings.to_json()
    for part in key.split("."):
        value = value[part]
    return value


def as_assignments(overrides: Overrides) -> list[str]:
    """`KEY=VALUE` texts that `overridden` and `dvc exp run -S` take back to the same values."""
    return [f"{key}={json.dumps(value).strip(chr(34))}" for key, value in overrides.items()]
