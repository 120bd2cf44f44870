"""Every evaluation that was made, so that none is made twice: one SQLite file that several processes may share.

A row belongs to an image (by the digest of its pixels), a setting (with what is inactive left out) and the versions of
all that decides the outcome; its key is a digest of them. It holds scores and no SVG: a picture that is wanted again is
traced again. Each row has a checksum, since SQLite has none: one bit of a score can decide which model is kept.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
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
FORMAT = 3
_BUSY_SECONDS = 20.0
KEY_BYTES = 16
_WAL_PAGES = 4000  # 16 MB between checkpoints, each of which waits for the disk
_DAY_SECONDS = 86_400
_FILL_RATIO = 0.8  # of the size allowed, after rows were thrown out
_AT_ONCE = 500

SIZE_KNOWN, DAMAGE_KNOWN, SCORES_KNOWN, ALL_KNOWN = range(4)
"""How far an evaluation was measured; a failure is all there is to know."""

_TABLES = (
    "CREATE TABLE evaluations (id INTEGER PRIMARY KEY, key BLOB UNIQUE, digest BLOB, params TEXT, known INTEGER, "
    f"failure TEXT, detail TEXT, {', '.join(SCORE_NAMES)}, seconds REAL, checksum INTEGER, used_day INTEGER)",
    f"PRAGMA user_version = {FORMAT}",
)
_MEASURED = ("key", "digest", "params", "known", "failure", "detail", *SCORE_NAMES, "seconds")
_COLUMNS = (*_MEASURED, "checksum", "used_day")
_PUT = (
    f"INSERT INTO evaluations ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) "
    f"ON CONFLICT (key) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in _COLUMNS[3:])} "
    "WHERE excluded.known > evaluations.known"
)
_EVERY = f"SELECT {', '.join(_COLUMNS)} FROM evaluations"

_log = logging.getLogger(__name__)
_values = attrgetter(*PARAM_NAMES)


class EvaluationStore:
    """Use it with `with`, from one thread; other processes may have the same file open.

    path: made with its folder where it is missing. A file that is no store of this format is moved aside. max_bytes:
    about how large the file may grow; what was used longest ago goes first. versions: see TracerPool.versions.
    damaged: rows that were not what was written; each is a warning and dropped, so that it is evaluated again.
    Raises StorageError when the file cannot be opened.
    """

    def __init__(self, path: Path, max_bytes: int, versions: Mapping[str, str]) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._versions = dict(versions)
        self._prefix = json.dumps(versions, sort_keys=True).encode()
        self._connection = _open(path)
        self.damaged = 0
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
            for key, row, used_day in self._sound_rows(keys):
                found[key] = _evaluation(jobs[key], row)
                if used_day != self._today:
                    stale.append(key)
        if stale:
            with _transaction(self._connection):
                touched = [(self._today, key) for key in stale]
                self._connection.executemany("UPDATE evaluations SET used_day = ? WHERE key = ?", touched)
        return found

    def _sound_rows(self, keys: Sequence[bytes]) -> list[tuple[bytes, Sequence[Any], int]]:
        """Key, values of _MEASURED, day of use. What is damaged is dropped."""
        rows = self._connection.execute(f"{_EVERY} WHERE key IN ({', '.join('?' * len(keys))})", keys).fetchall()
        sound = [(row[0], row[:-2], row[-1]) for row in rows if is_sound(row)]
        if len(sound) < len(rows):
            self.damaged += len(rows) - len(sound)
            _log.warning(
                "%s: %d damaged evaluations were dropped and are made again; run `tracewright doctor`",
                self.path,
                len(rows) - len(sound),
            )
            with _transaction(self._connection):
                dropped = [(row[0],) for row in rows if not is_sound(row)]
                self._connection.executemany("DELETE FROM evaluations WHERE key = ?", dropped)
        return sound

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
        for keys in _in_pieces(list(known)):
            found = {key: row for key, row, _ in self._sound_rows(keys)}
            for key in keys:
                if key in found:
                    yield _flat(found[key], known[key], self._versions)

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
        what = (key, bytes.fromhex(evaluation.digest), params, known_of(evaluation), failure, detail)
        measured = (*what, *scores, evaluation.seconds)
        return (*measured, _checksum(measured), self._today)

    def _evict(self) -> None:
        if self.used_bytes <= self._max_bytes:
            return
        oldest = "DELETE FROM evaluations WHERE id IN (SELECT id FROM evaluations ORDER BY used_day, id LIMIT ?)"
        while self.used_bytes > _FILL_RATIO * self._max_bytes and (count := len(self)):
            with _transaction(self._connection):  # A page is free only once all its rows are gone, hence the loop.
                self._connection.execute(oldest, (count // 10 + 1,))
        self._connection.executescript("PRAGMA incremental_vacuum")  # execute() would free a single page
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _checksum(measured: Sequence[Any]) -> int:
    return zlib.crc32(json.dumps(measured, default=bytes.hex).encode())


def is_sound(row: Sequence[Any]) -> bool:
    """Whether a row, as `_EVERY` gives it, is what was written."""
    *measured, checksum, _ = row
    return bool(checksum == _checksum(measured))


def damaged_rows(path: Path) -> tuple[int, int]:
    """How many rows a store has, and how many of them are damaged; nothing is changed. Raises sqlite3.Error."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        sound = Counter(is_sound(row) for row in connection.execute(_EVERY))
    return sound.total(), sound[False]


def known_of(evaluation: Evaluation) -> int:
    if isinstance(evaluation, Pruned):
        return SIZE_KNOWN if evaluation.damage is None else DAMAGE_KNOWN
    return SCORES_KNOWN if isinstance(evaluation, Scored) and evaluation.scores.metrics is None else ALL_KNOWN


def _evaluation(job: Job, row: Sequence[Any]) -> Evaluation:
    _, _, _, known, failure, detail, *scores, seconds = row
    if failure is not None:
        return Failed(job.logo.digest, job.params, failure, detail, seconds)
    values = dict(zip(SCORE_NAMES, scores, strict=True))
    if known < SCORES_KNOWN:
        return Pruned(job.logo.digest, job.params, values["svg_bytes"], values["damage"], seconds)
    metrics = Metrics(**{name: values[name] for name in _METRIC_NAMES}) if known == ALL_KNOWN else None
    own = Scores(**{name: values[name] for name in _OWN_NAMES}, metrics=metrics)
    return Scored(job.logo.digest, job.params, own, seconds)


def _flat(row: Sequence[Any], known: int, versions: Mapping[str, str]) -> dict[str, Any]:
    _, digest, params, _, failure, _, *scores, _ = row
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
