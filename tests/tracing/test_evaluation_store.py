"""What is in the store is what a worker would have said, whoever else writes to it and whatever happens to the file."""

from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import StorageError
from pipeline.core.records import (
    DEFAULT_PARAMS,
    EVERYTHING,
    Evaluation,
    Failed,
    Gate,
    Job,
    Logo,
    Pruned,
    Scored,
    TracerParams,
)
from pipeline.tracing.evaluation_store import EvaluationStore, damaged_rows
from pipeline.tracing.store_pool import Ledger, StoredEvaluator, read_ledger, through_gate
from pipeline.tracing.tracer_pool import TracerPool
from tests.support.fakes import metrics, rgba_of, scores
from tests.support.full_disk import nearly_full

MEGABYTES = 100_000_000
VERSIONS = {"tracer": "vtracer 1", "background": "#ffffff"}
LOGO = Logo.of("logo", rgba_of(1), "simple")
JOB = Job(LOGO, DEFAULT_PARAMS)
SCORED = Scored(LOGO.digest, DEFAULT_PARAMS, scores(damage=1 / 3, delta=0.1 + 0.2), 0.25)
WHOLE = replace(SCORED, scores=replace(SCORED.scores, metrics=metrics(ssim=1 / 3)))


def lost(size: int = 1000, damage: float | None = None) -> Pruned:
    return Pruned(LOGO.digest, DEFAULT_PARAMS, size, damage, 0.25)


def failed(kind: str) -> Failed:
    return Failed(LOGO.digest, DEFAULT_PARAMS, kind, "why", 0.25)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EvaluationStore]:
    with EvaluationStore(tmp_path / "store.sqlite", MEGABYTES, VERSIONS) as opened:
        yield opened


def kept(store: EvaluationStore, job: Job = JOB) -> Evaluation | None:
    return store.find({store.key(job): job}).get(store.key(job))


@pytest.mark.parametrize("evaluation", [WHOLE, SCORED, lost(), lost(damage=50.5), failed("panic"), failed("empty")])
def test_what_is_kept_is_found_again_by_another_process(tmp_path: Path, evaluation: Evaluation) -> None:
    for _ in range(2):
        with EvaluationStore(tmp_path / "store.sqlite", MEGABYTES, VERSIONS) as store:
            assert kept(store) in (None, evaluation)
            store.keep({store.key(JOB): evaluation})
    assert len(list(tmp_path.glob("*.damaged*"))) == 0


@pytest.mark.parametrize("kind", ["died", "timeout", "memory", "unrenderable", "invalid"])
def test_what_another_run_might_not_meet_is_not_kept(store: EvaluationStore, kind: str) -> None:
    store.keep({store.key(JOB): failed(kind)})
    assert kept(store) is None
    assert len(store) == 0


BY_HOW_FAR: list[Evaluation] = [lost(), lost(damage=9.5), SCORED, WHOLE]


@pytest.mark.parametrize("first", BY_HOW_FAR)
@pytest.mark.parametrize("second", BY_HOW_FAR)
def test_the_one_measured_further_stays(store: EvaluationStore, first: Evaluation, second: Evaluation) -> None:
    store.keep({store.key(JOB): first})
    store.keep({store.key(JOB): second})
    assert kept(store) == max(first, second, key=BY_HOW_FAR.index)


def test_a_key_is_the_image_the_active_parameters_and_the_versions(tmp_path: Path, store: EvaluationStore) -> None:
    other = Logo.of("other", rgba_of(2), "simple")
    polygon = replace(DEFAULT_PARAMS, mode="polygon")
    different = [JOB, Job(other, DEFAULT_PARAMS), Job(LOGO, polygon), Job(LOGO, replace(DEFAULT_PARAMS, palette=2))]
    assert len({store.key(job) for job in different}) == len(different)
    assert store.key(Job(LOGO, polygon)) == store.key(Job(LOGO, replace(polygon, corner_threshold=7)))
    assert store.key(JOB) == store.key(Job(Logo.of("same pixels", LOGO.rgba, "text"), DEFAULT_PARAMS, Gate(5)))
    with EvaluationStore(tmp_path / "store.sqlite", MEGABYTES, VERSIONS | {"tracer": "vtracer 2"}) as newer:
        assert newer.key(JOB) != store.key(JOB)


gates = st.builds(Gate, st.floats(0, 2500) | st.just(math.inf), st.floats(0, 60) | st.just(math.inf))
asked_for = st.builds(lambda gate, metrics: Job(LOGO, DEFAULT_PARAMS, gate, metrics=metrics), gates, st.booleans())


