"""Training: a table, the surrogate, then PPO through the curriculum, validated on held-out images as it goes.

Whoever wants to follow it (a progress bar, MLflow, files) passes `Hooks`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticPolicy

from pipeline.data.probe import MEASURE_NAMES
from pipeline.records import DEFAULT_PARAMS, OBJECTIVES, ObjectiveName
from pipeline.rl.agent import Agent, Portfolios
from pipeline.rl.curriculum import Stage, plan, stage_images, success_rate
from pipeline.rl.env import PoolVecEnv
from pipeline.rl.episode import Episode, Task
from pipeline.rl.hooks import Followers, Hooks, Report
from pipeline.rl.policy import CandidatePolicy, build_policy
from pipeline.rl.reward import Objective
from pipeline.rl.sampling import BalancedSampler
from pipeline.rl.screen import Screen
from pipeline.rl.surrogate import fit_surrogate
from pipeline.rl.watch import Watch
from pipeline.search.collect import collect
from pipeline.search.portfolio import find_portfolios
from pipeline.settings import ObjectiveSettings, Settings
from pipeline.tracing.space import ParameterSpace
from pipeline.tracing.workers import Evaluator


@dataclass(slots=True, kw_only=True)
class Result:
    """What a training gave. agent: the best on validation. stopped: why it ended early, or None."""

    agent: Agent
    best_value: float
    best_timesteps: int
    timesteps: int
    seconds: float
    stopped: str | None
    stages: list[Report]
    validations: list[Report]
    failures: dict[str, int]
    time_shares: dict[str, float]
    steps_per_second: float
    peak_memory_bytes: int


def train(
    settings: Settings,
    train_tasks: Sequence[Task],
    val_tasks: Sequence[Task],
    evaluator: Evaluator,
    *,
    seed: int,
    followers: Sequence[Hooks] = (),
) -> Result:
    """Train one agent.

    The same settings, tasks, seed and versions give the same agent, however many workers trace.
    """
    started = time.perf_counter()
    hooks = Followers(followers)
    space = ParameterSpace.from_settings(settings.tracing)
    objective = objective_from(settings.objective)

    portfolios = _find_all_portfolios(settings, train_tasks, evaluator, objective, space, seed)
    portfolio_seconds = time.perf_counter() - started
    screen, seconds_of = _learn_screen(settings, train_tasks, evaluator, objective, space, hooks, seed)
    seconds_of["portfolios"] = portfolio_seconds

    def start(task: Task) -> Episode:
        return Episode(task, objective, space, next(budgets), screen, seed=next(seeds))

    budgets = _budgets(settings.train.max_steps, settings.train.vary_budget, seed)
    seeds = itertools.count(seed << 32)
    env = PoolVecEnv(settings.train.n_envs, evaluator, screen.size, _drawing(train_tasks, seed), start)
    model = build_ppo(settings, env, seed)

    def agent_now() -> Agent:
        return Agent(
            policy=_copy(model.policy, settings),
            screen=screen,
            objective=objective,
            trained_for=objective.name,
            portfolios=portfolios,
            max_steps=settings.train.max_steps,
            background=settings.data.background,
            timeout_seconds=settings.compute.timeout_seconds,
            worker_memory_bytes=settings.compute.worker_memory_bytes,
        )

    watch = Watch(settings, val_tasks, evaluator, hooks, agent_now, seed)
    watch.validate(0)
    before = time.perf_counter() - watch.validation_seconds
    stages = _through_curriculum(settings, model, env, train_tasks, watch, hooks, seed)
    learning_seconds = time.perf_counter() - watch.validation_seconds - before
    if watch.validations[-1]["timesteps"] != model.num_timesteps:
        watch.validate(model.num_timesteps)

    seconds = time.perf_counter() - started
    assert watch.best is not None
    best_value, best_timesteps, agent = watch.best
    return Result(
        agent=agent,
        best_value=best_value,
        best_timesteps=best_timesteps,
        timesteps=model.num_timesteps,
        seconds=seconds,
        stopped=watch.stopped,
        stages=stages,
        validations=watch.validations,
        failures=dict(watch.failures),
        time_shares=_time_shares(seconds, seconds_of, env, watch, hooks),
        steps_per_second=model.num_timesteps / learning_seconds,
        peak_memory_bytes=watch.peak_memory_bytes,
    )


def _find_all_portfolios(
    settings: Settings,
    tasks: Sequence[Task],
    evaluator: Evaluator,
    objective: Objective,
    space: ParameterSpace,
    seed: int,
) -> dict[ObjectiveName, Portfolios]:
    """Settings for rivals: for the objective trained for, and with fewer candidates on half the images for others."""
    wanted = settings.train
    found: dict[ObjectiveName, Portfolios] = {}
    for name in (objective.name, *(n for n in OBJECTIVES if n != objective.name)):
        own = name == objective.name
        candidates = wanted.portfolio_candidates if own else wanted.other_portfolio_candidates
        sampler = BalancedSampler([t.logo.category for t in tasks], "round_robin", seed)
        images = wanted.portfolio_images // (4 if own else 8) or 1
        chosen = [tasks[i] for i in sampler.sample(images)]
        if candidates:
            sought = replace(objective, name=name)
            found[name] = find_portfolios(chosen, evaluator, sought, space, candidates=candidates, seed=seed)
    return found


def _learn_screen(
    settings: Settings,
    tasks: Sequence[Task],
    evaluator: Evaluator,
    objective: Objective,
    space: ParameterSpace,
    hooks: Followers,
    seed: int,
) -> tuple[Screen, dict[str, float]]:
    """A table of the training images and a surrogate fitted on it; with the seconds that each took."""
    started = time.perf_counter()
    traces, steps = settings.train.table_traces, settings.train.surrogate_steps
    done = 0

    def told(what: str, done: int, total: int) -> None:
        hooks.on_table({"what": what, "done": done, "total": total, "seconds": time.perf_counter() - started})

    def on_traces(more: int) -> None:
        nonlocal done
        done += more
        told("table", done, traces * len(tasks))

    table, banks = collect(tasks, evaluator, objective, space, per_image=traces, seed=seed, on_traces=on_traces)
    table_seconds = time.perf_counter() - started

    def on_step(step: int, loss: float) -> None:
        if step % 100 == 0 or step == steps:
            told("surrogate", step, steps)

    default = space.encode(DEFAULT_PARAMS)
    surrogate = fit_surrogate(table, space, default, steps=steps, seed=seed, on_step=on_step)
    shares = {"table": table_seconds, "surrogate": time.perf_counter() - started - table_seconds}
    return Screen(surrogate, space, banks, settings.train.shortlist), shares


def _through_curriculum(
    settings: Settings,
    model: PPO,
    env: PoolVecEnv,
    tasks: Sequence[Task],
    watch: Watch,
    hooks: Hooks,
    seed: int,
) -> list[Report]:
    """Train stage after stage, each again up to its `retries` when not passed; a result per attempt."""
    results: list[Report] = []
    rollout = settings.train.n_envs * settings.train.ppo.n_steps
    for number, stage in enumerate(plan(settings.curriculum, settings.train.total_timesteps, rollout)):
        for attempt in range(1, stage.settings.retries + 2):
            env.draw_from(_drawing(_images_of(stage, tasks), seed + 1000 * number + attempt))
            results.append(_train_stage(stage, attempt, model, watch))
            hooks.on_stage(results[-1])
            if results[-1]["passed"] or watch.stopped:
                break
        if not results[-1]["passed"] and settings.curriculum.on_failure == "stop" and watch.stopped is None:
            watch.stopped = f"stage {stage.settings.name} was not passed"
        if watch.stopped:
            break
    return results


def _train_stage(stage: Stage, attempt: int, model: PPO, watch: Watch) -> Report:
    started, before = time.perf_counter(), model.num_timesteps
    watch.begin(stage.settings)
    model.learn(stage.timesteps, callback=watch, reset_num_timesteps=False)
    # Only the later half counts: what the policy does once it has seen the stage's images.
    returns = watch.stage_returns[len(watch.stage_returns) // 2 :]
    rate = success_rate(returns, stage.settings.goal)
    return {
        "name": stage.settings.name,
        "categories": list(stage.settings.categories),
        "difficulty": stage.settings.difficulty,
        "goal": stage.settings.goal,
        "pass_rate": stage.settings.pass_rate,
        "success_rate": rate,
        "passed": rate is not None and rate >= stage.settings.pass_rate,
        "attempts": attempt,
        "timesteps": model.num_timesteps - before,
        "seconds": time.perf_counter() - started,
        "mean_return": sum(returns) / len(returns) if returns else None,
    }


def build_ppo(settings: Settings, env: PoolVecEnv, seed: int) -> PPO:
    ppo = settings.train.ppo
    return PPO(
        CandidatePolicy,
        env,
        learning_rate=ppo.learning_rate,
        n_steps=ppo.n_steps,
        batch_size=ppo.batch_size,
        n_epochs=ppo.n_epochs,
        gamma=ppo.gamma,
        gae_lambda=ppo.gae_lambda,
        clip_range=ppo.clip_range,
        ent_coef=ppo.ent_coef,
        policy_kwargs={"hidden_units": ppo.hidden_units},
        seed=seed,
        device="cpu",  # a policy this small is slower on a GPU
    )


def objective_from(settings: ObjectiveSettings) -> Objective:
    return Objective(
        name=settings.name,
        target=settings.target,
        tolerance=settings.tolerance,
        quality_weight=settings.weights.quality,
        size_weight=settings.weights.size,
        work_weight=settings.weights.work,
    )


def _drawing(tasks: Sequence[Task], seed: int) -> Callable[[], Task]:
    sampler = BalancedSampler([t.logo.category for t in tasks], "round_robin", seed)
    return lambda: tasks[sampler.draw()]


def _budgets(max_steps: int, vary: bool, seed: int) -> Iterator[int]:
    """Traces of each next episode: max_steps, or any of 1, 2, 4, ... and max_steps itself."""
    powers = [2**n for n in range(max_steps.bit_length()) if 2**n < max_steps] if vary else []
    rng = np.random.default_rng([seed, 1])
    while True:
        yield int(rng.choice([*powers, max_steps]))


def _images_of(stage: Stage, tasks: Sequence[Task]) -> list[Task]:
    """The stage's tasks; all of them when the data has none of its categories."""
    complexity = MEASURE_NAMES.index("complexity")
    chosen = stage_images(
        stage.settings, [t.logo.category for t in tasks], [float(t.measures[complexity]) for t in tasks]
    )
    return [tasks[i] for i in chosen] or list(tasks)


def _copy(policy: ActorCriticPolicy, settings: Settings) -> CandidatePolicy:
    copy = build_policy(settings.train.shortlist, settings.train.ppo.hidden_units)
    copy.load_state_dict(policy.state_dict())
    copy.set_training_mode(False)
    return copy


def _time_shares(
    seconds: float, seconds_of: Mapping[str, float], env: PoolVecEnv, watch: Watch, hooks: Followers
) -> dict[str, float]:
    """Shares of the whole time; `ppo` is what is left: screening and the policy's own work."""
    shares = {name: spent / seconds for name, spent in seconds_of.items()} | {
        "tracing": env.waiting_seconds / seconds,
        "validation": watch.validation_seconds / seconds,
        "tracking": hooks.seconds / seconds,
    }
    return shares | {"ppo": max(0.0, 1 - sum(shares.values()))}
