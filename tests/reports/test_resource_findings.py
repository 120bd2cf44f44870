from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import yaml

from pipeline.machine.samples import ResourceSample
from pipeline.reports.resource_findings import ResourceFinding, Setup, find
from tests.support.machine import GIB, NOW
from tests.support.samples import CARD, SAMPLE
from tests.support.source import ROOT

SETUP = Setup(workers=2, n_envs=16, batch_size=128, images_per_category=48, memory_limit_bytes=2_000_000_000)


def history(count: int = 240, **changes: Any) -> list[ResourceSample]:
    """Twenty minutes, each sample like the other."""
    return [replace(SAMPLE, time_seconds=NOW + 5 * n, **changes) for n in range(count)]


def found(samples: list[ResourceSample], setup: Setup = SETUP) -> dict[str, ResourceFinding]:
    return {finding.kind: finding for finding in find(samples, setup)}


def test_busy_cores_are_what_limits() -> None:
    finding = found(history(cpu_ratio=0.97, training_cpu_cores=1.9))["cpu_bound"]
    assert finding.text == (
        "The 2 cores were busy 97% of the time, 1.9 of them with the training: they are what limits it. More "
        "compute.workers (2 now) would gain nothing here; a machine with more cores would, and on this one a smaller "
        "tracing.prescale or fewer validation.images_per_category (48 now)."
    )
    assert finding.evidence["cpu_ratio"] == pytest.approx(0.97)


def test_others_on_the_cores_are_named_first() -> None:
    findings = find(history(cpu_ratio=0.97, training_cpu_cores=1.0), SETUP)
    assert findings[0].kind == "cpu_others"
    assert "0.9 with other programs" in findings[0].text


def test_idle_cores_want_more_workers_or_more_at_once() -> None:
    idle = history(cpu_ratio=0.4, training_cpu_cores=0.7)
    assert "compute.workers from 1 to 2" in found(idle, Setup(workers=1))["cpu_idle"].text
    text = found(idle)["cpu_idle"].text
    assert "train.n_envs from 16 to 32" in text
    assert "train.ppo.batch_size from 128 to 256" in text


def test_in_between_nothing_is_to_be_changed() -> None:
    assert found(history(cpu_ratio=0.75, training_cpu_cores=1.4))["cpu"].level == "info"


def test_a_mean_is_over_time_and_not_over_samples() -> None:
    """What thinned old samples say counts for all of their time."""
    long = replace(SAMPLE, interval_seconds=900.0, cpu_ratio=0.2, training_cpu_cores=0.3)
    short = history(20, cpu_ratio=1.0, training_cpu_cores=2.0)
    assert found([long, *short])["cpu_idle"].evidence["cpu_ratio"] == pytest.approx((900 * 0.2 + 100 * 1.0) / 1000)


def test_waiting_for_the_disk() -> None:
    assert "faster one" in found(history(cpu_iowait_ratio=0.3))["disk_wait"].text
    assert "disk_wait" in found(history(pressure_io_ratio=0.5))
    assert "disk_wait" not in found(history(pressure_io_ratio=None, cpu_iowait_ratio=0.0))


def test_memory_is_judged_at_its_worst_moment() -> None:
    samples = history()
    assert found(samples)["memory_room"].level == "good"
    samples[7] = replace(samples[7], memory_used_bytes=int(7.6 * GIB))
    finding = found(samples)["memory_full"]
    assert finding.level == "attention"
    assert "(95%)" in finding.text
    assert "compute.workers (2 now)" in finding.text
    assert found(history(memory_used_bytes=6 * GIB))["memory"].level == "info"


def test_the_limit_that_the_training_was_given() -> None:
    assert "memory_limit" in found(history(training_memory_bytes=1_900_000_000))
    assert "memory_limit" not in found(history(training_memory_bytes=1_700_000_000))
    assert "memory_limit" not in found(history(training_memory_bytes=1_900_000_000), Setup())


