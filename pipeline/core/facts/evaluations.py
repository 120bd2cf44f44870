"""How many evaluations a stage requested, and under which versions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationTotals:
    """Of one stage. asked: different evaluations, each counted once, also by a training that was resumed. found: of
    these, those that needed no trace. failures: by kind, among those that were traced.

    bit_comparable: whether another run must give the same bits. versions: all that decides a score, beside the image
    and the parameters.
    """

    asked: int
    found: int
    failures: dict[str, int]
    bit_comparable: bool
    versions: dict[str, str]
