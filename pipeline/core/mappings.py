"""Nested mappings, such as settings and reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flatten(values: Mapping[str, Any], separator: str = ".") -> dict[str, Any]:
    """One level of keys: {"a": {"b": 1}} becomes {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        inner = flatten(value, separator) if isinstance(value, Mapping) else {"": value}
        flat |= {f"{name}{separator}{key}" if key else str(name): leaf for key, leaf in inner.items()}
    return flat
