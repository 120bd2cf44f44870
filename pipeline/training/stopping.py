"""PPO that learns when to stop, on recorded searches: millions of steps without a trace.

What a search tries does not depend on when it is stopped. So some searches are made to their end once, and PPO plays
them again and again: at each step it goes on or stops. That is the real environment, to the bit; nothing is modelled.
The surrogate of these searches was fitted without their images, so what it promises is as wrong as on an image never
seen.

The rule that is handed on is the *reference*: the plain one at first (stop when the expected gain is below the price),
replaced by the policy under training whenever that was better beyond chance on searches that PPO never plays. All of it
is a function of the searches and the seed: a training that is interrupted meanwhile does it again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn
from torch import Tensor, nn

from pipeline.agent.episode import Episode
from pipeline.agent.objectives import Objective
from pipeline.agent.policy import SHARPNESS
from pipeline.agent.screen import Screen
from pipeline.agent.stopping import AUTO_TRACES, GAIN_LIMIT, STOP_FEATURES, SURPLUS, StoppingRule, stop_observation
from pipeline.agent.task import Task
from pipeline.core.intervals import Bootstrap, Interval
from pipeline.core.records import TracerParams
from pipeline.search.loop import image_seed, run_searches
from pipeline.settings.params import Settings
from pipeline.tracing.evaluator import Evaluator
from pipeline.training.environments import BatchVecEnv
from pipeline.training.policy import UntrainedStartPolicy, layers
from pipeline.training.ppo import NearGreedyPPO
from pipeline.training.torch_state import module_arrays

N_ENVS = 256
N_STEPS = 64  # of a rollout
BATCH_SIZE = 2048
N_EPOCHS = 4
LEARNING_RATE = 1e-3
KL_COEF = 0.0  # the plain rule is far off: nothing is gained near it
HIDDEN_UNITS = (32, 32)
HELD_OUT = 3  # every third search is for the paired tests
TEST_EVERY = 8  # rollouts
FEWEST_SEARCHES = 12  # with fewer there is nothing to hold out

Floats = NDArray[np.float32]
GO_ON, STOP = 0, 1


@dataclass(frozen=True, slots=True, eq=False)
class RecordedSearches:
    """observations: (n, AUTO_TRACES, len(STOP_FEATURES)), before each trace. gains: (n, AUTO_TRACES), of each trace,
    at most GAIN_LIMIT. price: of one trace.
    """

    observations: Floats
    gains: Floats
    price: float

    def utility(self, traces: NDArray[np.int64]) -> Floats:
        """What each search is worth after so many traces, (n,): all gains, less the price of all traces."""
        sums = np.concatenate([np.zeros((len(self.gains), 1), np.float32), self.gains.cumsum(1)], 1)
        worth: Floats = sums[np.arange(len(sums)), traces] - np.float32(self.price) * traces
        return worth

    def part(self, rows: NDArray[np.bool_]) -> RecordedSearches:
        return RecordedSearches(self.observations[rows], self.gains[rows], self.price)

    @property
    def greedy_traces(self) -> NDArray[np.int64]:
        """When the plain rule stops, (n,)."""
        return first_stops(self.observations[..., SURPLUS] < 0)


def first_stops(stops: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The first column that is true, (n,); the number of columns where none is."""
    first: NDArray[np.int64] = np.where(stops.any(1), stops.argmax(1), stops.shape[1])
    return first


def record_searches(
    tasks: Sequence[Task],
    evaluator: Evaluator,
    objective: Objective,
    screen: Screen,
    *,
    price: float,
    seed: int,
    on_traces: Callable[[int], None] = lambda traces: None,
) -> RecordedSearches:
    """AUTO_TRACES of the most promising candidates on each image. screen: its surrogate never saw them."""
    recorders = [_Recorder(price) for _ in tasks]
    episodes = [Episode(t, objective, screen.space, AUTO_TRACES, screen, seed=image_seed(seed, t)) for t in tasks]
    run_searches(list(zip(episodes, recorders, strict=True)), evaluator, on_traces=on_traces)
    return RecordedSearches(
        observations=np.array([r.observations for r in recorders], np.float32),
        gains=np.minimum(np.array([e.gains for e in episodes], np.float32), GAIN_LIMIT),
        price=price,
    )


class _Recorder:
    """A search by the most promising candidate that notes what a stopping rule would see."""

    needs_every_score = False

    def __init__(self, price: float) -> None:
        self._price = price
        self.observations: list[Floats] = []

    def propose(self, episode: Episode) -> TracerParams:
        self.observations.append(stop_observation(episode, self._price))
        return episode.params_for(0)


class StoppingVecEnv(BatchVecEnv):
    """Recorded searches, drawn at random, each played until it is stopped or its traces are spent.

    The action is GO_ON or STOP. The reward is the gain of the trace less its price, and 0 for to stop.
    """

    def __init__(self, searches: RecordedSearches, n_envs: int, seed: int) -> None:
        box = cast("spaces.Space[Floats]", spaces.Box(-100.0, 100.0, (len(STOP_FEATURES),), np.float32))
        super().__init__(n_envs, box, spaces.Discrete(2))
        self._searches = searches
        self._rng = np.random.default_rng([seed, 4])
        self._row, self._spent = np.zeros(n_envs, np.int64), np.zeros(n_envs, np.int64)
        self._actions = np.zeros(n_envs, np.int64)
        self._infos: list[dict[str, Any]] = [{} for _ in range(n_envs)]

    def reset(self) -> VecEnvObs:
        self._begin(np.arange(self.num_envs))
        return self._searches.observations[self._row, self._spent]

    def _begin(self, places: NDArray[np.int64]) -> None:
        self._row[places] = self._rng.integers(len(self._searches.gains), size=len(places))
        self._spent[places] = 0

    def step_async(self, actions: NDArray[np.int64]) -> None:
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        searches, goes_on = self._searches, self._actions == GO_ON
        gains = searches.gains[self._row, self._spent]
        rewards = np.where(goes_on, gains - np.float32(searches.price), np.float32(0))
        self._spent += goes_on
        dones = ~goes_on | (self._spent == AUTO_TRACES)
        self._begin(np.flatnonzero(dones))
        return searches.observations[self._row, self._spent], rewards, dones, self._infos


