"""The Gymnasium environment, and the vectorised one that PPO trains on.

| | |
|---|---|
| observation | float32 vector, laid out in `agent.features` |
| action | the number of a candidate on the shortlist; see `agent.episode` |
| reward | gain in the objective's best value so far, 0 or more; the return is what was achieved over the default |
| terminated | the traces are spent: the horizon is part of the task and of the observation |
| truncated | never |
| info | `evaluation` (Scored, Pruned or Failed), `best_value`, `image` |
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from pipeline.agent.episode import CandidateSource, Episode
from pipeline.agent.objectives import Objective
from pipeline.agent.task import Task, Vector
from pipeline.core.json_records import from_json, to_json
from pipeline.core.records import Evaluation
from pipeline.tracing.evaluator import Evaluator, Pending
from pipeline.tracing.space import ParameterSpace
from pipeline.training.policy import action_space, observation_box
from pipeline.training.sampling import EpisodeSampler, Start


class LogoEnv(gymnasium.Env[Vector, np.int64]):
    """Many images, one per episode. `reset(options={"image": i})` names one; else one is drawn."""

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own declaration

    def __init__(
        self,
        tasks: Sequence[Task],
        evaluator: Evaluator,
        objective: Objective,
        space: ParameterSpace,
        screen: CandidateSource,
        max_steps: int,
    ) -> None:
        if not tasks:
            raise ValueError("an environment needs at least one image")
        self.observation_space = observation_box(screen.size)
        self.action_space = action_space(screen.size)
        self._tasks, self._evaluator = tasks, evaluator
        self._objective, self._space, self._screen, self._max_steps = objective, space, screen, max_steps
        self._episode = self._start(tasks[0])

    def _start(self, task: Task) -> Episode:
        return Episode(task, self._objective, self._space, self._max_steps, self._screen)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Vector, dict[str, Any]]:
        super().reset(seed=seed)
        index = (options or {}).get("image")
        index = int(self.np_random.integers(len(self._tasks))) if index is None else int(index)
        self._episode = self._start(self._tasks[index])
        return self._episode.observation(), {"image": self._tasks[index].logo.name}

    def step(self, action: np.int64 | int) -> tuple[Vector, float, bool, bool, dict[str, Any]]:
        episode = self._episode
        [evaluation] = self._evaluator.evaluate([episode.job(episode.params_for(int(action)))])
        reward = episode.record(evaluation)
        return episode.observation(), reward, episode.done, False, _info(episode, evaluation)


def _info(episode: Episode, evaluation: Evaluation) -> dict[str, Any]:
    return {"evaluation": evaluation, "best_value": episode.best_value, "image": episode.task.logo.name}


class BatchVecEnv(VecEnv):
    """Episodes that are stepped as one batch: no environment of its own is behind an index."""

    def __init__(self, n_envs: int, observations: spaces.Space[Vector], actions: spaces.Discrete) -> None:
        self.render_mode = None
        super().__init__(n_envs, observations, actions)

    def close(self) -> None:
        """Nothing to close; a pool belongs to the caller."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        raise NotImplementedError(f"the episodes share one configuration; build another {type(self).__name__}")

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        raise NotImplementedError("there is no environment behind each index; use LogoEnv")

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        return [False] * len(list(self._get_indices(indices)))


class PoolVecEnv(BatchVecEnv):
    """`n_envs` episodes whose traces go to the pool as one batch; a finished episode makes place for a new image.

    While the pool traces, the next images are made ready. begin: makes the episode of a start. waiting_seconds: total
    time in which there was nothing to do but wait for evaluations. tracing: whether a step was given to the evaluator
    and has changed nothing yet; what is raised then leaves `state` as it was before the step.
    """

    def __init__(
        self,
        n_envs: int,
        evaluator: Evaluator,
        shortlist: int,
        starts: EpisodeSampler,
        begin: Callable[[Start], Episode],
    ) -> None:
        super().__init__(n_envs, observation_box(shortlist), action_space(shortlist))
        self.starts = starts
        self.waiting_seconds = 0.0
        self.tracing = False
        self._evaluator, self._begin = evaluator, begin
        self._running: list[tuple[Start, Episode]] = []
        self._drawn: list[Start] = []
        self._pending: Pending | None = None
        self._next: dict[int, tuple[Start, Episode]] = {}

    def reset(self) -> VecEnvObs:
        self._running = [self._started(self.starts.draw()) for _ in range(self.num_envs)]
        return self._observations()

    def step_async(self, actions: NDArray[np.int64]) -> None:
        self.tracing = True
        episodes = [episode for _, episode in self._running]
        self._pending = self._evaluator.submit(
            [e.job(e.params_for(int(a))) for e, a in zip(episodes, actions, strict=True)]
        )
        ending = [i for i, e in enumerate(episodes) if e.spent + 1 >= e.max_steps]
        while len(self._drawn) < len(ending):
            self._drawn.append(self.starts.draw())
        self._next = {i: self._started(start) for i, start in zip(ending, self._drawn, strict=True)}
        for _, episode in self._next.values():
            episode.observation()  # screened now rather than when the pool has nothing to do

    def step_wait(self) -> VecEnvStepReturn:
        assert self._pending is not None, "step_wait follows step_async"
        started = time.perf_counter()
        evaluations = self._pending.collect()
        self.waiting_seconds += time.perf_counter() - started
        self.tracing = False
        episodes = [episode for _, episode in self._running]
        rewards = np.array([e.record(v) for e, v in zip(episodes, evaluations, strict=True)], dtype=np.float32)
        dones = np.array([e.done for e in episodes])
        infos = [_info(e, v) for e, v in zip(episodes, evaluations, strict=True)]
        for index in np.flatnonzero(dones).tolist():
            infos[index]["terminal_observation"] = episodes[index].observation()
            infos[index]["episode"] = {"r": episodes[index].best_value, "l": episodes[index].spent}
            self._running[index] = self._next[index]
        self._drawn.clear()
        return self._observations(), rewards, dones, infos

    def state(self) -> dict[str, Any]:
        """What JSON can say of the episodes and of what is drawn next."""
        return {
            "running": [
                {"start": asdict(start), "evaluations": [to_json(e) for e in episode.evaluations]}
                for start, episode in self._running
            ],
            "drawn": [asdict(start) for start in self._drawn],
            "starts": self.starts.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """`starts.draw_from` has been called with the images of that time."""
        self.starts.restore(state["starts"])
        self._drawn = [Start(**start) for start in state["drawn"]]
        self._running = [self._started(Start(**saved["start"])) for saved in state["running"]]
        for (_, episode), saved in zip(self._running, state["running"], strict=True):
            for evaluation in from_json(list[Evaluation], saved["evaluations"]):
                episode.record(evaluation)

    def _started(self, start: Start) -> tuple[Start, Episode]:
        return start, self._begin(start)

    def _observations(self) -> VecEnvObs:
        return np.stack([episode.observation() for _, episode in self._running])
