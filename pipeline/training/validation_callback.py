"""The SB3 callback that looks after a training: validation, checkpoints, early stopping, memory, progress."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import psutil
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback

from pipeline.agent.agent import Agent, named
from pipeline.agent.policy import Policy
from pipeline.agent.task import Task
from pipeline.core.facts.training import EarlyStop, RolloutProgress, Validation
from pipeline.core.intervals import Bootstrap
from pipeline.core.json_records import from_json
from pipeline.core.records import Failed
from pipeline.settings.params import Settings, StageSettings
from pipeline.tracing.evaluator import Evaluator
from pipeline.training.callbacks import TrainingCallback
from pipeline.training.checkpoint import Arrays
from pipeline.training.checkpoint_callback import CheckpointCallback
from pipeline.training.curriculum import success_rate
from pipeline.training.policy import actor_of
from pipeline.training.ppo import NearGreedyPPO
from pipeline.training.sampling import BalancedSampler
from pipeline.training.torch_state import part
from pipeline.training.validation import validate

RECENT_EPISODES = 200  # over which the running means are taken

RAY_SERVERS = ("gcs_server", "raylet")


class ValidationCallback(BaseCallback):
    """Used in all stages of one training. stopped: why it must end, or None.

    agent_of: makes an agent of a policy. hold: called between rollouts, where the whole training can be saved. keeper:
    writes what was held. progress: one record per rollout.
    """

    def __init__(
        self,
        settings: Settings,
        tasks: Sequence[Task],
        evaluator: Evaluator,
        hooks: TrainingCallback,
        agent_of: Callable[[Policy], Agent],
        hold: Callable[[], None],
        keeper: CheckpointCallback,
        seed: int,
    ) -> None:
        super().__init__()
        self._settings, self._tasks, self._evaluator, self._hooks = settings, tasks, evaluator, hooks
        self._agent_of, self._hold, self._keeper = agent_of, hold, keeper
        self._seed = seed
        categories = [t.logo.category for t in tasks]
        self._sampler = BalancedSampler(categories, settings.validation.sampling, seed)
        self._bootstrap = Bootstrap(settings.evaluate.bootstrap_samples, settings.evaluate.confidence, seed)
        self._started = time.perf_counter()
        self._next_validation = settings.train.eval_every_timesteps
        self._without_improvement = 0
        self._rollout_started = self._started
        self._stage: StageSettings | None = None
        self.progress: list[RolloutProgress] = []
        self._recent: deque[float] = deque(maxlen=RECENT_EPISODES)
        self.stage_returns: list[float] = []
        self.failures: Counter[str] = Counter()
        self.validations: list[Validation] = []
        self.validation_seconds = 0.0
        self.peak_memory_bytes = 0
        self.best: tuple[float, int, Agent] | None = None
        self.stopped: EarlyStop | None = None

    def begin(self, stage: StageSettings) -> None:
        """A stage is about to be trained on."""
        self._stage = stage
        self._recent.clear()
        self.stage_returns = []

    def enter_again(self, stage: StageSettings) -> None:
        """Resume the stage that `restore` put back."""
        self._stage = stage

    def validate(self) -> None:
        """Validate the policy as it is, keep it if it is the best, and see whether to go on."""
        started = time.perf_counter()
        timesteps = self.model.num_timesteps
        validation = self._settings.validation
        agent = self._agent_of(actor_of(self.model.policy))
        report = validate(
            agent,
            [self._tasks[i] for i in self._sampler.sample(validation.images_per_category)],
            self._evaluator,
            traces=self._settings.train.max_steps,
            seed=self._seed,
            stochastic_runs=validation.stochastic_runs,
            target_skill=validation.target_skill,
            bootstrap=self._bootstrap,
            timesteps=timesteps,
            previous=self.validations,
        )
        self.validations.append(report)
        is_best = self.best is None or report.value.mean > self.best[0]
        if is_best:
            self.best = (report.value.mean, timesteps, agent)
        self._without_improvement = 0 if is_best else self._without_improvement + 1
        patience = self._settings.train.early_stopping_patience
        if patience and self._without_improvement >= patience:
            self.stopped = EarlyStop(kind="no_improvement", text=f"no improvement in {patience} validations")
        self.validation_seconds += time.perf_counter() - started
        self._hooks.on_validation(report, agent, is_best)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Facts and arrays, whose names begin with `best.`."""
        facts = {
            "sampler": self._sampler.state(),
            "next_validation": self._next_validation,
            "without_improvement": self._without_improvement,
            "recent": list(self._recent),
            "stage_returns": list(self.stage_returns),
            "failures": dict(self.failures),
            "validations": list(self.validations),
            "progress": list(self.progress),
            "seconds": time.perf_counter() - self._started,
            "validation_seconds": self.validation_seconds,
            "peak_memory_bytes": self.peak_memory_bytes,
            "best": self.best[:2] if self.best else None,
            "stopped": self.stopped,
        }
        best = self.best[2].policy if self.best else None
        return facts, named("best.", best.weights) if best else {}

    def restore(self, facts: Mapping[str, Any], arrays: Arrays) -> None:
        self._sampler.restore(facts["sampler"])
        self._next_validation = facts["next_validation"]
        self._without_improvement = facts["without_improvement"]
        self._recent.extend(facts["recent"])
        self.stage_returns = list(facts["stage_returns"])
        self.failures = Counter(facts["failures"])
        self.validations = from_json(list[Validation], facts["validations"])
        self.progress = from_json(list[RolloutProgress], facts["progress"])
        self._started = time.perf_counter() - facts["seconds"]
        self.validation_seconds = facts["validation_seconds"]
        self.peak_memory_bytes = facts["peak_memory_bytes"]
        self.stopped = from_json(EarlyStop, facts["stopped"]) if facts["stopped"] else None
        if facts["best"]:
            value, timesteps = facts["best"]
            self.best = (value, timesteps, self._agent_of(Policy(part(arrays, "best."))))

    def _on_rollout_start(self) -> None:
        self._hold()
        if self.num_timesteps >= self._next_validation:
            self._next_validation += self._settings.train.eval_every_timesteps
            self.validate()
            self._hold()
            self._keeper.save("validation")
        elif self._keeper.due(self.num_timesteps):
            self._keeper.save("interval")
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
            text = f"memory limit: {used} bytes used, compute.memory_limit_bytes is {limit}"
            self.stopped = EarlyStop(kind="memory_limit", text=text)
        now = time.perf_counter()
        steps = self._settings.train.n_envs * self._settings.train.ppo.n_steps
        goal = self._stage.goal if self._stage else 0.0
        self.progress.append(
            RolloutProgress(
                timesteps=self.num_timesteps,
                total_timesteps=self._settings.train.total_timesteps,
                stage=self._stage.name if self._stage else "",
                return_mean=sum(self._recent) / len(self._recent) if self._recent else None,
                success_rate=success_rate(self._recent, goal),
                seconds=now - self._started,
                steps_per_second=steps / (now - self._rollout_started),
                failures=dict(self.failures),
                memory_bytes=used,
                ppo=cast(NearGreedyPPO, self.model).diagnostics,
            )
        )
        self._hooks.on_progress(self.progress[-1])


def memory_used_bytes() -> int:
    """Resident memory of this process and all its children; pages they share are counted in each.

    A Ray cluster that was started here, and what runs on it, is not the training's own.
    """
    process = psutil.Process()
    return int(process.memory_info().rss) + sum(_resident_bytes(child) for child in process.children())


def _resident_bytes(process: psutil.Process) -> int:
    try:
        if process.name() in RAY_SERVERS:
            return 0
        return int(process.memory_info().rss) + sum(_resident_bytes(child) for child in process.children())
    except psutil.NoSuchProcess:
        return 0
