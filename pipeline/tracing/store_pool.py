"""A pool with a store of evaluations in front of it, under the interface of a pool."""

from __future__ import annotations

import logging
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Self

from pipeline.core.errors import StorageError
from pipeline.core.facts.evaluations import EvaluationTotals
from pipeline.core.files import append_whole, whole, writing
from pipeline.core.records import DEFAULT_PARAMS, PARAM_NAMES, Evaluation, Failed, Gate, Job, Pruned, Scored
from pipeline.settings.params import ComputeSettings
from pipeline.tracing.backends import pool_from_settings
from pipeline.tracing.evaluation_store import KEY_BYTES, SCORE_NAMES, EvaluationStore, known_of
from pipeline.tracing.evaluator import Pending
from pipeline.tracing.pool import Pool

STORE = Path(".tracewright/evaluations.sqlite")
LEDGER = "asked.bin"
"""Of a run, in its folder."""

STORE_VARIABLE = "TRACEWRIGHT_STORE"
"""Of the environment: another path, for a machine that shares the project's folder with others."""

KeyAndJob = tuple[bytes, Job]

_ROWS_AT_ONCE = 10_000
_KEPT_AT_ONCE = 500
_RECORD_BYTES = KEY_BYTES + 1 + 4  # key, how far it is known, CRC-32
_TRACED = 0x80
_WHOLE_SCORES = ("svg_bytes", "traced_bytes", "gzip_bytes", "paths", "nodes")

_log = logging.getLogger(__name__)


class StoredEvaluator:
    """An evaluator that looks into a store before it has anything evaluated, and keeps what it had evaluated.

    The same jobs give the same results as without a store, but for `seconds`, which are those of the first time.
    Equal jobs in one batch are evaluated once; one that wants its SVG is always traced.
    A store that fails is a warning, and the work goes on without it.
    known: how far each requested evaluation was measured, by key. traced: keys that the store did not have.
    """

    _ledger: Ledger | None = None

    def __init__(self, pool: Pool, store: EvaluationStore) -> None:
        self.pool = pool
        self.known: dict[bytes, int] = {}
        self.traced: set[bytes] = set()
        self._store = store
        self._broken = False

    @property
    def asked(self) -> int:
        """Different evaluations so far, of this run's processes together: what is asked again counts once."""
        return len(self.known)

    @property
    def found(self) -> int:
        """Of these, those that needed no trace."""
        return len(self.known.keys() - self.traced)

    def evaluate(self, jobs: Sequence[Job]) -> list[Evaluation]:
        return self.submit(jobs).collect()

    def submit(self, jobs: Sequence[Job]) -> Pending:
        [answers] = self._submit([jobs])
        return answers

    def submit_each(self, jobs: Sequence[Job]) -> Sequence[Pending]:
        return self._submit([[job] for job in jobs])

    def wait(self, pending: Sequence[Pending]) -> None:
        self.pool.wait(pending)

    def _submit(self, groups: Sequence[Sequence[Job]]) -> list[_Answers]:
        """One lookup and one submission for all groups."""
        keyed = [[(self._store.key(job), job) for job in group] for group in groups]
        asked = list(chain.from_iterable(keyed))
        stored = self._find(dict(asked))
        missing: dict[bytes, Job] = {}
        for key, job in asked:
            if job.keep_svg or key not in stored or through_gate(stored[key], job) is None:
                missing[key] = _both(missing[key], job) if key in missing else job
        self.traced |= missing.keys()
        tickets = dict(zip(missing, self.pool.submit_each(list(missing.values())), strict=True))
        return [_Answers(self, group, stored, tickets) for group in keyed]

    def answers(
        self, keyed: Sequence[KeyAndJob], stored: Mapping[bytes, Evaluation], fresh: Mapping[bytes, Evaluation]
    ) -> list[Evaluation]:
        """What a worker would have said of each job."""
        return [self._answer(key, job, fresh.get(key) or stored[key]) for key, job in keyed]

    def _answer(self, key: bytes, job: Job, evaluation: Evaluation) -> Evaluation:
        answer = through_gate(evaluation, job)
        assert answer is not None  # What the store could not tell was evaluated behind this gate or a wider one.
        if not isinstance(answer, Failed) or self._store.keeps(answer):
            self._note(key, known_of(answer))
        return answer if answer.params == job.params else replace(answer, params=job.params)

    def note_in(self, ledger: Ledger) -> None:
        """Requests from now on are noted there too, and `export` has what was noted there before a kill.

        The first ledger also gets what was requested before there was one.
        """
        earlier = dict(self.known) if self._ledger is None else {}
        self._ledger = None  # That of the run before is closed.
        for key, known, traced in ledger.noted():
            self._note(key, known)
            if traced:
                self.traced.add(key)
            if known >= earlier.get(key, 0):
                earlier.pop(key, None)
        self._ledger = ledger
        for key, known in earlier.items():
            ledger.note(key, known, traced=key in self.traced)

    def forget(self) -> None:
        """As if nothing had been requested: the next run's requests are counted and exported alone."""
        self.known.clear()
        self.traced.clear()

    def _note(self, key: bytes, known: int) -> None:
        if known > self.known.get(key, -1):
            self.known[key] = known
            if self._ledger is not None:
                self._ledger.note(key, known, traced=key in self.traced)

    def export(self, path: Path) -> int:
        """Every request so far as one Parquet table, whole or absent; returns its number of rows.

        In the order of the keys: searches go on as their traces are done, so that of asking differs from run to run.
        Failures that another run might not meet are not in it. Raises StorageError.
        """
        try:
            count = _write_parquet(path, self._store.rows(dict(sorted(self.known.items()))))
        except sqlite3.Error as error:
            raise StorageError(f"{self._store.path}: cannot be read ({error}); delete it and run again") from error
        if count < len(self.known):
            _log.warning("%s: %d evaluations were not kept and are missing", path, len(self.known) - count)
        return count

    def summary(self) -> EvaluationTotals:
        """How much was requested and found, what failed, and whether another run must come to the same bits."""
        return EvaluationTotals(
            asked=self.asked,
            found=self.found,
            failures=dict(sorted(self.pool.failures.items())),
            bit_comparable=not self.pool.accidents,
            versions=dict(self.pool.versions),
        )

    def _find(self, jobs: Mapping[bytes, Job]) -> dict[bytes, Evaluation]:
        try:
            return {} if self._broken else self._store.find(jobs)
        except sqlite3.Error as error:
            self._give_up(error)
            return {}

    def keep(self, fresh: Mapping[bytes, Evaluation]) -> None:
        try:
            if fresh and not self._broken:
                self._store.keep(fresh)
        except sqlite3.Error as error:
            self._give_up(error)

    def _give_up(self, error: sqlite3.Error) -> None:
        self._broken = True
        _log.warning("%s: %s; evaluations are no longer kept in this run", self._store.path, error)


