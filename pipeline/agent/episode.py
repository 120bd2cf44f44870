"""One image being worked on: the state behind an episode of training and behind `vectorize` alike.

At each step a screen names a few settings that may be tried next, the most promising first, and an action is the number
of one of them.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.agent import features
from pipeline.agent.candidates import Points, Shortlist
from pipeline.agent.objectives import Objective
from pipeline.agent.outcome import N_OUTCOMES, Outcome, informative_gate, outcome_of
from pipeline.agent.task import Task, Vector
from pipeline.core.records import EVERYTHING, Evaluation, Gate, Job, Scored, TracerParams
from pipeline.tracing.space import ParameterSpace


class CandidateSource(Protocol):
    """Names what may be tried next."""

    @property
    def size(self) -> int: ...

    def context(self, task: Task) -> Vector: ...

    def shortlist(self, episode: Episode) -> Shortlist: ...


class Episode:
    """Up to `max_steps` traces of one image, and the best of them.

    screen: None for a search that chooses for itself. trained_steps: the most traces of an episode in the policy's
    training; None where it is this one's. seed: of what the screen draws. gains: of each trace.
    best_value never falls and starts at 0, the value of the default, so the rewards add up to what was achieved.
    """

    def __init__(
        self,
        task: Task,
        objective: Objective,
        space: ParameterSpace,
        max_steps: int,
        screen: CandidateSource | None = None,
        *,
        trained_steps: int | None = None,
        seed: int = 0,
    ) -> None:
        self.task = task
        self.objective = objective
        self.space = space
        self.max_steps = max_steps
        self.seed = seed
        self.spent = 0
        self.best_value = 0.0
        self.best: Scored | None = None
        self.evaluations: list[Evaluation] = []
        self._screen = screen
        self._trained_steps = trained_steps or max_steps
        self._points: list[Vector] = []
        self._outcomes: list[Outcome] = []
        self._graded: list[float] = []
        self.gains: list[float] = []
        self._shortlist: Shortlist | None = None
        self._context = screen.context(task) if screen else None

    @property
    def done(self) -> bool:
        return self.spent >= self.max_steps

    @property
    def last(self) -> Evaluation | None:
        return self.evaluations[-1] if self.evaluations else None

    @property
    def tried(self) -> list[TracerParams]:
        return [evaluation.params for evaluation in self.evaluations]

    @property
    def points(self) -> Points:
        """Where in the cube the settings tried so far lie: float32 (spent, axes)."""
        return np.array(self._points, np.float32).reshape(-1, self.space.size)

    @property
    def outcomes(self) -> Points:
        """What they gave, float32 (spent, 3); see `agent.outcome`."""
        return np.array(self._outcomes, np.float32).reshape(-1, N_OUTCOMES)

    @property
    def graded(self) -> NDArray[np.float64]:
        """Their values, graded where not allowed, (spent,)."""
        return np.array(self._graded, np.float64)

    @property
    def shortlist(self) -> Shortlist:
        """What may be tried next: nothing when the traces are spent. Raises ValueError without a screen."""
        if self._screen is None:
            raise ValueError("an episode without a screen has no shortlist")
        if self._shortlist is None:
            self._shortlist = Shortlist.nothing(self._screen.size) if self.done else self._screen.shortlist(self)
        return self._shortlist

    @property
    def context(self) -> Vector:
        """The image as the screen describes it. Raises ValueError without a screen."""
        if self._context is None:
            raise ValueError("an episode without a screen has no context")
        return self._context

    def params_for(self, action: int) -> TracerParams:
        """The setting that an action, 0 to the shortlist's size - 1, stands for at this point."""
        return self.shortlist.params[action]

    def job(self, params: TracerParams, *, keep_svg: bool = False, every_score: bool = False) -> Job:
        """The evaluation of a setting.

        Unless told otherwise, what cannot become the best is measured no further; but a screen learns from whatever is
        not far worse than the default.
        """
        gate = EVERYTHING if every_score else self.objective.gate(self.best_value, self.task.scores)
        if self._screen is not None:
            telling = informative_gate(self.task.scores)
            gate = Gate(max(gate.max_bytes, telling.max_bytes), max(gate.max_damage, telling.max_damage))
        return Job(self.task.logo, params, gate, keep_svg)

    def record(self, evaluation: Evaluation) -> float:
        """Take in one result; returns the reward, the gain in the best value (0 or more)."""
        self.spent += 1
        self._shortlist = None
        self.gains.append(0.0)
        self.evaluations.append(evaluation)
        self._points.append(self.space.encode(evaluation.params))
        self._outcomes.append(outcome_of(evaluation, self.task.scores))
        self._graded.append(self.objective.graded_evaluation(evaluation, self.task.scores))
        if not isinstance(evaluation, Scored):
            return 0.0
        value = self.objective.value(evaluation.params, evaluation.scores, self.task.scores)
        if value is None or value <= self.best_value:
            return 0.0
        gain, self.best_value, self.best = value - self.best_value, value, evaluation
        self.gains[-1] = gain
        return gain

    def _shown_budget(self) -> tuple[int, int]:
        """Traces spent and traces in all, as the policy is shown them.

        What it was never trained on would be noise to it. So an episode longer than any of its training is shown as
        the start of the longest until no more traces are left than that has.
        """
        left = self.max_steps - self.spent
        if self.max_steps <= self._trained_steps:
            return self.spent, self.max_steps
        return max(0, self._trained_steps - left), self._trained_steps

    def observation(self) -> Vector:
        """float32 of shape (observation_size,). Raises ValueError without a screen."""
        return features.observed(
            self.context,
            features.goal_part(self.objective.name, self.objective.max_damage),
            features.budget_part(*self._shown_budget()),
            self.best_value,
            self.shortlist,
        )
