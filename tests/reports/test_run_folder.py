from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pipeline.reports.resources import points, read_resources, read_samples
from pipeline.reports.run_folder import JournalReader, read_checkpoints, read_state
from pipeline.runs.launch import Launch
from pipeline.runs.status import STATUS
from pipeline.tracking.journal import Journal
from tests.support import dashboard_project


def test_a_run_that_was_written_lately_is_alive_though_its_process_is_not_seen(tmp_path: Path) -> None:
    now = time.time()
    dashboard_project.status(tmp_path, updated_seconds=now - 5)
    assert read_state(tmp_path, now)[1] == "training"
    assert read_state(tmp_path, now + 9999)[1] == "killed"
    me, born = os.getpid(), psutil.Process().create_time()
    dashboard_project.status(tmp_path, state="preparing", pid=me, process_started_seconds=born)
    assert read_state(tmp_path, now + 9999)[1] == "preparing"
    dashboard_project.status(tmp_path, pid=me, process_started_seconds=born - 60)  # its number was given away again
    assert read_state(tmp_path, now + 9999)[1] == "killed"
    dashboard_project.status(tmp_path, state="stopped")
    assert read_state(tmp_path, now)[1] == "stopped"


def test_a_launch_without_a_status_has_a_state(tmp_path: Path) -> None:
    assert read_state(tmp_path) == (None, "unknown")
    me, born = os.getpid(), psutil.Process().create_time()
    launch = Launch(run_id="r", overrides={}, cores=1, memory_bytes=1, pid=me, process_started_seconds=born)
    replace(launch, phase="waiting").write(tmp_path)
    assert read_state(tmp_path) == (None, "waiting")
    replace(launch, phase="ended", exit_code=65, process_started_seconds=born - 60).write(tmp_path)
    assert read_state(tmp_path) == (None, "failed")


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[1]", b'{"timesteps": 3}', b"\xff", b"[" * 99_999])
def test_what_is_half_written_is_absent(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in ("status.json", "checkpoints/index.json", "resources.jsonl"):
        (tmp_path / name).write_bytes(content)
    assert read_state(tmp_path) == (None, "unknown")
    assert read_checkpoints(tmp_path) == ()
    assert read_resources(tmp_path) is None


def test_a_real_journal_is_read_as_it_grows(tmp_path: Path) -> None:
    reader = JournalReader(tmp_path)
    assert reader.read().series == {}
    journal = Journal(tmp_path)
    journal.start("tracewright", "seed 1", {"train.seed": "1"}, {"stage": "train"}, [])
    journal.metrics({"train/return_mean": 0.5, "val/value": float("nan")}, 10)
    assert reader.read().series == {"train/return_mean": [(10, 0.5)]}
    assert reader.read().params == {"train.seed": "1"}
    journal.metrics({"train/return_mean": 0.6}, 20)
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(b'{"kind": "metrics", "ste')  # in the middle of a write
    found = reader.read()
    assert found.series["train/return_mean"] == [(10, 0.5), (20, 0.6)]
    assert found.last("train/return_mean") == 0.6
    assert found.last("val/value") is None
    assert (found.status, found.trouble) == (None, None)
    os.truncate(tmp_path / "journal.jsonl", (tmp_path / "journal.jsonl").stat().st_size - 24)
    journal.end("FAILED", "DataError: gone")
    assert (reader.read().status, reader.read().failure) == ("FAILED", "DataError: gone")
    journal.close()


def test_another_journal_of_the_same_name_is_read_from_its_start(tmp_path: Path) -> None:
    dashboard_project.journal(tmp_path, rollouts=30)
    reader = JournalReader(tmp_path)
    assert len(reader.read().series["train/return_mean"]) == 30
    dashboard_project.journal(tmp_path, rollouts=2)
    assert len(reader.read().series["train/return_mean"]) == 2


def test_readers_at_once_count_each_record_once(tmp_path: Path) -> None:
    dashboard_project.journal(tmp_path, rollouts=300)
    reader = JournalReader(tmp_path)
    threads = [threading.Thread(target=reader.read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reader.read().series["train/return_mean"]) == 300


@pytest.mark.parametrize("record", ['{"no": "kind"}', '{"kind": "metrics", "values": 3}', "[1]", '{"kind": "end"}'])
def test_a_record_of_another_release_is_said_and_what_was_before_stays(tmp_path: Path, record: str) -> None:
    dashboard_project.journal(tmp_path, rollouts=3, ends=False)
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write(record + "\n")
    found = JournalReader(tmp_path).read()
    assert found.trouble is not None
    assert "journal.jsonl" in found.trouble
    assert len(found.series["train/return_mean"]) == 3


def test_checkpoints_are_those_of_the_index(tmp_path: Path) -> None:
    dashboard_project.checkpoints(tmp_path)
    entries = read_checkpoints(tmp_path)
    assert [entry.timesteps for entry in entries] == [2048, 8192, 14336, 20480]
    assert entries[0].metrics == {"value": 0.5}


def test_resources_are_summed_up_over_time_with_findings(tmp_path: Path) -> None:
    dashboard_project.resources(tmp_path, 120)
    found = read_resources(tmp_path)
    assert found
    assert (found.samples, found.seconds) == (120, 600.0)
    usage = {used.name: used for used in found.usage}
    assert usage["processor"].mean == pytest.approx(0.93)
    assert usage["memory"].highest == 4_000_000_000 + 119_000_000
    assert usage["memory"].limit == 25_000_000_000
    assert "swap" not in usage  # none was used
    assert any("cores" in finding.text for finding in found.findings)
    rows = points(read_samples(tmp_path))
    assert rows[0]["minutes"] == 0.0
    assert rows[-1]["training's memory"] == 1e9


def test_a_status_of_a_later_release_may_say_more(tmp_path: Path) -> None:
    dashboard_project.status(tmp_path, something_new={"a": 1})
    found, _ = read_state(tmp_path)
    assert found
    assert found.validation
    assert found.validation.by_category["simple"].bytes_ratio > 0
    assert json.loads((tmp_path / STATUS).read_text())["something_new"] == {"a": 1}
