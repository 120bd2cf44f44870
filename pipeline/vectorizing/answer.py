"""From the search on an image to its answer: the chosen SVG, and the others that a person may choose."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.records import (
    ACCIDENTS,
    DEFAULT_PARAMS,
    VISIBLE_DAMAGE,
    Failed,
    Job,
    Pruned,
    Scored,
    Scores,
    TracerParams,
)
from pipeline.core.tradeoff import TracePoint, front, knee, least_damaged_within
from pipeline.search.loop import Outcome, svg_text
from pipeline.tracing.evaluator import Evaluator
from pipeline.tracing.preparation import half_transparent


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is made of an image, beside the objective that its traces are searched for.

    budget_bytes: take the least damaged trace of at most so many bytes. background: #rrggbb, below what is
    transparent before it is traced. curve: measure every trace to the end, and keep the SVGs of the whole curve.
    """

    budget_bytes: int | None = None
    background: str | None = None
    curve: bool = False


PLAIN = Options()


def answers_of(outcomes: Sequence[Outcome], evaluator: Evaluator, options: Options) -> list[dict[str, Any]]:
    """For each search the SVG's text as `svg`, and the fields of `VectorizeResult` that tell how good it is.

    curve: the Pareto front of the traces that were measured, the default's among them; each with its `svg` only where
    the options ask for the whole curve.
    """
    made = [[o.task.default, *(e for e in o.evaluations if isinstance(e, Scored))] for o in outcomes]
    lost = [(n, job) for n, outcome in enumerate(outcomes) for job in _lost(outcome, made[n], options)]
    if lost:
        for (n, _), evaluation in zip(lost, evaluator.evaluate([job for _, job in lost]), strict=True):
            if isinstance(evaluation, Scored):
                made[n].append(evaluation)
            elif isinstance(evaluation, Failed):
                outcomes[n].failures.append(evaluation)
    return [_answer(outcome, pictures, options) for outcome, pictures in zip(outcomes, made, strict=True)]


def _lost(outcome: Outcome, made: Sequence[Scored], options: Options) -> Iterator[Job]:
    """What did not pass its gate and may be wanted all the same: of the search, it was known to lose."""
    lost = [evaluation for evaluation in outcome.evaluations if isinstance(evaluation, Pruned)]
    most = float("inf") if options.curve else options.budget_bytes or 0
    if options.budget_bytes is not None:
        most = max(most, min([p.scores.svg_bytes for p in made] + [e.svg_bytes for e in lost]))
    for evaluation in lost:
        if evaluation.svg_bytes <= most:
            yield Job(outcome.task.logo, evaluation.params, keep_svg=True)


def _answer(outcome: Outcome, pictures: Sequence[Scored], options: Options) -> dict[str, Any]:
    default = outcome.task.default
    chosen = outcome.chosen_at(len(outcome.bests))
    if options.budget_bytes is not None:
        wanted = least_damaged_within(map(_point, pictures), options.budget_bytes)
        chosen = next(picture for picture in pictures if _point(picture) == wanted)
    return {
        "svg": svg_text(chosen),
        "status": "default" if chosen is default else "improved",
        "params": shown_params(chosen.params),
        "traces": len(outcome.values),
        "bytes": chosen.scores.svg_bytes,
        "default_bytes": default.scores.svg_bytes,
        "damage": chosen.scores.damage,
        "default_damage": default.scores.damage,
        "delta": chosen.scores.delta,
        "parsed": chosen.parsed,
        "note": "; ".join(_notes(outcome, chosen.scores, options)) or None,
        "curve": _curve(pictures, chosen, options),
    }


def _notes(outcome: Outcome, scores: Scores, options: Options) -> Iterator[str]:
    """What could not be done as asked, or not be kept, and what another machine, or another time, may do better."""
    given_up = [failed for failed in outcome.failures if failed.kind in ACCIDENTS]
    if given_up:
        kinds = ", ".join(sorted({failed.kind for failed in given_up}))
        yield f"traces given up: {len(given_up)} ({kinds}); another run may find a better one"
    if options.budget_bytes is not None and scores.svg_bytes > options.budget_bytes:
        yield f"no trace has {options.budget_bytes} bytes or fewer; this is the smallest"
    if scores.damage > VISIBLE_DAMAGE and half_transparent(outcome.task.logo.rgba).any():
        yield "its half-transparent parts could not be kept as they are; a background colour can take their place"


def _curve(pictures: Sequence[Scored], chosen: Scored, options: Options) -> list[dict[str, Any]]:
    by_point = {_point(picture): picture for picture in pictures}
    points = front(by_point)
    bend = knee([(math.log(point.bytes), math.log1p(point.damage)) for point in points])
    return [
        {"bytes": point.bytes, "damage": point.damage, "knee": k == bend, "chosen": point == _point(chosen)}
        | ({"svg": svg_text(by_point[point])} if options.curve else {})
        for k, point in enumerate(points)
    ]


def _point(picture: Scored) -> TracePoint:
    return TracePoint(picture.scores.svg_bytes, picture.scores.damage)


def shown_params(params: TracerParams) -> dict[str, Any]:
    """VTracer's names and values; the preparation only where it is used."""
    values = params.to_json()
    for name in ("prescale", "palette", "simplify", "refit"):
        if values[name] == getattr(DEFAULT_PARAMS, name):
            del values[name]
    return values