class Ledger:
    """The keys that a run requested, in a file that is only appended to; use it with `with`.

    Records that do not fit on the disk wait in memory, with a warning, and are written with the next. Raises
    StorageError when the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting = b""
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)
            self._file.truncate(path.stat().st_size // _RECORD_BYTES * _RECORD_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def note(self, key: bytes, known: int, *, traced: bool) -> None:
        """known: as `known_of` gives it."""
        record = key + bytes([known | traced * _TRACED])
        is_first = not self._waiting
        self._waiting += record + zlib.crc32(record).to_bytes(4)
        try:
            append_whole(self._file, self._waiting)
        except OSError as error:
            if is_first:
                _log.warning("%s: cannot be written (%s); it waits for room", self._path, error.strerror)
            return
        self._waiting = b""

    def noted(self) -> list[tuple[bytes, int, bool]]:
        """As `note` was called, as far as it was written; damaged records are a warning and left out."""
        with writing(self._path):
            sound, damaged = read_ledger(self._path)
        if damaged:
            _log.warning("%s: %d damaged records are left out, and may be missing in the table", self._path, damaged)
        return sound


def read_ledger(path: Path) -> tuple[list[tuple[bytes, int, bool]], int]:
    """What was noted, and the number of damaged records. Raises OSError."""
    content = path.read_bytes()
    whole_bytes = len(content) // _RECORD_BYTES * _RECORD_BYTES
    records = [content[i : i + _RECORD_BYTES] for i in range(0, whole_bytes, _RECORD_BYTES)]
    sound = [r for r in records if zlib.crc32(r[:-4]).to_bytes(4) == r[-4:]]
    noted = [(r[:KEY_BYTES], r[KEY_BYTES] & ~_TRACED, bool(r[KEY_BYTES] & _TRACED)) for r in sound]
    return noted, len(records) - len(sound)


class _Answers:
    """Answers of a StoredEvaluator, some of which are still being traced: those with a ticket."""

    def __init__(
        self,
        evaluator: StoredEvaluator,
        keyed: Sequence[KeyAndJob],
        stored: Mapping[bytes, Evaluation],
        tickets: Mapping[bytes, Pending],
    ) -> None:
        self._evaluator, self._keyed, self._stored = evaluator, keyed, stored
        self._tickets = {key: tickets[key] for key, _ in keyed if key in tickets}
        self._answers: list[Evaluation] | None = None

    @property
    def done(self) -> bool:
        return all(ticket.done for ticket in self._tickets.values())

    def collect(self) -> list[Evaluation]:
        if self._answers is None:
            self._answers = self._evaluator.answers(self._keyed, self._stored, self._collect())
        return self._answers

    def _collect(self) -> dict[bytes, Evaluation]:
        """What was traced, kept as it comes: a batch may take minutes, and what ends the wait may end the process."""
        fresh: dict[bytes, Evaluation] = {}
        unkept: dict[bytes, Evaluation] = {}
        try:
            for key, ticket in self._tickets.items():
                unkept[key] = ticket.collect()[0]
                if len(unkept) == _KEPT_AT_ONCE:
                    self._evaluator.keep(unkept)
                    fresh |= unkept
                    unkept = {}
        finally:
            self._evaluator.keep(unkept)
        return fresh | unkept


@contextmanager
def stored_pool(
    root: Path, settings: ComputeSettings, background: str, *, check_stop: Callable[[], None] = lambda: None
) -> Iterator[StoredEvaluator]:
    """A pool with the project's store in front of it, as params.yaml asks for them."""
    with (
        pool_from_settings(settings, background, check_stop=check_stop) as pool,
        EvaluationStore(root / os.environ.get(STORE_VARIABLE, STORE), settings.store_bytes, pool.versions) as store,
    ):
        yield StoredEvaluator(pool, store)


