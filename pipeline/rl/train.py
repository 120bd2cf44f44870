"""Training: openings, then PPO through the curriculum, validated on held-out images as it goes.

Whoever wants to follow it (a progress bar, MLflow, files) passes `Hooks`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize

from pipeline.data.probe import MEASURE_NAMES
from pipeline.records import OBJECTIVES, ObjectiveName
from pipeline.rl.agent import Agent, Portfolios, build_policy, policy_kwargs
from pipeline.rl.curriculum import Stage, plan, stage_images, success_rate
from pipeline.rl.env import PoolVecEnv
from pipeline.rl.episode import Episode, Task
from pipeline.rl.features import Normaliser
from pipeline.rl.hooks import Followers, Hooks, Report
from pipeline.rl.reward import Objective
from pipeline.rl.sampling import BalancedSampler
from pipeline.rl.watch import Watch
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
    hooks.on_openings(portfolios[objective.name])
    openings_seconds = time.perf_counter() - started

    def start(task: Task) -> Episode:
        found = portfolios[objective.name]
        openings = found.get(task.logo.category) or next(iter(found.values()))
        return Episode(task, objective, space, openings[: settings.train.openings], next(budgets))

    budgets = _budgets(settings.train.max_steps, settings.train.vary_budget, seed)
    env = PoolVecEnv(settings.train.n_envs, evaluator, space, _drawing(train_tasks, seed), start)
    normalised = VecNormalize(env, norm_obs=True, norm_reward=False)
    model = build_ppo(settings, normalised, seed)

    def agent_now() -> Agent:
        return Agent(
            policy=_copy(model.policy, space, settings),
            normaliser=_normaliser(normalised),
            space=space,
            objective=objective,
            trained_for=objective.name,
            portfolios=portfolios,
            n_openings=settings.train.openings,
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
        time_shares=_time_shares(seconds, openings_seconds, env, watch, hooks),
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
    """Openings for the objective trained for, and with fewer candidates on half the images for the others."""
    wanted = settings.train
    found: dict[ObjectiveName, Portfolios] = {}
    for name in (objective.name, *(n for n in OBJECTIVES if n != objective.name)):
        own = name == objective.name
        candidates = wanted.opening_candidates if own else wanted.other_opening_candidates
        sampler = BalancedSampler([t.logo.category for t in tasks], "round_robin", seed)
        images = wanted.opening_images // (4 if own else 8) or 1
        chosen = [tasks[i] for i in sampler.sample(images)]
        if candidates:
            sought = replace(objective, name=name)
            found[name] = find_portfolios(chosen, evaluator, sought, space, candidates=candidates, seed=seed)
    return found


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


def build_ppo(settings: Settings, env: VecNormalize, seed: int) -> PPO:
    ppo = settings.train.ppo
    return PPO(
        "MlpPolicy",
        env,
        learning_rate=ppo.learning_rate,
        n_steps=ppo.n_steps,
        batch_size=ppo.batch_size,
        n_epochs=ppo.n_epochs,
        gamma=ppo.gamma,
        gae_lambda=ppo.gae_lambda,
        clip_range=ppo.clip_range,
        ent_coef=ppo.ent_coef,
        policy_kwargs=policy_kwargs(ppo.hidden_units, ppo.initial_std),
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


def _normaliser(env: VecNormalize) -> Normaliser:
    assert isinstance(env.obs_rms, RunningMeanStd)  # a dict of them belongs to dict observations
    return Normaliser(env.obs_rms.mean.copy(), env.obs_rms.var.copy())


def _copy(policy: ActorCriticPolicy, space: ParameterSpace, settings: Settings) -> ActorCriticPolicy:
    copy = build_policy(space, settings.train.ppo.hidden_units, settings.train.ppo.initial_std)
    copy.load_state_dict(policy.state_dict())
    copy.set_training_mode(False)
    return copy


def _time_shares(
    seconds: float, openings_seconds: float, env: PoolVecEnv, watch: Watch, hooks: Followers
) -> dict[str, float]:
    """Shares of the whole time; `ppo` is what is left: the policy's own work."""
    shares = {
        "openings": openings_seconds / seconds,
        "tracing": env.waiting_seconds / seconds,
        "validation": watch.validation_seconds / seconds,
        "tracking": hooks.seconds / seconds,
    }
    return shares | {"ppo": max(0.0, 1 - sum(shares.values()))}
