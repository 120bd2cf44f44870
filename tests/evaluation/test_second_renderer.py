"""A choice stands only where another renderer would have let it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.core.records import DEFAULT_PARAMS, Evaluation, Failed, Job, Scored, Scores
from pipeline.evaluation.second_renderer import opinions_report, second_opinions, second_renderer
from tests.support.fakes import SMALLER, FakeEvaluator, scores, task_of

TASK = task_of(1)
CHOICE = Scored(TASK.logo.digest, replace(DEFAULT_PARAMS, palette=4), scores(svg_bytes=500), 0.1)


class Second(FakeEvaluator):
    """Another renderer, by what it says of the default and of the choice."""

    def __init__(self, default: Scores | None, choice: Scores) -> None:
        super().__init__()
        self._scores = {DEFAULT_PARAMS: default, CHOICE.params: choice}

    def _one(self, job: Job) -> Evaluation:
        said = self._scores[job.params]
        if said is None:
            return Failed(job.logo.digest, job.params, "unrenderable", "why", 0.1)
        return Scored(job.logo.digest, job.params, said, 0.1)


@pytest.mark.parametrize(
    ("default", "choice", "upheld"),
    [
        (scores(), scores(svg_bytes=500), True),
        (scores(ssim=0.96), scores(svg_bytes=500, ssim=0.9585), True),  # within twice the tolerance
        (scores(ssim=0.96), scores(svg_bytes=500, ssim=0.957), False),
        (scores(zoom_ssim=0.95), scores(svg_bytes=500), False),
        (None, scores(svg_bytes=500), False),
    ],
)
def test_the_objective_decides_on_what_the_second_saw(default: Scores | None, choice: Scores, upheld: bool) -> None:
    [opinion] = second_opinions([(TASK, CHOICE)], SMALLER, Second(default, choice))
    assert opinion.upheld == upheld
    assert opinion.path == TASK.logo.name
    if default is not None:
        assert opinion.ssim == pytest.approx(choice.ssim - CHOICE.scores.ssim)


def test_the_default_itself_always_stands() -> None:
    [opinion] = second_opinions([(TASK, TASK.default)], SMALLER, Second(scores(ssim=0.5), scores()))
    assert opinion.upheld


def test_the_report_names_who_is_in_doubt() -> None:
    opinions = second_opinions([(TASK, CHOICE)] * 2, SMALLER, Second(scores(), scores(svg_bytes=500, ssim=0.94)))
    report = opinions_report("resvg-py 1", opinions)
    assert (report.images, report.upheld, report.not_upheld) == (2, 0, (TASK.logo.name,) * 2)
    assert report.ssim_difference
    assert (report.ssim_difference.mean, report.ssim_difference.max) == pytest.approx((0.01, 0.01))
    assert opinions_report("resvg-py 1", []).ssim_difference is None


def test_resvg_is_asked_where_skia_draws_and_nobody_where_resvg_does() -> None:
    assert second_renderer("skia-python 138.0") == "resvg-py"
    assert second_renderer("resvg-py 0.3") is None
