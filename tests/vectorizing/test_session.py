"""Whole runs with real shard processes, a few small images each."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.agent.agent import load_agent
from pipeline.core.errors import DataError, Mismatch, SettingsError, Unavailable
from pipeline.core.locks import Lock
from pipeline.tracing.tracer_pool import TracerPool
from pipeline.vectorizing.batch import VectorizeResult, find_sources, vectorize_files
from pipeline.vectorizing.inputs import Folders
from pipeline.vectorizing.plan import Plan, open_plan
from pipeline.vectorizing.request import Assignment, Request
from pipeline.vectorizing.session import LOCK, ShardCallback, vectorize_sharded
from pipeline.vectorizing.shard import ShardWorker
from pipeline.vectorizing.shard_pool import ShardProgress
from pipeline.vectorizing.table import SCHEMA, Tally, read_tally, tally_of, write_part
from tests.support.sharded_output import rows, svgs


class Recorder(ShardCallback):
    def __init__(self) -> None:
        self.plans: list[tuple[int, int]] = []
        self.done: list[ShardProgress] = []

    def on_plan(self, plan: Plan, done: int) -> None:
        self.plans.append((plan.shards, done))

    def on_progress(self, progress: ShardProgress) -> None:
        self.done.append(progress)


def request_of(output: Path, agent: Path, **changes: Any) -> Request:
    request = Request(output=output, agent=agent, objective=None, max_damage=None, traces=2, seed=0, shard_files=3)
    return replace(request, **changes)


def test_a_sharded_run_gives_what_vectorize_gives(images: Path, agent_folder: Path, tmp_path: Path) -> None:
    told = Recorder()
    tally = vectorize_sharded(request_of(tmp_path / "out", agent_folder), Folders([images]), told, workers=2)
    agent = load_agent(agent_folder)
    sources, _ = find_sources([images])
    with TracerPool(1, agent.timeout_seconds, agent.worker_memory_bytes, agent.background) as pool:
        expected = {r.path: r for r in vectorize_files(sources, tmp_path / "plain", agent, pool, traces=2)}
    found = rows(tmp_path / "out")
    assert found.keys() == expected.keys()
    for path, row in found.items():
        plain = asdict(expected[path])
        plain |= {name: json.dumps(plain[name]) if plain[name] else None for name in ("params", "curve")}
        assert row == {name: v for name, v in plain.items() if name != "seconds"}
    assert svgs(tmp_path / "out") == svgs(tmp_path / "plain")
    lines = [json.loads(line) for line in (tmp_path / "out/results.jsonl").read_text().splitlines()]
    assert {line["path"]: line | {"seconds": 0} for line in lines} == {
        path: asdict(result) | {"seconds": 0} for path, result in expected.items()
    }
    assert (tally.files, tally.failed, told.plans) == (7, 1, [(3, 0)])
    assert found["broken.png"]["error"].startswith("undecodable: ")
    assert sum(done.files for done in told.done) == 7
    assert sorted(done.shard for done in told.done if done.tally) == [0, 1, 2]
    summary = json.loads((tmp_path / "out/.sharded/results/summary.json").read_text())
    assert summary["files"] == 7
    assert summary["bytes_ratio"] == tally.bytes / tally.default_bytes


def test_it_goes_on_and_does_nothing_twice(images: Path, agent_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    request = request_of(output, agent_folder, traces=1)
    vectorize_sharded(request, Folders([images]), ShardCallback(), workers=1)
    before = rows(output)
    kept = (output / ".sharded/results/part-00000.parquet").stat().st_mtime_ns
    (output / ".sharded/results/part-00001.parquet").unlink()
    (images / "new.png").write_bytes((images / "0.png").read_bytes())
    told = Recorder()
    vectorize_sharded(request, Folders([images]), told, workers=1)
    assert told.plans == [(3, 2)]
    assert {done.shard for done in told.done} == {1}
    assert rows(output) == before, "and what came into the folder later is not in the plan"
    assert (output / ".sharded/results/part-00000.parquet").stat().st_mtime_ns == kept
    told = Recorder()
    vectorize_sharded(request, None, told)
    assert (told.plans, told.done) == ([(3, 3)], [])


def test_a_changed_or_deleted_file_is_that_files_failure(images: Path, agent_folder: Path, tmp_path: Path) -> None:
    request = request_of(tmp_path / "out", agent_folder, traces=1)
    vectorize_sharded(request, Folders([images]), ShardCallback(), workers=1)
    for part in (tmp_path / "out/.sharded/results").glob("part-*"):
        part.unlink()
    (images / "0.png").write_bytes((images / "2.png").read_bytes() + b" ")
    (images / "deep/1.png").unlink()
    tally = vectorize_sharded(request, None, ShardCallback(), workers=1)
    assert tally.failed == 3
    found = rows(tmp_path / "out")
    assert found["0.png"]["error"].startswith("changed: it is not the file that was listed")
    assert found["deep/1.png"]["error"].startswith("unreadable: No such file")


def test_another_request_into_the_same_folder_is_a_mismatch(images: Path, agent_folder: Path, tmp_path: Path) -> None:
    request = request_of(tmp_path / "out", agent_folder, traces=1)
    vectorize_sharded(request, Folders([images]), ShardCallback(), workers=1)
    for change, said in (
        ({"traces": 3}, "traces was 1 and is 3"),
        ({"seed": 3}, "seed was 0 and is 3"),
        ({"objective": "sharper"}, "objective.name was faithful and is sharper"),
        ({"shard_files": 4}, "shard_files was 3 and is 4"),
        ({"budget_bytes": 900, "background": "#ffffff"}, "background was None and is #ffffff; budget_bytes was None"),
    ):
        with pytest.raises(Mismatch, match=said):
            vectorize_sharded(replace(request, **change), Folders([images]), ShardCallback())
    assert vectorize_sharded(replace(request, shard_files=None), None, ShardCallback()).files == 7
    with pytest.raises(Mismatch, match=r"inputs was .*in and is .*deep"):
        vectorize_sharded(request, Folders([images / "deep"]), ShardCallback())


def test_nothing_begun_and_nothing_named_is_64(agent_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="has no plan to resume; name images"):
        vectorize_sharded(request_of(tmp_path / "out", agent_folder), None, ShardCallback())


def test_two_at_once_in_one_folder_are_refused(images: Path, agent_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    lock = Lock(tmp_path / "out", LOCK)
    with pytest.raises(Unavailable, match="is being written by process"):
        vectorize_sharded(request_of(tmp_path / "out", agent_folder), Folders([images]), ShardCallback())
    lock.release()


def test_a_machine_that_does_not_see_the_plan_says_so(images: Path, agent_folder: Path, tmp_path: Path) -> None:
    request = request_of(tmp_path / "out", agent_folder, traces=1)
    vectorize_sharded(request, Folders([images]), ShardCallback(), workers=1)
    plan = open_plan(tmp_path / "out")
    assert plan is not None
    with pytest.raises(Unavailable, match=r"does not see this run's plan .* on a file system that all machines share"):
        ShardWorker(Assignment.of(request, "another"))


RESULTS = [
    VectorizeResult(
        path="a", status="improved", svg="a.svg", params={"mode": "spline"}, damage=0.5, bytes=3, default_bytes=9
    ),
    VectorizeResult(path="b", status="default", svg="b.svg", bytes=5, default_bytes=5, seconds=0.5, parsed=False),
    VectorizeResult(path="c", status="failed", error="empty: no bytes"),
]


def test_a_part_holds_what_results_say(tmp_path: Path) -> None:
    write_part(tmp_path / "part.parquet", RESULTS)
    table = pq.read_table(tmp_path / "part.parquet")
    assert table.schema == SCHEMA
    assert list(SCHEMA.names) == list(asdict(RESULTS[0]))
    first, second, third = table.to_pylist()
    assert (first["params"], second["params"], third["bytes"]) == ('{"mode": "spline"}', None, None)
    tally = Tally(improved=1, default=1, failed=1, unparsed=1, bytes=8, default_bytes=14, seconds=0.5)
    assert tally_of(RESULTS) == tally
    assert read_tally([tmp_path / "part.parquet"] * 2) == tally.plus(tally)
    assert tally_of([]) == Tally()


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    (tmp_path / "part.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(DataError, match=r"part\.parquet: is damaged .*; delete it, and the same command does it again"):
        read_tally([tmp_path / "part.parquet"])
