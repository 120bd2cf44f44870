"""Where each stage of a curriculum began and ended."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.core.facts.training import Progress, TrainReport


def stage_spans(results: TrainReport, progress: Sequence[Progress]) -> list[tuple[str, float, float]]:
    """(stage, first, last timestep), from the progress where it was written, else from the stages' own lengths."""
    spans: list[tuple[str, float, float]] = []
    for point in progress:
        if point.stage is None:
            continue
        start = spans[-1][2] if spans else 0.0
        if spans and spans[-1][0] == point.stage:
            start = spans.pop()[1]
        spans.append((point.stage, start, float(point.timesteps)))
    if spans:
        return spans
    reached = 0.0
    for stage in results.stages:
        spans.append((stage.name, reached, reached + (stage.timesteps or 0)))
        reached = spans[-1][2]
    return spans
