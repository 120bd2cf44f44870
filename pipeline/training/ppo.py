"""PPO that stays near greedy expected improvement, and whose rollouts can be interrupted and resumed to the same bits.

The policy begins as greedy expected improvement. Its divergence from that is part of the loss, so it moves away only
where that pays.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from stable_baselines3.common.utils import explained_variance
from stable_baselines3.common.vec_env import VecEnv

from pipeline.core.facts.training import PPODiagnostics
from pipeline.core.json_records import from_json, to_json
from pipeline.settings.params import Settings
from pipeline.training.checkpoint import Arrays
from pipeline.training.environments import PoolVecEnv
from pipeline.training.policy import CandidatePolicy
from pipeline.training.torch_state import (
    generator_state,
    module_arrays,
    optimizer_state,
    restore_generators,
    restore_module,
    restore_optimizer,
)

_ROWS = ("observations", "actions", "rewards", "episode_starts", "values", "log_probs")


class GreedyScores(Protocol):
    """Scores of the actions, (b, n): the policy's own, and those that it begins with."""

    def forward_actor(self, observations: torch.Tensor) -> torch.Tensor: ...

    def greedy(self, observations: torch.Tensor) -> torch.Tensor: ...


class GreedyPolicy(Protocol):
    """A policy that begins greedy."""

    @property
    def scores(self) -> GreedyScores: ...


class NearGreedyPPO(PPO):
    """PPO with the divergence from greedy expected improvement in its loss. kl_coef: its weight.

    diagnostics: of the latest update, None before the first.
    """

    kl_coef = 0.0
    diagnostics: PPODiagnostics | None = None

    def train(self) -> None:
        """SB3's for discrete actions, with one more term."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        means: list[list[float]] = []
        for _ in range(self.n_epochs):
            for batch in self.rollout_buffer.get(self.batch_size):
                loss, figures = self._loss(batch)
                means.append([figure.item() for figure in figures])
                self.policy.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # torch 2.13 has no types for it
                torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
                self.policy.optimizer.step()
        self._n_updates += self.n_epochs
        buffer = self.rollout_buffer
        explained = float(explained_variance(buffer.values.flatten(), buffer.returns.flatten()))
        approx_kl, clip_fraction, entropy, value_loss, kl_greedy = np.mean(means, axis=0).tolist()
        self.diagnostics = PPODiagnostics(
            approx_kl=approx_kl,
            clip_fraction=clip_fraction,
            entropy=entropy,
            value_loss=value_loss,
            explained_variance=explained if np.isfinite(explained) else None,
            kl_greedy=kl_greedy,
        )

    def _loss(self, batch: RolloutBufferSamples) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The loss of a minibatch, and its diagnostics but for the explained variance."""
        scores, observations = cast(GreedyPolicy, self.policy).scores, batch.observations
        log_all = scores.forward_actor(observations).log_softmax(-1)
        greedy = scores.greedy(observations).log_softmax(-1)
        log_prob = log_all.gather(1, batch.actions.long()).squeeze(1)
        advantages = batch.advantages
        if len(advantages) > 1:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        log_ratio = log_prob - batch.old_log_prob
        ratio, clip = log_ratio.exp(), float(self.clip_range(self._current_progress_remaining))  # type: ignore[operator]
        policy_loss = -torch.min(advantages * ratio, advantages * ratio.clamp(1 - clip, 1 + clip)).mean()
        value_loss = torch.nn.functional.mse_loss(batch.returns, self.policy.predict_values(observations).flatten())
        entropy = -(log_all.exp() * log_all).sum(-1).mean()
        kl_greedy = (log_all.exp() * (log_all - greedy)).sum(-1).mean()
        loss = policy_loss + self.vf_coef * value_loss - self.ent_coef * entropy + self.kl_coef * kl_greedy
        clipped = ((ratio - 1).abs() > clip).float().mean()
        return loss, [((ratio - 1) - log_ratio).mean(), clipped, entropy, value_loss, kl_greedy]