@given(st.integers(1, 2000), st.floats(0, 50), asked_for, asked_for)
def test_the_store_says_what_a_worker_would_or_nothing(size: int, damage: float, seen: Job, asked: Job) -> None:
    """Whatever an evaluation was made for, and whatever is asked."""
    whole = replace(WHOLE, scores=replace(WHOLE.scores, svg_bytes=size, damage=damage))

    def by_worker(job: Job) -> Evaluation:
        if size > job.gate.max_bytes:
            return lost(size)
        if damage > job.gate.max_damage:
            return lost(size, damage)
        return whole if job.metrics else replace(whole, scores=replace(whole.scores, metrics=None))

    told = through_gate(by_worker(seen), asked)
    assert told is None or told == by_worker(asked)
    wider = seen.gate.max_bytes >= asked.gate.max_bytes and seen.gate.max_damage >= asked.gate.max_damage
    if wider and seen.metrics >= asked.metrics:
        assert told is not None
    assert through_gate(whole, asked) == by_worker(asked)


def test_the_size_is_bounded_and_the_oldest_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, small = tmp_path / "store.sqlite", 120_000
    jobs = [
        Job(LOGO, replace(DEFAULT_PARAMS, corner_threshold=i % 180, splice_threshold=i // 180)) for i in range(1000)
    ]

    def evaluations(store: EvaluationStore, some: list[Job]) -> dict[bytes, Evaluation]:
        return {store.key(job): replace(SCORED, params=job.params) for job in some}

    with EvaluationStore(path, MEGABYTES, VERSIONS) as store:
        store.keep(evaluations(store, jobs))
    tomorrow = time.time() + 86_400
    monkeypatch.setattr(time, "time", lambda: tomorrow)
    with EvaluationStore(path, small, VERSIONS) as store:
        assert store.used_bytes > small
        recent = {store.key(job): job for job in jobs[300:350]}
        store.find(recent)
    with EvaluationStore(path, small, VERSIONS) as store:
        assert store.used_bytes <= small
        assert 50 < len(store) < 1000
        assert len(store.find(recent)) == 50
    assert path.stat().st_size < 1.5 * small


def test_a_file_that_is_no_store_is_moved_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"no database at all" * 500)
    with EvaluationStore(path, MEGABYTES, VERSIONS) as store:
        store.keep({store.key(JOB): SCORED})
        assert kept(store) == SCORED
    [aside] = tmp_path.glob("*.damaged-*")
    assert aside.read_bytes().startswith(b"no database at all")
    assert aside.name in caplog.text


@pytest.mark.parametrize("column", ["damage", "svg_bytes", "ssim", "params", "known", "failure", "digest", "seconds"])
def test_a_damaged_row_is_dropped_named_and_made_again(
    store: EvaluationStore, tmp_path: Path, column: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = Job(LOGO, SETTINGS[1])
    store.keep({store.key(JOB): WHOLE, store.key(other): replace(SCORED, params=other.params)})
    changed = {"params": "'[]'", "digest": "x'00'", "failure": "'panic'", "known": "2"}.get(column, f"{column} + 1e-9")
    store._connection.execute(f"UPDATE evaluations SET {column} = {changed} WHERE key = ?", (store.key(JOB),))
    assert damaged_rows(tmp_path / "store.sqlite") == (2, 1)
    assert kept(store) is None
    assert kept(store, other) is not None
    assert (store.damaged, damaged_rows(tmp_path / "store.sqlite")) == (1, (1, 0))
    assert "1 damaged evaluations were dropped" in caplog.text
    store.keep({store.key(JOB): WHOLE})
    assert kept(store) == WHOLE


def test_a_damaged_record_of_the_ledger_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "asked.bin"
    with Ledger(path) as ledger:
        for number in range(3):
            ledger.note(bytes([number]) * 16, number, traced=number == 1)
        content = path.read_bytes()
        for bit in range(len(content) // 3 * 8, len(content) // 3 * 16):
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            assert read_ledger(path) == ([(bytes(16), 0, False), (bytes([2]) * 16, 2, False)], 1)


def test_a_ledger_on_a_full_disk_waits_and_keeps_whole_records(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "asked.bin"
    with Ledger(path) as ledger:
        ledger.note(bytes(16), 0, traced=True)
        with nearly_full(path):
            ledger.note(bytes(16), 1, traced=True)
            ledger.note(bytes(16), 2, traced=True)
            assert [known for _, known, _ in ledger.noted()] == [0]
        ledger.note(bytes(16), 3, traced=True)
        assert [known for _, known, _ in ledger.noted()] == [0, 1, 2, 3]
    assert caplog.text.count("it waits for room") == 1


def test_a_store_of_another_format_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with EvaluationStore(path, MEGABYTES, VERSIONS) as store:
        assert len(store) == 0
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1


def test_a_folder_that_cannot_be_written_is_an_error_with_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file"):
        EvaluationStore(tmp_path / "file" / "store.sqlite", MEGABYTES, VERSIONS)


WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from pipeline.core.records import DEFAULT_PARAMS, Job, Logo, Pruned
from pipeline.tracing.evaluation_store import EvaluationStore, damaged_rows
logo = Logo.of("logo", np.zeros((4, 4, 4), np.uint8), "simple")
first = int(sys.argv[2])
with EvaluationStore(Path(sys.argv[1]), 100_000_000, {"tracer": "vtracer 1"}) as store:
    for i in range(first, first + 180):
        job = Job(logo, replace(DEFAULT_PARAMS, corner_threshold=i % 180, splice_threshold=i // 180))
        store.keep({store.key(job): Pruned(logo.digest, job.params, 1000, None, 0.1)})
"""


def test_several_processes_write_at_once_from_the_first_moment_on(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    starts = [0, 90, 360, 540]  # Two of them write the same.
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(first)]) for first in starts]
    assert [writer.wait(timeout=60) for writer in writers] == [0] * 4
    with EvaluationStore(path, MEGABYTES, VERSIONS) as store:
        assert len(store) == 270 + 180 + 180


SETTINGS = [DEFAULT_PARAMS, TracerParams(mode="polygon"), TracerParams(mode="polygon", corner_threshold=9)]


@pytest.fixture
def counted(pool: TracerPool) -> Callable[[], int]:
    start = pool.evaluations
    return lambda: pool.evaluations - start


def test_results_are_those_of_the_pool(
    store: EvaluationStore, pool: TracerPool, logo: Logo, counted: Callable[[], int]
) -> None:
    gates = [EVERYTHING, Gate(max_bytes=10), Gate(max_damage=0.0)]
    jobs = [Job(logo, params, gate) for gate in gates for params in SETTINGS]
    expected = [replace(e, seconds=0) for e in pool.evaluate(jobs)]
    evaluator = StoredEvaluator(pool, store)
    before = counted()
    for _ in range(2):
        assert [replace(e, seconds=0) for e in evaluator.evaluate(jobs)] == expected
    assert counted() - before == 2  # Two different pictures; the third's parameter acts in spline mode only.
    assert (evaluator.asked, evaluator.found) == (2, 0), "each picture is counted once"


def test_a_wider_gate_is_traced_again_and_then_known(
    store: EvaluationStore, pool: TracerPool, logo: Logo, counted: Callable[[], int]
) -> None:
    evaluator = StoredEvaluator(pool, store)
    for gate, traced in ((Gate(max_bytes=1), 1), (Gate(max_bytes=2), 1), (EVERYTHING, 2), (Gate(max_bytes=1), 2)):
        [evaluation] = evaluator.evaluate([Job(logo, DEFAULT_PARAMS, gate)])
        assert isinstance(evaluation, Scored if gate is EVERYTHING else Pruned)
        assert counted() == traced


def test_metrics_that_were_not_measured_are_measured_once_and_only_where_they_are_wanted(
    store: EvaluationStore, pool: TracerPool, logo: Logo, counted: Callable[[], int]
) -> None:
    evaluator = StoredEvaluator(pool, store)
    for wanted, traced in ((False, 1), (True, 2), (True, 2), (False, 2)):
        [evaluation] = evaluator.evaluate([Job(logo, DEFAULT_PARAMS, metrics=wanted)])
        assert isinstance(evaluation, Scored)
        assert (evaluation.scores.metrics is not None) == wanted
        assert counted() == traced


def test_two_that_want_different_things_of_one_picture_are_one_trace(
    store: EvaluationStore, pool: TracerPool, logo: Logo, counted: Callable[[], int]
) -> None:
    asked = [
        Job(logo, DEFAULT_PARAMS, Gate(max_bytes=1)),
        Job(logo, DEFAULT_PARAMS, metrics=True),
        Job(logo, DEFAULT_PARAMS, keep_svg=True),
    ]
    small, measured, drawn = StoredEvaluator(pool, store).evaluate(asked)
    assert counted() == 1
    assert isinstance(small, Pruned)
    assert isinstance(measured, Scored)
    assert isinstance(drawn, Scored)
    assert measured.scores.metrics is not None
    assert drawn.scores.metrics is None
    assert drawn.svg is not None


def test_an_svg_that_is_wanted_is_always_there(store: EvaluationStore, pool: TracerPool, logo: Logo) -> None:
    evaluator = StoredEvaluator(pool, store)
    for _ in range(2):
        [evaluation] = evaluator.evaluate([Job(logo, DEFAULT_PARAMS, keep_svg=True)])
        assert isinstance(evaluation, Scored)
        assert evaluation.svg


def test_bad_parameters_are_refused_as_by_the_pool(store: EvaluationStore, pool: TracerPool, logo: Logo) -> None:
    bad = replace(DEFAULT_PARAMS, color_precision=9)
    for _ in range(2):
        [evaluation] = StoredEvaluator(pool, store).evaluate([Job(logo, bad)])
        assert isinstance(evaluation, Failed)
        assert evaluation.kind == "invalid"


def test_a_store_that_fails_costs_a_warning_only(
    store: EvaluationStore, pool: TracerPool, logo: Logo, caplog: pytest.LogCaptureFixture
) -> None:
    evaluator = StoredEvaluator(pool, store)
    jobs = [Job(logo, params) for params in SETTINGS]
    expected = [replace(e, seconds=0) for e in evaluator.evaluate(jobs)]
    store._connection.close()
    for _ in range(2):
        assert [replace(e, seconds=0) for e in evaluator.evaluate(jobs)] == expected
    assert caplog.text.count("no longer kept") == 1


def test_the_table_holds_what_was_asked_for_however_warm_the_store(
    tmp_path: Path, store: EvaluationStore, pool: TracerPool, logo: Logo
) -> None:
    import pyarrow.parquet as pq

    jobs = [Job(logo, SETTINGS[1], Gate(max_bytes=1)), Job(logo, DEFAULT_PARAMS), Job(logo, SETTINGS[1])]
    tables = []
    for name, asked in (("cold", jobs[:2]), ("warmer", jobs), ("warm", jobs[:2])):
        evaluator = StoredEvaluator(pool, store)
        evaluator.evaluate(asked)
        assert evaluator.export(tmp_path / f"{name}.parquet") == 2
        tables.append(pq.read_table(tmp_path / f"{name}.parquet"))
    assert tables[0] == tables[2]
    polygon, spline = sorted(tables[0].to_pylist(), key=lambda row: str(row["mode"]))
    assert (polygon["mode"], spline["mode"]) == ("polygon", "spline")
    assert (polygon["svg_bytes"] > 1, polygon["damage"], polygon["ssim"]) == (True, None, None)
    assert (spline["damage"] >= 0, spline["delta"] > 0, spline["ssim"]) == (True, True, None)
    assert polygon["traced_bytes"] is None
    assert spline["traced_bytes"] > spline["svg_bytes"]
    assert spline["digest"] == logo.digest
    assert spline["tracer"].startswith("vtracer")
    assert None not in tables[1].column("damage").to_pylist()
    backwards = StoredEvaluator(pool, store)
    backwards.evaluate(jobs[1::-1])
    backwards.export(tmp_path / "backwards.parquet")
    assert (tmp_path / "backwards.parquet").read_bytes() == (tmp_path / "warm.parquet").read_bytes()


def test_what_a_killed_run_asked_for_is_counted_once(
    tmp_path: Path, store: EvaluationStore, pool: TracerPool, logo: Logo
) -> None:
    before, after = [Job(logo, SETTINGS[0])], [Job(logo, params) for params in SETTINGS[:2]]
    for _ in range(2):  # the process that is killed, and the one that goes on and replays its steps
        evaluator = StoredEvaluator(pool, store)
        evaluator.evaluate(before)
        with Ledger(tmp_path / "asked.bin") as ledger:
            evaluator.note_in(ledger)
            evaluator.evaluate(after)
            assert (evaluator.asked, evaluator.found) == (2, 0)
    another = StoredEvaluator(pool, store)
    another.evaluate(after)
    assert (another.asked, another.found) == (2, 2), "what another run traced was found"


def test_what_was_noted_before_a_kill_is_not_noted_in_the_ledger_of_another_run(
    tmp_path: Path, store: EvaluationStore, pool: TracerPool, logo: Logo
) -> None:
    """A tuning worker that goes on with the trial of another has closed the ledger of its own last one."""
    evaluator = StoredEvaluator(pool, store)
    with Ledger(tmp_path / "left.bin") as left:
        evaluator.note_in(left)
        evaluator.evaluate([Job(logo, DEFAULT_PARAMS)])
    with Ledger(tmp_path / "own.bin") as own:
        evaluator.note_in(own)
    evaluator.forget()
    with Ledger(tmp_path / "left.bin") as left:
        evaluator.note_in(left)
        evaluator.evaluate([Job(logo, SETTINGS[1])])
        assert len(left.noted()) == 2
    assert (tmp_path / "own.bin").read_bytes() == b""