class StopScores(nn.Module):
    """Observations (b, len(STOP_FEATURES)) to the scores of GO_ON and STOP, (b, 2), and to what the critic reads."""

    latent_dim_pi, latent_dim_vf = 2, HIDDEN_UNITS[-1]

    def __init__(self) -> None:
        super().__init__()
        inputs = len(STOP_FEATURES)
        self.actor = layers(inputs, HIDDEN_UNITS).append(nn.Linear(HIDDEN_UNITS[-1], 1))
        self.critic = layers(inputs, HIDDEN_UNITS)

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward_actor(observations), self.forward_critic(observations)

    def forward_actor(self, observations: Tensor) -> Tensor:
        learned = torch.nn.functional.pad(self.actor(observations), (1, 0))
        return self.greedy(observations) + learned

    def greedy(self, observations: Tensor) -> Tensor:
        """The scores of the plain rule, (b, 2)."""
        return torch.stack([SHARPNESS * observations[:, SURPLUS], torch.zeros(len(observations))], 1)

    def forward_critic(self, observations: Tensor) -> Tensor:
        return cast(Tensor, self.critic(observations))


class StopPolicy(UntrainedStartPolicy):
    """Goes on or stops; `agent.stopping.StoppingRule` is its actor as it is used."""

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = StopScores()  # type: ignore[assignment]

    @property
    def last_layer(self) -> nn.Linear:
        return cast(nn.Linear, self.scores.actor[-1])

    @property
    def scores(self) -> StopScores:
        return cast(StopScores, self.mlp_extractor)


def rule_of(policy: StopPolicy) -> StoppingRule:
    """A copy of what the policy has learnt so far."""
    return StoppingRule(module_arrays(policy.scores, "scores."))


@dataclass(frozen=True, slots=True)
class PairedTest:
    """The policy against the reference on searches held out. lead: mean difference of their utility."""

    timesteps: int
    lead: Interval
    replaced: bool


def learn_to_stop(
    settings: Settings,
    searches: RecordedSearches,
    seed: int,
    *,
    on_steps: Callable[[int], None] = lambda timesteps: None,
    check_stop: Callable[[], None] = lambda: None,
) -> tuple[StoppingRule | None, list[PairedTest]]:
    """The reference at the end, None for the plain rule, and the tests that led to it.

    on_steps: told how many steps were made so far. check_stop: called between rollouts; what it raises is raised.
    """
    total, count = settings.train.simulated_timesteps, len(searches.gains)
    if not total or count < FEWEST_SEARCHES:
        return None, []
    is_held_out = np.arange(count) % HELD_OUT == 0
    held_out = searches.part(is_held_out)
    model = build_stopping_ppo(settings, StoppingVecEnv(searches.part(~is_held_out), N_ENVS, seed), seed)
    policy = cast(StopPolicy, model.policy)
    reference, rule, tests = held_out.utility(held_out.greedy_traces), None, []
    bootstrap = Bootstrap(settings.evaluate.bootstrap_samples, settings.evaluate.confidence)
    rollouts = max(1, total // (N_STEPS * N_ENVS))
    for number in range(1, rollouts + 1):
        check_stop()
        model.learn(N_STEPS * N_ENVS, reset_num_timesteps=False)
        on_steps(model.num_timesteps)
        if number % TEST_EVERY == 0 or number == rollouts:
            found = held_out.utility(traces_of(policy, held_out))
            lead = bootstrap.mean((found - reference).tolist())
            tests.append(PairedTest(model.num_timesteps, lead, lead.low > 0))
            if lead.low > 0:
                reference, rule = found, rule_of(policy)
    return rule, tests


@torch.no_grad()
def traces_of(policy: StopPolicy, searches: RecordedSearches) -> NDArray[np.int64]:
    """After how many traces the policy stops each search, (n,)."""
    flat = torch.from_numpy(searches.observations.reshape(-1, len(STOP_FEATURES)))
    scores = policy.scores.forward_actor(flat).numpy().reshape(-1, AUTO_TRACES, 2)
    return first_stops(scores[..., STOP] > scores[..., GO_ON])


def build_stopping_ppo(settings: Settings, env: StoppingVecEnv, seed: int) -> NearGreedyPPO:
    ppo = settings.train.ppo
    model = NearGreedyPPO(
        StopPolicy,
        env,
        learning_rate=LEARNING_RATE,
        n_steps=N_STEPS,
        batch_size=BATCH_SIZE,
        n_epochs=N_EPOCHS,
        gamma=ppo.gamma,
        gae_lambda=ppo.gae_lambda,
        clip_range=ppo.clip_range,
        ent_coef=ppo.ent_coef,
        seed=seed,
        device="cpu",
    )
    model.kl_coef = KL_COEF
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model
