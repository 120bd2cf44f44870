"""What may be sought, and where damage begins; without NumPy, so that `tracewright --help` need not wait for it."""

from __future__ import annotations

from typing import Literal, get_args

ObjectiveName = Literal["faithful", "smaller", "sharper", "target", "balanced"]
OBJECTIVES: tuple[ObjectiveName, ...] = get_args(ObjectiveName)

BYTES_OBJECTIVES: frozenset[ObjectiveName] = frozenset({"faithful", "smaller", "target"})
"""Objectives that seek few bytes: reports show bytes, and damage beside them."""

VISIBLE_DAMAGE = 1.0
"""Pixels of damage (tracing.fidelity) above which a person who looks for the spot finds it."""
