"""The SB3 callback that looks after a training: validation, checkpoints, early stopping, memory, progress."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import asdict

import psutil
from stable_baselines3.common.callbacks import BaseCallback

from pipeline.intervals import Bootstrap, trend
from pipeline.records import Failed
from pipeline.rl.agent import Agent
from pipeline.rl.curriculum import success_rate
from pipeline.rl.episode import Task
from pipeline.rl.hooks import Hooks, Report
from pipeline.rl.sampling import BalancedSampler
from pipeline.rl.validate import validate
from pipeline.settings import Settings, StageSettings
from pipeline.tracing.workers import Evaluator

RECENT_EPISODES = 200  # over which the running means are taken


class Watch(BaseCallback):
    """Lives through all stages of one training. stopped: why it must end, or None.

    agent_now: makes an agent of the weights as they are.
    """

    def __init__(
        self,
        settings: Settings,
        tasks: Sequence[Task],
        evaluator: Evaluator,
        hooks: Hooks,
        agent_now: Callable[[], Agent],
        seed: int,
    ) -> None:
        super().__init__()
        self._settings, self._tasks, self._evaluator, self._hooks = settings, tasks, evaluator, hooks
        self._agent_now = agent_now
        self._seed = seed
        categories = [t.logo.category for t in tasks]
        self._sampler = BalancedSampler(categories, settings.validation.sampling, seed)
        self._bootstrap = Bootstrap(settings.evaluate.bootstrap_samples, settings.evaluate.confidence, seed)
        self._started = time.perf_counter()
        self._next_validation = settings.train.eval_every_timesteps
        self._next_checkpoint = settings.train.checkpoint_every_timesteps
        self._without_improvement = 0
        self._rollout_started = self._started
        self._stage: StageSettings | None = None
        self._recent: deque[float] = deque(maxlen=RECENT_EPISODES)
        self.stage_returns: list[float] = []
        self.failures: Counter[str] = Counter()
        self.validations: list[Report] = []
        self.validation_seconds = 0.0
        self.peak_memory_bytes = 0
        self.best: tuple[float, int, Agent] | None = None
        self.stopped: str | None = None

    def begin(self, stage: StageSettings) -> None:
        """A stage is about to be trained on."""
        self._stage = stage
        self._recent.clear()
        self.stage_returns = []

    def validate(self, timesteps: int) -> None:
        """Validate the weights as they are, keep them if they are the best, and see whether to go on."""
        started = time.perf_counter()
        validation = self._settings.validation
        agent = self._agent_now()
        report: Report = {"timesteps": timesteps} | validate(
            agent,
            [self._tasks[i] for i in self._sampler.sample(validation.images_per_category)],
            self._evaluator,
            traces=self._settings.train.max_steps,
            seed=self._seed,
            stochastic_runs=validation.stochastic_runs,
            target_skill=validation.target_skill,
            bootstrap=self._bootstrap,
        )
        self.validations.append(report)
        means = [v["value"]["mean"] for v in self.validations]
        steps = [v["timesteps"] for v in self.validations]
        report["trend"] = asdict(trend(steps, means, self._settings.evaluate.confidence))
        is_best = self.best is None or means[-1] > self.best[0]
        if is_best:
            self.best = (means[-1], timesteps, agent)
        self._without_improvement = 0 if is_best else self._without_improvement + 1
        patience = self._settings.train.early_stopping_patience
        if patience and self._without_improvement >= patience:
            self.stopped = f"no improvement in {patience} validations"
        self.validation_seconds += time.perf_counter() - started
        self._hooks.on_validation(report, agent, is_best)

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self._next_checkpoint:
            self._next_checkpoint += self._settings.train.checkpoint_every_timesteps
            self._hooks.on_checkpoint(self.num_timesteps, self._agent_now())
        if self.num_timesteps >= self._next_validation:
            self._next_validation += self._settings.train.eval_every_timesteps
            self.validate(self.num_timesteps)
        self._rollout_started = time.perf_counter()

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if isinstance(info["evaluation"], Failed):
                self.failures[info["evaluation"].kind] += 1
            if "episode" in info:
                self._recent.append(info["episode"]["r"])
                self.stage_returns.append(info["episode"]["r"])
        return self.stopped is None

    def _on_rollout_end(self) -> None:
        used = memory_used_bytes()
        self.peak_memory_bytes = max(self.peak_memory_bytes, used)
        limit = self._settings.compute.memory_limit_bytes
        if used > limit:
            self.stopped = f"memory limit: {used} bytes used, compute.memory_limit_bytes is {limit}"
        now = time.perf_counter()
        steps = self._settings.train.n_envs * self._settings.train.ppo.n_steps
        goal = self._stage.goal if self._stage else 0.0
        self._hooks.on_progress(
            {
                "timesteps": self.num_timesteps,
                "total_timesteps": self._settings.train.total_timesteps,
                "stage": self._stage.name if self._stage else "",
                "return_mean": sum(self._recent) / len(self._recent) if self._recent else None,
                "success_rate": success_rate(self._recent, goal),
                "seconds": now - self._started,
                "steps_per_second": steps / (now - self._rollout_started),
                "failures": dict(self.failures),
                "memory_bytes": used,
            }
        )


def memory_used_bytes() -> int:
    """Resident memory of this process and all its children; pages they share are counted in each."""
    process = psutil.Process()
    total = process.memory_info().rss
    for child in process.children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return int(total)
