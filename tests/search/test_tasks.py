"""The fair default of every image is the baseline, traced once and measured to the end."""

from functools import partial

from pipeline.core.records import DEFAULT_PARAMS, EVERYTHING, FailureKind, Job
from pipeline.data.probe import measure
from pipeline.search.tasks import begin_tasks, make_tasks
from tests.support.fakes import FakeEvaluator, formula, task_of

LOGOS = [task_of(seed).logo for seed in range(4)]


def test_one_task_per_logo_in_order_with_its_default_and_its_measures() -> None:
    evaluator = FakeEvaluator()
    tasks, failures = make_tasks(LOGOS, evaluator, "#ffffff")
    assert [task.logo for task in tasks] == LOGOS
    assert failures == []
    for task in tasks:
        assert task.default.params == DEFAULT_PARAMS
        assert task.scores.svg_bytes == formula(DEFAULT_PARAMS).svg_bytes
        assert task.measures.tolist() == measure(task.logo.rgba).as_array().tolist()
    assert [(job.params, job.gate) for job in evaluator.jobs] == [(DEFAULT_PARAMS, EVERYTHING)] * 4


def test_the_default_has_metrics_unless_they_are_not_wanted() -> None:
    [task], _ = make_tasks(LOGOS[:1], FakeEvaluator(), "#ffffff")
    assert task.scores.reported.ssim > 0
    [bare], _ = begin_tasks(LOGOS[:1], FakeEvaluator(), "#ffffff", metrics=False).collect()
    assert bare.scores.metrics is None


def test_a_logo_without_a_default_stands_beside_the_tasks() -> None:
    evaluator = FakeEvaluator(fails=lambda job: job.logo is LOGOS[1])
    tasks, failures = make_tasks(LOGOS, evaluator, "#ffffff", keep_svg=True)
    assert [task.logo for task in tasks] == [LOGOS[0], *LOGOS[2:]]
    assert [(logo, failed.kind) for logo, failed in failures] == [(LOGOS[1], "panic")]
    assert all(task.default.svg for task in tasks)


def _first_time(job: Job, seen: list[Job]) -> bool:
    seen.append(job)
    return len(seen) == 1


def test_an_accident_of_a_default_is_tried_once_more() -> None:
    kinds: dict[FailureKind, int] = {"timeout": 2, "memory": 2, "panic": 1}
    for kind, tries in kinds.items():
        evaluator = FakeEvaluator(partial(_first_time, seen=[]), kind)
        tasks, failures = make_tasks(LOGOS[:1], evaluator, "#ffffff")
        assert (len(evaluator.jobs), len(tasks), len(failures)) == (tries, tries - 1, 2 - tries)


def test_what_is_measured_already_is_not_measured_again() -> None:
    known = [measure(LOGOS[2].rgba).as_array()]
    [task], _ = begin_tasks(LOGOS[:1], FakeEvaluator(), "#ffffff", measured=known).collect()
    assert task.measures is known[0]
