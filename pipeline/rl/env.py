"""The Gymnasium environment, and the vectorised one that PPO trains on.

| | |
|---|---|
| observation | float32 vector, laid out in `rl.features` |
| action | the number of a candidate on the shortlist; see `rl.episode` |
| reward | gain in the objective's best value so far, 0 or more; the return is what was achieved over the default |
| terminated | the traces are spent: the horizon is part of the task and of the observation |
| truncated | never |
| info | `evaluation` (Scored, Lost or Failed), `best_value`, `image` |
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from pipeline.records import Evaluation
from pipeline.rl.episode import Episode, Screening, Task
from pipeline.rl.features import Vector
from pipeline.rl.policy import action_space, observation_box
from pipeline.rl.reward import Objective
from pipeline.tracing.space import ParameterSpace
from pipeline.tracing.workers import Evaluator, Pending


class LogoEnv(gymnasium.Env[Vector, np.int64]):
    """Many images, one per episode. `reset(options={"image": i})` names one; else one is drawn."""

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own declaration

    def __init__(
        self,
        tasks: Sequence[Task],
        evaluator: Evaluator,
        objective: Objective,
        space: ParameterSpace,
        screen: Screening,
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


class PoolVecEnv(VecEnv):
    """`n_envs` episodes whose traces go to the pool as one batch; a finished episode makes place for a new image.

    While the pool traces, the next images are made ready. draw: names the task of the next episode. waiting_seconds:
    total time in which there was nothing to do but wait for evaluations.
    """

    def __init__(
        self,
        n_envs: int,
        evaluator: Evaluator,
        shortlist: int,
        draw: Callable[[], Task],
        start: Callable[[Task], Episode],
    ) -> None:
        self.render_mode = None
        super().__init__(n_envs, observation_box(shortlist), action_space(shortlist))
        self._evaluator, self._draw, self._start = evaluator, draw, start
        self._episodes: list[Episode] = []
        self._pending: Pending | None = None
        self._next: dict[int, Episode] = {}
        self.waiting_seconds = 0.0

    def draw_from(self, draw: Callable[[], Task]) -> None:
        """Take the images of new episodes from another source: the next stage of the curriculum."""
        self._draw = draw

    def reset(self) -> VecEnvObs:
        self._episodes = [self._start(self._draw()) for _ in range(self.num_envs)]
        return np.stack([e.observation() for e in self._episodes])

    def step_async(self, actions: NDArray[np.int64]) -> None:
        jobs = [e.job(e.params_for(int(a))) for e, a in zip(self._episodes, actions, strict=True)]
        self._pending = self._evaluator.submit(jobs)
        ending = [i for i, e in enumerate(self._episodes) if e.spent + 1 >= e.max_steps]
        self._next = {i: self._start(self._draw()) for i in ending}
        for episode in self._next.values():
            episode.observation()  # screened now rather than when the pool has nothing to do

    def step_wait(self) -> VecEnvStepReturn:
        assert self._pending is not None, "step_wait follows step_async"
        started = time.perf_counter()
        evaluations = self._pending.collect()
        self.waiting_seconds += time.perf_counter() - started
        rewards = np.array([e.record(v) for e, v in zip(self._episodes, evaluations, strict=True)], dtype=np.float32)
        dones = np.array([e.done for e in self._episodes])
        infos = [_info(e, v) for e, v in zip(self._episodes, evaluations, strict=True)]
        for index in np.flatnonzero(dones).tolist():
            infos[index]["terminal_observation"] = self._episodes[index].observation()
            infos[index]["episode"] = {"r": self._episodes[index].best_value, "l": self._episodes[index].spent}
            self._episodes[index] = self._next[index]
        return np.stack([e.observation() for e in self._episodes]), rewards, dones, infos

    def close(self) -> None:
        """The pool belongs to whoever handed it in."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        raise NotImplementedError("the episodes share one configuration; build another PoolVecEnv")

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        raise NotImplementedError("there is no environment behind each index; use LogoEnv")

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        return [False] * len(list(self._get_indices(indices)))
