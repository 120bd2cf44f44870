"""Training: a table, the surrogate, then PPO through the curriculum, validated on held-out images as it goes.

Whatever follows it (a progress bar, MLflow, files) passes a `TrainingCallback`. Its whole state is kept in checkpoints,
from which it resumes to the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

from pipeline.agent.agent import Agent
from pipeline.agent.episode import Episode
from pipeline.agent.objectives import objective_from
from pipeline.agent.policy import Policy
from pipeline.agent.task import Task
from pipeline.core.errors import DataError, Mismatch, SettingsError, Stopped
from pipeline.core.facts.training import EarlyStop, RolloutProgress, StageResult, Validation
from pipeline.core.json_records import from_json
from pipeline.data.probe import MEASURE_NAMES
from pipeline.settings.params import Settings, parse_settings
from pipeline.tracing.evaluator import Evaluator
from pipeline.training.callbacks import CallbackList, TrainingCallback
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.checkpoint_callback import CheckpointCallback
from pipeline.training.checkpoint_store import CheckpointStore
from pipeline.training.curriculum import Stage, plan, stage_images, success_rate
from pipeline.training.environments import PoolVecEnv
from pipeline.training.ppo import build_ppo
from pipeline.training.preparation import WarmStart, prepare, restore_errors, restored
from pipeline.training.sampling import EpisodeSampler, Start
from pipeline.training.torch_state import part
from pipeline.training.validation_callback import ValidationCallback


@dataclass(slots=True, kw_only=True)
class Result:
    """What a training gave. agent: the best on validation. stopped: why it ended early, or None."""

    agent: Agent
    best_value: float
    best_timesteps: int
    timesteps: int
    seconds: float
    stopped: EarlyStop | None
    stages: list[StageResult]
    validations: list[Validation]
    progress: list[RolloutProgress]
    failures: dict[str, int]
    time_shares: dict[str, float]
    steps_per_second: float
    peak_memory_bytes: int

    @property
    def best_report(self) -> Validation:
        """The validation of the agent that is kept."""
        return next(v for v in self.validations if v.timesteps == self.best_timesteps)


def train(
    settings: Settings,
    train_tasks: Sequence[Task],
    val_tasks: Sequence[Task],
    evaluator: Evaluator,
    *,
    seed: int,
    followers: Sequence[TrainingCallback] = (),
    checkpoints: CheckpointStore | None = None,
    resume_from: Checkpoint | None = None,
    check_stop: Callable[[], None] = lambda: None,
) -> Result:
    """Train one agent.

    The same settings, tasks, seed and versions give the same agent, however many workers trace, and however often the
    training was interrupted and resumed. checkpoints: where its state is kept; None keeps none. resume_from: a state
    to go on from. check_stop: called often; what it raises, or the evaluator, is raised once the state is kept. Raises
    Mismatch when `resume_from` is of another network or another space, StorageError when the last state of a training
    that ends cannot be written.
    """
    hooks = CallbackList(followers)
    keeper = CheckpointCallback(checkpoints, settings.checkpoints, hooks.on_checkpoint)
    try:
        learning = resume_from if resume_from and resume_from.facts["summary"]["phase"] == "training" else None
        prepared = (
            restored(learning, settings)
            if learning
            else prepare(settings, train_tasks, evaluator, hooks, keeper, seed, resume_from, check_stop)
        )
        training = Training(settings, train_tasks, val_tasks, evaluator, prepared, hooks, keeper, seed)
        if learning:
            training.restore(learning)
        return training.run()
    except (
        BaseException
    ) as error:  # signals and hooks' own exceptions as well: whatever ends a training, its state is kept
        keeper.save_at_the_end("stopped" if isinstance(error, Stopped | KeyboardInterrupt) else "failed")
        raise


class Training:
    """PPO through the curriculum: everything that changes while it goes on, and how it is saved and restored."""

    def __init__(
        self,
        settings: Settings,
        train_tasks: Sequence[Task],
        val_tasks: Sequence[Task],
        evaluator: Evaluator,
        prepared: WarmStart,
        hooks: CallbackList,
        keeper: CheckpointCallback,
        seed: int,
    ) -> None:
        self._settings, self._tasks, self._prepared = settings, train_tasks, prepared
        self._hooks, self._keeper, self._seed = hooks, keeper, seed
        self._objective = objective_from(settings.objective)
        starts = EpisodeSampler(settings.train.max_steps, settings.train.vary_budget, seed)
        self._env = PoolVecEnv(settings.train.n_envs, evaluator, prepared.screen.size, starts, self._begin)
        self._model = build_ppo(settings, self._env, seed)
        self._model.on_interrupted = self._hold
        agent_of = partial(_agent, settings, prepared)
        self._watch = ValidationCallback(settings, val_tasks, evaluator, hooks, agent_of, self._hold, keeper, seed)
        self._watch.init_callback(self._model)
        rollout = settings.train.n_envs * settings.train.ppo.n_steps
        self._stages = plan(settings.curriculum, settings.train.total_timesteps, rollout)
        self._results: list[StageResult] = []
        self._place = CurriculumPosition()
        self._started = time.perf_counter()
        self._learning_seconds = 0.0

    def run(self) -> Result:
        """To the end, from wherever it is."""
        if not self._watch.validations:
            self._hold()
            self._keeper.save("prepared")
            self._watch.validate()
        self._through_curriculum()
        if self._watch.validations[-1].timesteps != self._model.num_timesteps:
            self._hold()
            self._watch.validate()
        self._hold()
        self._keeper.save_at_the_end("finished")
        return self._result()

    def _through_curriculum(self) -> None:
        """Stage after stage, each again up to its `retries` when not passed."""
        while self._place.stage < len(self._stages) and self._watch.stopped is None:
            stage = self._stages[self._place.stage]
            if self._place.began_at is None:
                self._enter(stage)
            started, validating = time.perf_counter(), self._watch.validation_seconds
            left = self._place.end(stage) - self._model.num_timesteps
            self._model.learn(left, callback=self._watch, reset_num_timesteps=False)
            seconds = time.perf_counter() - started
            self._learning_seconds += seconds - (self._watch.validation_seconds - validating)
            self._place.seconds += seconds
            self._leave(stage)

    def _enter(self, stage: Stage) -> None:
        self._place.began_at = self._model.num_timesteps
        self._draw_from(stage)
        self._watch.begin(stage.settings)

    def _draw_from(self, stage: Stage) -> None:
        images = _images_of(stage, self._tasks)
        seed = self._seed + 1000 * self._place.stage + self._place.attempt
        self._env.starts.draw_from(images, [self._tasks[i].logo.category for i in images], seed)

    def _leave(self, stage: Stage) -> None:
        result = self._stage_result(stage)
        self._results.append(result)
        self._hooks.on_stage(result)
        again = not result.passed and self._place.attempt <= stage.settings.retries
        if not (again or result.passed or self._watch.stopped) and self._settings.curriculum.on_failure == "stop":
            text = f"stage {stage.settings.name} was not passed"
            self._watch.stopped = EarlyStop(kind="stage_not_passed", text=text)
        self._place = self._place.next_attempt() if again else CurriculumPosition(stage=self._place.stage + 1)

    def _stage_result(self, stage: Stage) -> StageResult:
        # Only the later half counts: what the policy does once it has seen the stage's images.
        returns = self._watch.stage_returns[len(self._watch.stage_returns) // 2 :]
        rate = success_rate(returns, stage.settings.goal)
        assert self._place.began_at is not None
        return StageResult(
            name=stage.settings.name,
            categories=tuple(stage.settings.categories),
            difficulty=stage.settings.difficulty,
            goal=stage.settings.goal,
            pass_rate=stage.settings.pass_rate,
            success_rate=rate,
            passed=rate is not None and rate >= stage.settings.pass_rate,
            attempts=self._place.attempt,
            timesteps=self._model.num_timesteps - self._place.began_at,
            seconds=self._place.seconds,
            mean_return=sum(returns) / len(returns) if returns else None,
        )

    def _begin(self, start: Start) -> Episode:
        screen, task = self._prepared.screen, self._tasks[start.image]
        return Episode(task, self._objective, screen.space, start.traces, screen, seed=start.seed)

    def _hold(self) -> None:
        self._keeper.hold(self.state())

    def state(self) -> Checkpoint:
        """All of it, between two rollouts or before a step that was broken off."""
        watch, watch_arrays = self._watch.state()
        model, model_arrays = self._model.state()
        prepared, prepared_arrays = self._prepared.state()
        facts = {
            "summary": {
                "timesteps": self._model.num_timesteps,
                "seed": self._seed,
                "phase": "training",
                "metrics": _figures_at(self._watch.validations, self._model.num_timesteps),
            },
            "settings": self._settings.to_json(),
            "prepared": prepared,
            "place": asdict(self._place),
            "stages": list(self._results),
            "seconds": time.perf_counter() - self._started,
            "learning_seconds": self._learning_seconds,
            "waiting_seconds": self._env.waiting_seconds,
            "hooks_seconds": self._hooks.seconds,
            "watch": watch,
            "model": model,
        }
        return Checkpoint(facts, prepared_arrays | watch_arrays | model_arrays)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Raises Mismatch when it was of other shapes, DataError when it is no state of a training."""
        with restore_errors():
            facts = checkpoint.facts
            self._place = CurriculumPosition(**facts["place"])
            self._results = from_json(list[StageResult], facts["stages"])
            self._started -= facts["seconds"]
            self._learning_seconds = facts["learning_seconds"]
            self._env.waiting_seconds = facts["waiting_seconds"]
            self._hooks.seconds = facts["hooks_seconds"]
            if self._place.began_at is not None and self._place.stage < len(self._stages):
                stage = self._stages[self._place.stage]
                self._draw_from(stage)
                self._watch.enter_again(stage.settings)
            self._watch.restore(facts["watch"], checkpoint.arrays)
            self._model.restore(facts["model"], checkpoint.arrays)

    def _result(self) -> Result:
        seconds = time.perf_counter() - self._started + sum(self._prepared.seconds_of.values())
        watch = self._watch
        assert watch.best is not None
        best_value, best_timesteps, agent = watch.best
        return Result(
            agent=agent,
            best_value=best_value,
            best_timesteps=best_timesteps,
            timesteps=self._model.num_timesteps,
            seconds=seconds,
            stopped=watch.stopped,
            stages=self._results,
            validations=watch.validations,
            progress=watch.progress,
            failures=dict(watch.failures),
            time_shares=_time_shares(seconds, self._prepared.seconds_of, self._env, watch, self._hooks),
            steps_per_second=self._model.num_timesteps / self._learning_seconds,
            peak_memory_bytes=watch.peak_memory_bytes,
        )