def test_swapping() -> None:
    samples = history()
    samples[-1] = replace(samples[-1], swap_used_bytes=300_000_000)
    assert "300 MB were moved to swap" in found(samples)["swap"].text
    assert "swap" not in found(history(swap_used_bytes=300_000_000)), "it was there before"


def filling(per_sample: int, available: int) -> list[ResourceSample]:
    return [replace(sample, disk_used_bytes=10**9 + n * per_sample, disk_available_bytes=available)
            for n, sample in enumerate(history())]  # fmt: skip


def test_the_disk_and_the_time_until_it_is_full() -> None:
    finding = found(filling(1_000_000, 1_440_000_000))["disk_full_soon"]  # 720 MB an hour
    assert finding.evidence["growth_bytes_per_hour"] == pytest.approx(720e6)
    assert finding.evidence["hours_to_full"] == pytest.approx(2)
    assert "720 MB an hour" in finding.text
    assert "last for 2 hours" in finding.text
    assert "checkpoints.max_bytes" in finding.text
    assert found(filling(1_000_000, 720_000_000_000))["disk_growth"].text.endswith("last for 42 days.")


def test_a_few_minutes_of_growth_do_not_fill_a_disk_with_room() -> None:
    assert found(filling(1_000_000, 7_200_000_000))["disk_growth"].text.endswith("last for 10 hours.")


def test_a_disk_that_does_not_fill_is_no_news() -> None:
    assert not {kind for kind in found(filling(-5000, 10**9)) if kind.startswith("disk")}


def test_an_idle_card_is_told_and_a_busy_one() -> None:
    assert "GPU 0 was idle (2% used)" in found(history(gpus=(replace(CARD, utilization_ratio=0.02),)))["gpu_idle"].text
    assert found(history(gpus=(replace(CARD, utilization_ratio=0.97),)))["gpu_busy"].level == "info"
    full = replace(CARD, memory_used_bytes=int(7.5 * GIB))
    assert "94% full" in found(history(gpus=(full,)))["gpu_memory_full"].text
    assert not {kind for kind in found(history()) if kind.startswith("gpu")}
    unknown = replace(CARD, utilization_ratio=None, memory_used_bytes=None)
    assert not {kind for kind in found(history(gpus=(unknown,))) if kind.startswith("gpu")}


def test_little_history_says_nothing() -> None:
    assert find([]) == []
    assert find(history(11)) == []
    assert find(history(12)) != []


def test_a_setup_that_is_not_known_is_not_made_up() -> None:
    for finding in find(history(cpu_ratio=0.4, training_cpu_cores=0.7)):
        assert "now" not in finding.text
        assert "None" not in finding.text


def test_attention_comes_first() -> None:
    levels = [finding.level for finding in find(history(cpu_iowait_ratio=0.5, cpu_ratio=0.97), SETUP)]
    assert levels == sorted(levels, key=lambda level: level != "attention")
    assert levels[0] == "attention"


def test_every_setting_that_is_named_exists() -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    texts = [
        (ROOT / name).read_text()
        for name in ("pipeline/reports/resource_findings.py", "monitoring/prometheus/rules/alerts.yml")
    ]
    named = set(re.findall(r"\b(?:compute|train|tracing|validation|checkpoints)(?:\.[a-z_]+)+", "".join(texts)))
    assert len(named) > 8
    for path in named:
        inner: Any = params
        for part in path.split("."):
            assert part in inner, f"{path} is no setting of params.yaml"
            inner = inner[part]


def test_every_kind_is_documented() -> None:
    kinds = set(
        re.findall(
            r'ResourceFinding\(\s*"(\w+)"', (ROOT / "pipeline/reports/resource_findings.py").read_text(encoding="utf-8")
        )
    )
    rows = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8").split("### Findings")[1].split("## ")[0]
    assert kinds == set(re.findall(r"`(\w+)`", rows)) - {"compute.memory_limit_bytes"}
    assert len(kinds) > 10
