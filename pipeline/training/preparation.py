"""What PPO starts from: settings for rivals, a table of the training images, a surrogate fitted on it, and a rule that
says when to stop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.agent.agent import Portfolios, named, portfolios_from_json, portfolios_json
from pipeline.agent.candidates import Points
from pipeline.agent.features import CONTEXT_SIZE
from pipeline.agent.objectives import Objective, objective_from
from pipeline.agent.screen import Screen
from pipeline.agent.stopping import AUTO_TRACES, StoppingRule
from pipeline.agent.surrogate import Surrogate
from pipeline.agent.task import Task
from pipeline.core.errors import DataError, Mismatch
from pipeline.core.facts.training import Phase, PreparationProgress
from pipeline.core.records import DEFAULT_PARAMS, OBJECTIVES, ObjectiveName
from pipeline.search.portfolio import find_portfolios, generation_sizes
from pipeline.settings.params import Settings
from pipeline.tracing.evaluator import Evaluator
from pipeline.tracing.space import ParameterSpace
from pipeline.training.callbacks import CallbackList
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.checkpoint_callback import CheckpointCallback
from pipeline.training.sampling import BalancedSampler
from pipeline.training.stopping import FEWEST_SEARCHES, learn_to_stop, record_searches
from pipeline.training.surrogate_fit import Fit, Table, fit_surrogate
from pipeline.training.table import collect
from pipeline.training.torch_state import part


@dataclass(frozen=True, slots=True, eq=False)
class WarmStart:
    """stopping_rule: None for the plain one. seconds_of: what each part took."""

    portfolios: Mapping[ObjectiveName, Portfolios]
    screen: Screen
    stopping_rule: StoppingRule | None
    seconds_of: Mapping[str, float]

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Facts and arrays, whose names begin with `surrogate.`, `bank.` and `stopping.`."""
        facts = {"portfolios": portfolios_json(self.portfolios), "seconds_of": dict(self.seconds_of)}
        arrays = named("surrogate.", self.screen.surrogate.weights) | named("bank.", self.screen.banks)
        return facts, arrays | named("stopping.", self.stopping_rule.weights if self.stopping_rule else {})


def restored(checkpoint: Checkpoint, settings: Settings) -> WarmStart:
    """What PPO started from in a checkpoint of it. Raises Mismatch when that was of other shapes, DataError."""
    space = ParameterSpace.from_settings(settings.tracing)
    with restore_errors():
        facts, arrays = checkpoint.facts["prepared"], checkpoint.arrays
        surrogate = Surrogate(CONTEXT_SIZE, space, part(arrays, "surrogate."))
        banks = {cast(ObjectiveName, name): bank for name, bank in part(arrays, "bank.").items()}
        if any(bank.dtype != np.float32 or bank.shape[1:] != (space.size,) for bank in banks.values()):
            raise ValueError("its banks are of another space")
        screen = Screen(surrogate, space, banks, settings.train.shortlist)
        stopping = part(arrays, "stopping.")
        rule = StoppingRule(stopping) if stopping else None
        return WarmStart(portfolios_from_json(facts["portfolios"]), screen, rule, facts["seconds_of"])


