"""When a training's state is written, and what becomes of it when the disk refuses."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from pipeline.core.errors import StorageError
from pipeline.core.facts.training import CheckpointProgress, CheckpointReason
from pipeline.settings.params import CheckpointSettings
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.checkpoint_store import CheckpointStore

_log = logging.getLogger(__name__)


class CheckpointCallback:
    """Holds the newest state that a training can resume from, and writes it when it is time.

    store: None writes nothing. on_saved: called after each checkpoint.
    clock: seconds that never go back.
    """

    def __init__(
        self,
        store: CheckpointStore | None,
        settings: CheckpointSettings,
        on_saved: Callable[[CheckpointProgress], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._settings, self._on_saved, self._clock = store, settings, on_saved, clock
        self._held: Checkpoint | None = None
        self._written: Checkpoint | None = None
        self._written_timesteps = 0
        self._written_at = clock()
        self._trouble: StorageError | None = None

    def hold(self, checkpoint: Checkpoint) -> None:
        self._held = checkpoint

    def due(self, timesteps: int) -> bool:
        """Whether `every_timesteps` or `every_seconds` are over; a checkpoint that could not be written is overdue."""
        return (
            self._trouble is not None
            or timesteps - self._written_timesteps >= self._settings.every_timesteps
            or self._clock() - self._written_at >= self._settings.every_seconds
        )

    def save(self, reason: CheckpointReason) -> None:
        """Write what is held. When that fails the training goes on, with a warning, and it is tried again soon."""
        if self._store is None or self._held is None or self._held is self._written:
            return
        started = time.perf_counter()
        try:
            entry = self._store.save(self._held, reason)
        except StorageError as error:
            self._trouble = error
            _log.warning("the state at %d steps is not saved: %s", self._held.facts["summary"]["timesteps"], error)
            return
        self._trouble = None
        self._written, self._written_timesteps, self._written_at = self._held, entry.timesteps, self._clock()
        self._on_saved(
            CheckpointProgress(
                timesteps=entry.timesteps,
                saved_seconds=entry.saved_seconds,
                save_seconds=time.perf_counter() - started,
                bytes=entry.bytes,
            )
        )

    def save_at_the_end(self, reason: CheckpointReason) -> None:
        """As `save`, but there is no later: raises StorageError when it cannot be written."""
        self.save(reason)
        if self._trouble is not None:
            raise self._trouble