def through_gate(evaluation: Evaluation, job: Job) -> Evaluation | None:
    """What a worker would have said of this job; None when too little is known."""
    if isinstance(evaluation, Failed):
        return evaluation
    measured = evaluation.scores if isinstance(evaluation, Scored) else evaluation
    size, damage, gate = measured.svg_bytes, measured.damage, job.gate
    lost = Pruned(evaluation.digest, evaluation.params, size, None, evaluation.seconds)
    if size > gate.max_bytes:
        return lost
    if damage is None or damage > gate.max_damage:
        return None if damage is None else replace(lost, damage=damage)
    if not isinstance(evaluation, Scored) or (job.metrics and evaluation.scores.metrics is None):
        return None
    return evaluation if job.metrics else replace(evaluation, scores=replace(evaluation.scores, metrics=None))


def _both(first: Job, second: Job) -> Job:
    """One job that answers two of the same key."""
    gate = Gate(max(first.gate.max_bytes, second.gate.max_bytes), max(first.gate.max_damage, second.gate.max_damage))
    return replace(
        first, gate=gate, keep_svg=first.keep_svg or second.keep_svg, metrics=first.metrics or second.metrics
    )


def _write_parquet(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = iter(rows)
    count = 0
    with (
        whole(path) as temporary,
        pq.ParquetWriter(temporary, _parquet_schema(), write_page_checksum=True) as writer,
    ):
        while piece := list(islice(rows, _ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(piece, schema=writer.schema))
            count += len(piece)
    return count


def _parquet_schema() -> Any:
    """digest and versions: text. Parameters and scores: as their records type them; what was not measured is null."""
    import pyarrow as pa

    types = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    columns = [("digest", pa.string())]
    columns += [(name, types[type(getattr(DEFAULT_PARAMS, name))]) for name in PARAM_NAMES]
    columns += [("failure", pa.string())]
    columns += [(name, pa.int64() if name in _WHOLE_SCORES else pa.float64()) for name in SCORE_NAMES]
    columns += [(name, pa.string()) for name in ("tracer", "rasteriser", "pillow", "opencv", "scores", "background")]
    return pa.schema(columns)
