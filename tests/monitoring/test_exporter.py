from __future__ import annotations

import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from monitoring import exporter
from monitoring.exporter import SourcesCollector, registry_of, sources_of
from monitoring.metrics import BY_NAME, METRICS
from pipeline.machine.deadline import Source
from pipeline.machine.gpus import Gpus
from pipeline.machine.sources import Machine
from tests.support.machine import FakeCard, FakeNvml, FakeProcess, FakePsutil, machine_of
from tests.support.run_status import write_status_values
from tests.support.source import ROOT


class World:
    """A machine with all that can be watched, and a training on it."""

    def __init__(self, root: Path) -> None:
        self.ps = FakePsutil({10: FakeProcess(10)})
        self.nvml = FakeNvml(FakeCard(), FakeCard())
        machine = machine_of(self.ps)
        self.sources = sources_of(machine, root, ["/data"], Gpus(machine.monotonic, lambda: self.nvml))
        self.registry = registry_of(self.sources, deadline_seconds=1.0)
        write_status_values(root)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def text(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()


def scraped(registry: CollectorRegistry) -> dict[str, float]:
    """Values by name and labels, as they are written."""
    lines = [line for line in text(registry).splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_every_metric_of_the_list_is_served_and_no_other(world: World) -> None:
    served = {}
    for family in text_string_to_metric_families(text(world.registry)):
        name = family.name + ("_total" if family.type == "counter" else "")
        served[name] = (family.type, {key for sample in family.samples for key in sample.labels})
    assert set(served) == set(BY_NAME)
    for metric in METRICS:
        assert served[metric.name] == (metric.kind, set(metric.labels)), metric.name


def test_promtool_finds_nothing_to_mend(world: World) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    served = text(world.registry)
    done = subprocess.run(["promtool", "check", "metrics"], input=served, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_source_that_fails_costs_its_own_metrics_only(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.ps.broken = psutil.AccessDenied()
    said = scraped(world.registry)
    assert said['tracewright_source_up{source="host"}'] == 0
    assert "tracewright_cpu_cores" not in said
    assert said['tracewright_source_up{source="gpu"}'] == 1
    assert said['tracewright_training_timesteps{run="r1"}'] == 512
    assert "host" in caplog.text


def test_a_driver_that_hangs_costs_the_cards_only(world: World, caplog: pytest.LogCaptureFixture) -> None:
    gate = threading.Event()
    world.nvml.wait = gate.wait
    before = threading.active_count()
    try:
        for _ in range(5):
            said = scraped(world.registry)
            assert said['tracewright_source_up{source="gpu"}'] == 0
            assert said["tracewright_cpu_cores"] == 2
        assert threading.active_count() <= before + 2
    finally:
        gate.set()


def test_a_machine_without_cards_does_not_complain(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    machine = machine_of(proc=tmp_path)  # nor does it tell pressure

    def missing() -> Any:
        raise ImportError

    said = scraped(registry_of(sources_of(machine, tmp_path, ["/data"], Gpus(machine.monotonic, missing))))
    up = {name: value for name, value in said.items() if name.startswith("tracewright_source_up")}
    assert up == {f'tracewright_source_up{{source="{name}"}}': 1 for name in ("host", "disk:/data", "training")}
    assert caplog.text == ""


def test_the_cpu_time_of_a_training_does_not_fall_when_a_worker_dies(world: World) -> None:
    name = 'tracewright_training_cpu_seconds_total{run="r1"}'
    world.ps.processes[10].user = 50.0
    before = scraped(world.registry)[name]
    world.ps.processes[10].user = 20.0
    assert scraped(world.registry)[name] == before
    world.ps.processes[10].user = 22.0
    assert scraped(world.registry)[name] == before + 2


def test_who_waits_shares_what_is_read_after_it_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    asked: list[float] = []
    gate, reading = threading.Event(), threading.Event()

    def read() -> None:
        begun.append(1)
        reading.set()
        gate.wait()

    def now() -> float:
        asked.append(time.monotonic())
        return asked[-1]

    monkeypatch.setattr(exporter, "monotonic", now)
    collector = SourcesCollector([Source("it", read)], deadline_seconds=600)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(collector.collect)
        assert reading.wait(120)
        others = [pool.submit(collector.collect) for _ in range(8)]
        while len(asked) < 2 + 8:  # the first asked and began, the others have asked
            time.sleep(0.01)
        gate.set()
        answers = [id(other.result()) for other in others]
    assert len(set(answers)) == 1
    assert id(first.result()) not in answers
    assert len(begun) == 2


def documented() -> dict[str, tuple[str, ...]]:
    """The table of docs/monitoring.md: name to the other columns."""
    text = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `tracewright_")]
    return {name.strip("`"): tuple(rest) for name, *rest in rows if len(rest) == 5}


def test_the_documentation_is_the_list() -> None:
    said = {
        metric.name: (
            metric.kind,
            metric.unit,
            ", ".join(f"`{label}`" for label in metric.labels) or "-",
            metric.source,
            metric.text,
        )
        for metric in METRICS
    }
    assert documented() == said


def test_the_sources_that_are_named_are_those_there_are(world: World) -> None:
    names = {source.name.partition(":")[0] for source in world.sources}
    assert {metric.source for metric in METRICS} == names | {"exporter"}


def test_a_disk_that_is_away_does_not_hide_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    disks = [str(tmp_path), str(tmp_path / "away"), str(tmp_path)]
    body = text(registry_of(sources_of(Machine(), tmp_path, disks)))
    assert f'tracewright_source_up{{source="disk:{tmp_path}/away"}} 0.0' in body
    assert body.count(f'tracewright_disk_size_bytes{{path="{tmp_path}"}}') == 1, "a path that is named twice"
    assert str(tmp_path / "away") in caplog.text