@dataclass(slots=True)
class CurriculumPosition:
    """Where in the curriculum a training is. began_at: timesteps when the attempt began; None before that."""

    stage: int = 0
    attempt: int = 1
    began_at: int | None = None
    seconds: float = 0.0

    def end(self, stage: Stage) -> int:
        """In timesteps."""
        assert self.began_at is not None
        return self.began_at + stage.timesteps

    def next_attempt(self) -> CurriculumPosition:
        return CurriculumPosition(self.stage, self.attempt + 1)


def _figures_at(validations: Sequence[Validation], timesteps: int) -> dict[str, float]:
    """The figures of the validation made at `timesteps`; none without one."""
    report = next((v for v in validations if v.timesteps == timesteps), None)
    return report.figures() if report else {}


def _images_of(stage: Stage, tasks: Sequence[Task]) -> list[int]:
    """Indices of the stage's tasks; of all of them when the data has none of its categories."""
    complexity = MEASURE_NAMES.index("complexity")
    chosen = stage_images(
        stage.settings, [t.logo.category for t in tasks], [float(t.measures[complexity]) for t in tasks]
    )
    return chosen or list(range(len(tasks)))


def agent_in(checkpoint: Checkpoint) -> Agent:
    """The best agent so far in a checkpoint of PPO. Raises DataError when it holds none, or contradicts itself."""
    try:
        with restore_errors():
            return _agent_in(checkpoint)
    except (SettingsError, Mismatch) as error:
        raise DataError(f"the checkpoint contradicts itself ({error}); use another one") from error


