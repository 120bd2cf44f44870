"""Every evaluation that was made, so that none is made twice: one SQLite file that several processes may share.

A row belongs to an image (by the digest of its pixels), a setting (with what is inactive left out) and the versions of
all that decides the outcome. It holds scores and no SVG: a picture that is wanted again is traced again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from operator import attrgetter
from pathlib import Path
from typing import Any, Self

from pipeline.core.errors import StorageError
from pipeline.core.records import PARAM_NAMES, Evaluation, Failed, FailureKind, Job, Metrics, Pruned, Scored, Scores
from pipeline.tracing.space import essential

KEPT_FAILURES: frozenset[FailureKind] = frozenset({"panic", "empty"})
"""Those that the setting alone is to blame for. Another may be met by chance, or only behind the gate."""

_OWN_NAMES = tuple(f.name for f in fields(Scores) if f.name != "metrics")
_METRIC_NAMES = tuple(f.name for f in fields(Metrics))
SCORE_NAMES = (*_OWN_NAMES, *_METRIC_NAMES)
FORMAT = 2
_BUSY_SECONDS = 20.0
KEY_BYTES = 16
_WAL_PAGES = 4000  # 16 MB between checkpoints, each of which waits for the disk
_DAY_SECONDS = 86_400
_FILL_RATIO = 0.8  # of the size allowed, after rows were thrown out
_AT_ONCE = 500

SIZE_KNOWN, DAMAGE_KNOWN, SCORES_KNOWN, ALL_KNOWN = range(4)
"""How far an evaluation was measured; a failure is all there is to know."""

_TABLES = (
    "CREATE TABLE versions (id INTEGER PRIMARY KEY, content TEXT UNIQUE)",
    "CREATE TABLE evaluations (id INTEGER PRIMARY KEY, key BLOB UNIQUE, version INTEGER, digest BLOB, params TEXT, "
    f"known INTEGER, failure TEXT, detail TEXT, {', '.join(SCORE_NAMES)}, seconds REAL, used_day INTEGER)",
    f"PRAGMA user_version = {FORMAT}",
)
_COLUMNS = ("key", "version", "digest", "params", "known", "failure", "detail", *SCORE_NAMES, "seconds", "used_day")
_PUT = (
    f"INSERT INTO evaluations ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) "
    f"ON CONFLICT (key) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in _COLUMNS[4:])} "
    "WHERE excluded.known > evaluations.known"
)
_FOUND = f"key, known, failure, detail, {', '.join(SCORE_NAMES)}, seconds, used_day"

_log = logging.getLogger(__name__)
_values = attrgetter(*PARAM_NAMES)


class EvaluationStore:
    """Use it with `with`, from one thread; other processes may have the same file open.

    path: made with its folder where it is missing. A file that is no store of this format is moved aside. max_bytes:
    about how large the file may grow; what was used longest ago goes first. versions: see TracerPool.versions.
    Raises StorageError when the file cannot be opened.
    """

    def __init__(self, path: Path, max_bytes: int, versions: Mapping[str, str]) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._prefix = json.dumps(versions, sort_keys=True).encode()
        self._connection = _open(path)
        self._version = self._version_id(self._prefix.decode())
        self._added = 0
        self._today = int(time.time()) // _DAY_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """May be called again."""
        with suppress(sqlite3.Error):
            self._evict()
        self._connection.close()

    def key(self, job: Job) -> bytes:
        """KEY_BYTES, equal for jobs whose results are equal but for their gates."""
        text = repr(_values(essential(job.params)))
        return hashlib.blake2b(self._prefix + job.logo.digest.encode() + text.encode(), digest_size=KEY_BYTES).digest()

    def find(self, jobs: Mapping[bytes, Job]) -> dict[bytes, Evaluation]:
        """What is known of jobs by their keys, as far as it was measured. Raises sqlite3.Error."""
        found: dict[bytes, Evaluation] = {}
        stale: list[bytes] = []
        for keys in _in_pieces(list(jobs)):
            query = f"SELECT {_FOUND} FROM evaluations WHERE key IN ({', '.join('?' * len(keys))})"
            for key, *row, used_day in self._connection.execute(query, keys):
                found[key] = _evaluation(jobs[key], row)
                if used_day != self._today:
                    stale.append(key)
        if stale:
            with _transaction(self._connection):
                touched = [(self._today, key) for key in stale]
                self._connection.executemany("UPDATE evaluations SET used_day = ? WHERE key = ?", touched)
        return found

    def keep(self, evaluations: Mapping[bytes, Evaluation]) -> None:
        """Add what may be kept of these; of two for one key the one measured further stays. Raises sqlite3.Error."""
        rows = [self._row(key, e) for key, e in evaluations.items() if self.keeps(e)]
        with _transaction(self._connection):
            self._connection.executemany(_PUT, rows)
        self._added += len(rows)
        if self._added > 10_000:
            self._added = 0
            self._evict()

    def keeps(self, evaluation: Evaluation) -> bool:
        """Whether this is kept: not a failure that another run might not meet."""
        return not isinstance(evaluation, Failed) or evaluation.kind in KEPT_FAILURES

    def rows(self, known: Mapping[bytes, int]) -> Iterator[dict[str, Any]]:
        """What is kept under these keys, in their order, no further than `known`, flat; seconds left out.

        A key that is not in the store any more is left out.
        """
        by_id = dict(self._connection.execute("SELECT id, content FROM versions"))
        for keys in _in_pieces(list(known)):
            query = f"SELECT {', '.join(_COLUMNS[:-2])} FROM evaluations WHERE key IN ({', '.join('?' * len(keys))})"
            found = {row[0]: row for row in self._connection.execute(query, keys)}
            for key in keys:
                if key in found:
                    yield _flat(found[key], known[key], json.loads(by_id[found[key][1]]))

    def __len__(self) -> int:
        count: int = self._connection.execute("SELECT count(*) FROM evaluations").fetchone()[0]
        return count

    @property
    def used_bytes(self) -> int:
        """Of the file's pages that hold something."""
        pages, free, size = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def _version_id(self, content: str) -> int:
        with _transaction(self._connection):
            self._connection.execute("INSERT OR IGNORE INTO versions (content) VALUES (?)", (content,))
        found = self._connection.execute("SELECT id FROM versions WHERE content = ?", (content,)).fetchone()
        return int(found[0])

    def _row(self, key: bytes, evaluation: Evaluation) -> tuple[Any, ...]:
        params = json.dumps(_values(essential(evaluation.params)))
        failure = detail = None
        match evaluation:
            case Scored():
                known = {f: getattr(evaluation.scores, f) for f in _OWN_NAMES}
                known |= asdict(evaluation.scores.metrics) if evaluation.scores.metrics else {}
                scores: tuple[Any, ...] = tuple(known.get(name) for name in SCORE_NAMES)
            case Pruned():
                known = {"svg_bytes": evaluation.svg_bytes, "damage": evaluation.damage}
                scores = tuple(known.get(name) for name in SCORE_NAMES)
            case Failed():
                failure, detail, scores = evaluation.kind, evaluation.detail, (None,) * len(SCORE_NAMES)
        what = (key, self._version, bytes.fromhex(evaluation.digest), params, known_of(evaluation), failure, detail)
        return (*what, *scores, evaluation.seconds, self._today)

    def _evict(self) -> None:
        if self.used_bytes <= self._max_bytes:
            return
        oldest = "DELETE FROM evaluations WHERE id IN (SELECT id FROM evaluations ORDER BY used_day, id LIMIT ?)"
        while self.used_bytes > _FILL_RATIO * self._max_bytes and (count := len(self)):
            with _transaction(self._connection):  # A page is free only once all its rows are gone, hence the loop.
                self._connection.execute(oldest, (count // 10 + 1,))
        self._connection.executescript("PRAGMA incremental_vacuum")  # execute() would free a single page
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def known_of(evaluation: Evaluation) -> int:
    if isinstance(evaluation, Pruned):
        return SIZE_KNOWN if evaluation.damage is None else DAMAGE_KNOWN
    return SCORES_KNOWN if isinstance(evaluation, Scored) and evaluation.scores.metrics is None else ALL_KNOWN


def _evaluation(job: Job, row: Sequence[Any]) -> Evaluation:
    known, failure, detail, *scores, seconds = row
    if failure is not None:
        return Failed(job.logo.digest, job.params, failure, detail, seconds)
    values = dict(zip(SCORE_NAMES, scores, strict=True))
    if known < SCORES_KNOWN:
        return Pruned(job.logo.digest, job.params, values["svg_bytes"], values["damage"], seconds)
    metrics = Metrics(**{name: values[name] for name in _METRIC_NAMES}) if known == ALL_KNOWN else None
    own = Scores(**{name: values[name] for name in _OWN_NAMES}, metrics=metrics)
    return Scored(job.logo.digest, job.params, own, seconds)


def _flat(row: Sequence[Any], known: int, versions: Mapping[str, str]) -> dict[str, Any]:
    _, _, digest, params, _, failure, _, *scores = row
    shown = {
        SIZE_KNOWN: ("svg_bytes",),
        DAMAGE_KNOWN: ("svg_bytes", "damage"),
        SCORES_KNOWN: _OWN_NAMES,
        ALL_KNOWN: SCORE_NAMES,
    }[known]
    values = {name: value if name in shown else None for name, value in zip(SCORE_NAMES, scores, strict=True)}
    named = dict(zip(PARAM_NAMES, json.loads(params), strict=True))
    return {"digest": digest.hex(), **named, "failure": failure, **values, **versions}


def _in_pieces(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (keys[i : i + _AT_ONCE] for i in range(0, len(keys), _AT_ONCE))


def _open(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _connect(path)
    except sqlite3.OperationalError as error:
        raise StorageError(f"{path}: cannot be opened ({error}); choose a folder you may write to") from error
    except sqlite3.DatabaseError as error:
        aside = path.with_suffix(f".damaged-{time.time_ns()}")
        path.rename(aside)
        _log.warning("%s: is no store of evaluations (%s); moved to %s, and a new one begun", path, error, aside.name)
        return _connect(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be opened ({error.strerror}); choose a folder you may write to") from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before anything is written, or it has no effect
        _enter_wal(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        with _transaction(connection):
            _make_tables(connection)
    except BaseException:  # a signal as well: the caller gets no connection to close
        connection.close()
        raise
    return connection


def _enter_wal(connection: sqlite3.Connection) -> None:
    """SQLite does not wait here for another process that is doing the same at this moment, so we do."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _make_tables(connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == FORMAT:
        return
    if version != 0:
        raise sqlite3.DatabaseError(f"its format is {version}, not {FORMAT}")
    for statement in _TABLES:
        connection.execute(statement)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:  # whatever ends the block, a signal as well, must end the transaction
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