class ResumablePPO(NearGreedyPPO):
    """on_interrupted: called when a step was broken off while it was traced; `state` is then that before the step."""

    on_interrupted: Callable[[], None] = staticmethod(lambda: None)
    _begun = False
    _before_choice: torch.Tensor | None = None

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """SB3's for discrete actions and episodes that are never truncated, with rollouts that can be resumed."""
        assert isinstance(env, PoolVecEnv)
        assert self._last_obs is not None
        self.policy.set_training_mode(False)
        begun, self._begun = self._begun, False
        if not begun:
            rollout_buffer.reset()
            callback.on_rollout_start()
        while not rollout_buffer.full:
            self._before_choice = torch.get_rng_state()
            with torch.no_grad():
                actions, values, log_probs = self.policy(torch.as_tensor(self._last_obs))
            chosen = actions.numpy()
            try:
                new_obs, rewards, dones, infos = env.step(chosen)
            except BaseException:  # a signal may come at any trace; the interrupted step must be resumable
                if env.tracing:
                    self.on_interrupted()
                raise
            self._before_choice = None
            self.num_timesteps += env.num_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return False
            self._update_info_buffer(infos, dones)
            rollout_buffer.add(self._last_obs, chosen, rewards, self._last_episode_starts, values, log_probs)  # type: ignore[arg-type]
            self._last_obs = new_obs  # type: ignore[assignment]
            self._last_episode_starts = dones
        with torch.no_grad():
            last_values = self.policy.predict_values(torch.as_tensor(self._last_obs))
        assert self._last_episode_starts is not None
        rollout_buffer.compute_returns_and_advantage(last_values, self._last_episode_starts)
        callback.on_rollout_end()
        return True

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Facts and arrays between two rollouts, or before a step that was broken off."""
        assert isinstance(self.env, PoolVecEnv)
        groups, arrays = optimizer_state(self.policy.optimizer, "optimizer.")
        generators, generator_arrays = generator_state()
        if self._before_choice is not None:
            generator_arrays["generator.torch"] = self._before_choice.numpy().copy()
        buffer = self.rollout_buffer
        arrays |= module_arrays(self.policy, "policy.") | generator_arrays
        if buffer.pos and not buffer.full:
            arrays |= {f"rollout.{name}": getattr(buffer, name)[: buffer.pos].copy() for name in _ROWS}
        if self._last_obs is not None:
            arrays |= {"last_obs": np.array(self._last_obs), "last_episode_starts": np.array(self._last_episode_starts)}
        facts = {
            "num_timesteps": self.num_timesteps,
            "n_updates": self._n_updates,
            "progress_remaining": self._current_progress_remaining,
            "optimizer": groups,
            "generators": generators,
            "action_generator": self.action_space.np_random.bit_generator.state,
            "episodes": [{"r": float(e["r"]), "l": int(e["l"])} for e in self.ep_info_buffer or ()],
            "diagnostics": to_json(self.diagnostics),
            "env": self.env.state(),
        }
        return facts, arrays

    def restore(self, facts: Mapping[str, Any], arrays: Arrays) -> None:
        """`env.starts` has been given the images of that time. Raises RuntimeError for other networks."""
        assert isinstance(self.env, PoolVecEnv)
        restore_module(self.policy, arrays, "policy.")
        restore_optimizer(self.policy.optimizer, facts["optimizer"], arrays, "optimizer.")
        self.num_timesteps, self._n_updates = facts["num_timesteps"], facts["n_updates"]
        self._current_progress_remaining = facts["progress_remaining"]
        self.diagnostics = from_json(PPODiagnostics, facts["diagnostics"]) if facts["diagnostics"] else None
        self.action_space.np_random.bit_generator.state = facts["action_generator"]
        if "last_obs" in arrays:
            self.ep_info_buffer = deque(facts["episodes"], maxlen=self._stats_window_size)
            self.ep_success_buffer = deque(maxlen=self._stats_window_size)
            self._last_obs = arrays["last_obs"].copy()
            self._last_episode_starts = arrays["last_episode_starts"].copy()
            self.env.restore(facts["env"])
            if "rollout.rewards" in arrays:
                self._refill(arrays)
        restore_generators(facts["generators"], arrays)  # last: nothing before may draw from them

    def _refill(self, arrays: Arrays) -> None:
        """The part of a rollout that was made before it was broken off."""
        rows = len(arrays["rollout.rewards"])
        self.rollout_buffer.reset()
        for name in _ROWS:
            getattr(self.rollout_buffer, name)[:rows] = arrays[f"rollout.{name}"]
        self.rollout_buffer.pos = rows
        self._begun = True


def build_ppo(settings: Settings, env: PoolVecEnv, seed: int) -> ResumablePPO:
    ppo = settings.train.ppo
    model = ResumablePPO(
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
    model.kl_coef = ppo.kl_coef
    model.set_logger(Logger(folder=None, output_formats=[]))  # its own leaves an empty folder in /tmp each time
    return model