def _agent_in(checkpoint: Checkpoint) -> Agent:
    weights = part(checkpoint.arrays, "best.")
    if checkpoint.facts["summary"]["phase"] != "training" or not weights:
        raise DataError("the checkpoint was made before the first validation, so it holds no agent; use a later one")
    settings = parse_settings(checkpoint.facts["settings"], "the checkpoint's settings")
    return _agent(settings, restored(checkpoint, settings), Policy(weights))


def _agent(settings: Settings, prepared: WarmStart, policy: Policy) -> Agent:
    objective = objective_from(settings.objective)
    return Agent(
        policy=policy,
        screen=prepared.screen,
        objective=objective,
        trained_for=objective.name,
        portfolios=prepared.portfolios,
        max_steps=settings.train.max_steps,
        stopping_rule=prepared.stopping_rule,
        trace_price=settings.train.trace_price,
        background=settings.data.background,
        timeout_seconds=settings.compute.timeout_seconds,
        worker_memory_bytes=settings.compute.worker_memory_bytes,
    )


def _time_shares(
    seconds: float, seconds_of: Mapping[str, float], env: PoolVecEnv, watch: ValidationCallback, hooks: CallbackList
) -> dict[str, float]:
    """Shares of the whole time; `ppo` is what is left: screening and the policy's own work."""
    shares = {name: spent / seconds for name, spent in seconds_of.items()} | {
        "tracing": env.waiting_seconds / seconds,
        "validation": watch.validation_seconds / seconds,
        "tracking": hooks.seconds / seconds,
    }
    return shares | {"ppo": max(0.0, 1 - sum(shares.values()))}
