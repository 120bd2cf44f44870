from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any, get_args

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from monitoring import families
from monitoring.families import Families, Totals
from monitoring.metrics import BY_NAME
from monitoring.runs import RunsFolder
from pipeline.core.records import FailureKind
from pipeline.machine.gpus import Gpus
from pipeline.runs.state import RunState
from tests.support.machine import GIB, FakeCard, FakeNvml, FakeProcess, FakePsutil, machine_of
from tests.support.run_status import status_values, write_status_values

Labels = tuple[tuple[str, str], ...]


class Fixed(Collector):
    """Gives families that were made before."""

    def __init__(self, families: Families) -> None:
        self.families = families

    def collect(self) -> list[Metric]:
        return list(self.families.values())


def values(made: Families) -> dict[str, dict[Labels, float]]:
    """As Prometheus would read it."""
    registry = CollectorRegistry()
    registry.register(Fixed(made))
    return {
        family.name: {tuple(sorted(sample.labels.items())): sample.value for sample in family.samples}
        for family in text_string_to_metric_families(generate_latest(registry).decode())
    }


def test_a_label_that_is_not_utf_8_costs_no_scrape() -> None:
    made = Families()
    made.add("disk_size_bytes", 1, "caf\udce9")
    made.add("disk_size_bytes", 2, 'a "strange"\\path\nof two lines')
    assert values(made)["tracewright_disk_size_bytes"] == {
        (("path", "caf?"),): 1,
        (("path", 'a "strange"\\path\nof two lines'),): 2,
    }


def test_totals_never_fall() -> None:
    totals = Totals()
    said = [totals.rise("cpu", value, "r1") for value in (100.0, 130.0, 20.0, 25.0)]
    assert said == [100.0, 130.0, 130.0, 135.0]
    assert totals.rise("cpu", 7.0, "r2") == 7.0


def test_totals_of_runs_that_are_not_shown_are_forgotten() -> None:
    totals = Totals()
    totals.rise("cpu", 100.0, "r1")
    totals.keep_only(set())
    assert totals.rise("cpu", 3.0, "r1") == 3.0


def test_a_run_that_is_shown_again_later_begins_anew(tmp_path: Path) -> None:
    folder, totals = RunsFolder(tmp_path, machine_of(FakePsutil({10: FakeProcess(10)}), proc=tmp_path)), Totals()
    said = []
    for asked in (4000, None, 30):
        shutil.rmtree(tmp_path / ".tracewright", ignore_errors=True)
        if asked is not None:
            write_status_values(tmp_path, evaluations_asked=asked)
        made = Families()
        families.runs(made, folder.read(), totals)
        said.append(values(made).get("tracewright_training_evaluations", {}).get((("run", "r1"),)))
    assert said == [4000, None, 30]


def test_a_value_that_is_not_known_makes_no_sample() -> None:
    made = Families()
    made.add("gpu_power_watts", None, "0")
    assert not made


def trainings_of(root: Path) -> Families:
    made = Families()
    machine = machine_of(FakePsutil({10: FakeProcess(10, rss=500)}), proc=root)
    families.runs(made, RunsFolder(root, machine).read(), Totals())
    return made


def test_a_training_in_figures(tmp_path: Path) -> None:
    write_status_values(tmp_path)
    said = values(trainings_of(tmp_path))
    run = ("run", "r1")
    assert said["tracewright_training_timesteps"] == {(run,): 512}
    assert said["tracewright_training_evaluations"] == {(run,): 4000}
    failures = {kind: value for ((_, kind), _), value in said["tracewright_training_failures"].items()}
    assert failures == dict.fromkeys(get_args(FailureKind), 0) | {"panic": 2, "timeout": 1}
    diagnostics = {name: value for ((_, name), _), value in said["tracewright_training_ppo"].items()}
    assert diagnostics == {"approx_kl": 0.01, "kl_greedy": 0.02}
    assert said["tracewright_validation_damage_pixels"] == {(run,): 0.75}
    assert said["tracewright_validation_category_damaged_ratio"][("category", "text"), run] == 0.08
    assert said["tracewright_training_resident_memory_bytes"] == {(run,): 500}
    assert said["tracewright_training_stage_info"] == {(run, ("stage", "text")): 1}
    assert said["tracewright_status_files"][(("condition", "shown"),)] == 1


def test_exactly_one_state_is_the_one_it_is_in(tmp_path: Path) -> None:
    write_status_values(tmp_path, pid=77)
    states = values(trainings_of(tmp_path))["tracewright_training_state"]
    assert {state for _, (_, state) in states} == set(get_args(RunState))
    assert [labels for labels, value in states.items() if value] == [(("run", "r1"), ("state", "killed"))]


def test_a_training_that_was_killed_has_no_processes(tmp_path: Path) -> None:
    write_status_values(tmp_path, pid=77)
    said = values(trainings_of(tmp_path))
    assert said["tracewright_training_alive"] == {(("run", "r1"),): 0}
    assert "tracewright_training_processes" not in said


def test_the_processes_of_a_card_are_told_apart_by_owner() -> None:
    made = Families()
    nvml = FakeNvml(FakeCard(processes=((10, GIB), (11, GIB), (99, None))))
    families.gpus(made, Gpus(lambda: 0.0, lambda: nvml).read(), frozenset({10, 11, 12}))
    said = values(made)
    assert said["tracewright_gpu_processes"] == {
        (("gpu", "0"), ("owner", "training")): 2,
        (("gpu", "0"), ("owner", "other")): 1,
    }
    assert said["tracewright_gpu_process_memory_bytes"] == {(("gpu", "0"), ("owner", "training")): 2 * GIB}


def test_a_lost_card_says_so_and_no_more() -> None:
    made = Families()
    nvml = FakeNvml(FakeCard(lost=True))
    families.gpus(made, Gpus(lambda: 0.0, lambda: nvml).read(), frozenset())
    assert values(made) == {"tracewright_gpu_up": {(("gpu", "0"),): 0}}


def test_names_follow_the_conventions() -> None:
    for name, metric in BY_NAME.items():
        assert name.startswith("tracewright_")
        assert (metric.kind == "counter") == name.endswith("_total"), name
        assert metric.text.endswith("."), name
        unit = {"bytes": "_bytes", "seconds": "_seconds", "unix time": "_seconds", "hertz": "_hertz"}.get(metric.unit)
        assert unit is None or unit in name, f"{name} does not say that it is in {metric.unit}"
        assert not any(word in name for word in ("percent", "milli", "_mb", "_ms")), name


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("x" * 70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(sorted(set(status_values()) - {"run"})), JSON, max_size=4))
def test_whatever_a_status_says_the_scrape_can_be_read(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_status_values(tmp_path, **changes)
    said = values(trainings_of(tmp_path))
    conditions = {labels[0][1]: count for labels, count in said["tracewright_status_files"].items()}
    assert sum(conditions.values()) == 1
    assert all(math.isfinite(value) for samples in said.values() for value in samples.values())