@contextmanager
def restore_errors() -> Iterator[None]:
    """Around restoring: what does not fit raises Mismatch, what is no state of a training DataError."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise Mismatch(
            f"the checkpoint does not fit these settings ({str(error).splitlines()[0]}); "
            "train.shortlist, train.n_envs, train.ppo.n_steps, train.ppo.hidden_units and tracing must be as they were"
        ) from error
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise DataError(f"the checkpoint holds no state of a training ({error!r}); use another one") from error


def prepare(
    settings: Settings,
    tasks: Sequence[Task],
    evaluator: Evaluator,
    hooks: CallbackList,
    keeper: CheckpointCallback,
    seed: int,
    fitting: Checkpoint | None,
    check_stop: Callable[[], None],
) -> WarmStart:
    """Make all of them. fitting: a state of the surrogate's fit to go on from.

    Evaluations are the evaluator's to keep, so a preparation that was interrupted there starts again. So does the
    stopping rule, which takes a minute.
    """
    started = time.perf_counter()
    space = ParameterSpace.from_settings(settings.tracing)
    objective = objective_from(settings.objective)

    def told(phase: Phase, done: int, total: int) -> None:
        seconds = time.perf_counter() - started
        hooks.on_table(PreparationProgress(phase=phase, done=done, total=total, seconds=seconds))

    portfolios = _find_all_portfolios(settings, tasks, evaluator, objective, space, seed, told)
    after_portfolios = time.perf_counter()
    table, banks = _collect(settings, tasks, evaluator, objective, space, seed, told, check_stop)
    after_table = time.perf_counter()
    steps = settings.train.surrogate_steps
    fit = Fit(table, space, space.encode(DEFAULT_PARAMS), steps=steps, seed=seed)
    if fitting is not None:
        with restore_errors():
            fit.restore(fitting.facts["fit"], fitting.arrays)
    while fit.step < steps:
        fit.advance()
        if fit.step % 100 == 0 or fit.step == steps:
            told("surrogate", fit.step, steps)
        _leave_if_asked(fit, settings, seed, keeper, check_stop)
    after_fit = time.perf_counter()
    screen = Screen(fit.fitted(), space, banks, settings.train.shortlist)
    rule = _stopping_rule(settings, tasks, evaluator, objective, table, screen, seed, told, check_stop)
    seconds_of = {
        "portfolios": after_portfolios - started,
        "table": after_table - after_portfolios,
        "surrogate": after_fit - after_table,
        "stopping": time.perf_counter() - after_fit,
    }
    return WarmStart(portfolios, screen, rule, seconds_of)


def _stopping_rule(
    settings: Settings,
    tasks: Sequence[Task],
    evaluator: Evaluator,
    objective: Objective,
    table: Table,
    screen: Screen,
    seed: int,
    told: Callable[[Phase, int, int], None],
    check_stop: Callable[[], None],
) -> StoppingRule | None:
    """Learnt on searches of some images, with a surrogate that was fitted on other images."""
    total = settings.train.simulated_timesteps
    sampler = BalancedSampler([t.logo.category for t in tasks], "round_robin", seed)
    searched = sorted({sampler.draw() for _ in range(min(settings.train.stopping_images, len(tasks) // 2))})
    if not total or len(searched) < FEWEST_SEARCHES:
        return None
    is_searched = np.isin(np.arange(len(tasks)), searched)
    steps, default = settings.train.surrogate_steps, screen.space.encode(DEFAULT_PARAMS)
    others = table.of_images(~is_searched)
    blind = fit_surrogate(others, screen.space, default, steps=steps, seed=seed, check_stop=check_stop)
    searches = record_searches(
        [tasks[index] for index in searched],
        evaluator,
        objective,
        replace(screen, surrogate=blind),
        price=settings.train.trace_price,
        seed=seed,
        on_traces=_counting("searches", AUTO_TRACES * len(searched), told),
    )
    rule, _ = learn_to_stop(
        settings, searches, seed, on_steps=lambda done: told("stopping", done, total), check_stop=check_stop
    )
    return rule


def _leave_if_asked(
    fit: Fit, settings: Settings, seed: int, keeper: CheckpointCallback, check_stop: Callable[[], None]
) -> None:
    """Between two steps of the fit: keep its state when it is time, and when the training is to be left."""

    def hold() -> None:
        facts, arrays = fit.state()
        summary = {"timesteps": 0, "seed": seed, "phase": "surrogate", "metrics": {}}
        keeper.hold(Checkpoint({"summary": summary, "settings": settings.to_json(), "fit": facts}, arrays))

    try:
        check_stop()
    except BaseException:  # check_stop is the caller's and may raise anything
        hold()
        raise
    if keeper.due(0):
        hold()
        keeper.save("interval")


def _find_all_portfolios(
    settings: Settings,
    tasks: Sequence[Task],
    evaluator: Evaluator,
    objective: Objective,
    space: ParameterSpace,
    seed: int,
    told: Callable[[Phase, int, int], None],
) -> dict[ObjectiveName, Portfolios]:
    """Settings for rivals: for the objective trained for, and with fewer candidates on half the images for others."""
    plans: dict[ObjectiveName, tuple[list[Task], int]] = {}
    for name in (objective.name, *(n for n in OBJECTIVES if n != objective.name)):
        is_own = name == objective.name
        candidates = settings.train.portfolio_candidates if is_own else settings.train.other_portfolio_candidates
        sampler = BalancedSampler([t.logo.category for t in tasks], "round_robin", seed)
        images = settings.train.portfolio_images // (4 if is_own else 8) or 1
        if candidates:
            plans[name] = [tasks[i] for i in sampler.sample(images)], candidates
    total = sum(len(chosen) * sum(generation_sizes(count)) for chosen, count in plans.values())
    on_traces = _counting("portfolios", total, told)
    return {
        name: find_portfolios(
            chosen,
            evaluator,
            replace(objective, name=name),
            space,
            candidates=count,
            seed=seed,
            on_traces=on_traces,
        )
        for name, (chosen, count) in plans.items()
    }


def _counting(phase: Phase, total: int, told: Callable[[Phase, int, int], None]) -> Callable[[int], None]:
    """What a search tells of more traces, as a part of its work that was done."""
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        told(phase, done, total)

    return count


def _collect(
    settings: Settings,
    tasks: Sequence[Task],
    evaluator: Evaluator,
    objective: Objective,
    space: ParameterSpace,
    seed: int,
    told: Callable[[Phase, int, int], None],
    check_stop: Callable[[], None],
) -> tuple[Table, dict[ObjectiveName, Points]]:
    """The table for the surrogate. told: phase, done and total, as it is made."""
    traces = settings.train.table_traces
    on_traces = _counting("table", traces * len(tasks), told)
    return collect(
        tasks, evaluator, objective, space, per_image=traces, seed=seed, on_traces=on_traces, check_stop=check_stop
    )
