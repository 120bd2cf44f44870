"""Trials per hour of one tuning worker and of two, on real logos.

Each study is begun in a copy of one project whose store has the table's traces already, as it has after a study's first
trial, so that no study finds what another traced. Nothing is pruned and only settings that cost nothing are searched:
every trial is the same work. A worker's start (imports, images) is timed apart: it is paid once for a whole study.

One worker by itself traces on all cores, so a second one finds few of them idle; how far workers scale is seen where
each has one tracing process, alone as in company. Both ratios are given.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import TrialState
from PIL import Image

from benchmarks.interleaved import block_orders, rounded, speed_ratio
from benchmarks.logos import square_logos
from pipeline.core.json_records import write_record
from pipeline.data.catalogue import TABLE, build_catalogue, write_catalogue
from pipeline.data.split_table import SUMMARY, split_catalogue, write_splits
from pipeline.data.split_table import TABLE as SPLITS
from pipeline.data.splits import summarise
from pipeline.settings.overrides import with_overrides
from pipeline.settings.params import Settings, load_settings
from pipeline.tuning.session import tune

TARGET = 1.8
LOGOS = 32
SIDE_PIXELS = 128

SMALL = {
    "data.root": "logos",
    "split.train_ratio": 0.6,
    "split.val_ratio": 0.3,
    "curriculum.enabled": False,  # a stage that is tried again would be more work
    "train.total_timesteps": 512,
    "train.table_traces": 16,
    "train.surrogate_steps": 200,
    "train.portfolio_images": 8,
    "train.portfolio_candidates": 8,
    "train.other_portfolio_candidates": 0,
    "train.eval_every_timesteps": 512,
    "tune.pruner": "none",
    "tune.space": {
        "train.ppo.learning_rate": {"low": 0.0001, "high": 0.003, "log": True},
        "train.ppo.clip_range": {"low": 0.1, "high": 0.3},
    },
}


ROWS = {
    "1 worker, all cores": (1, 0),
    "1 worker, 1 tracing process": (1, 1),
    "2 workers, 1 tracing process each": (2, 2),
}
"""By name: workers, and what compute.workers is, which they share."""


@dataclass(frozen=True, slots=True)
class Timed:
    """One study. seconds: from the first trial's beginning to the last one's end. start_seconds: before that."""

    trials: int
    seconds: float
    start_seconds: float


def measure(blocks: int | None = None, trials: int | None = None) -> dict[str, Any]:
    """blocks: of a study by each row. trials: in each study."""
    blocks = blocks or int(os.environ.get("TRACEWRIGHT_TUNE_BLOCKS", "3"))
    trials = trials or int(os.environ.get("TRACEWRIGHT_TUNE_TRIALS", "6"))
    timed: dict[str, list[Timed]] = {row: [] for row in ROWS}
    with tempfile.TemporaryDirectory(prefix="tracewright-tune-") as folder:
        warm = Path(folder) / "warm"
        settings = _project(warm)
        _study(warm, settings, 1, 1)
        for number, order in enumerate(block_orders(list(ROWS), blocks, seed=1)):
            for row in order:
                workers, processes = ROWS[row]
                place = Path(folder) / f"{number}-{workers}-{processes}"
                shutil.copytree(warm, place, ignore=shutil.ignore_patterns("runs", "tune"))
                changed = with_overrides(settings, {"compute.workers": processes}, "the benchmark")
                timed[row].append(_study(place, changed, workers, trials))
                shutil.rmtree(place)
    alone, small, two = ([t.seconds for t in timed[row]] for row in ROWS)
    return {
        "cores": len(os.sched_getaffinity(0)),
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "blocks": blocks,
        "trials_per_study": trials,
        "rows": {row: _row(each) for row, each in timed.items()},
        "ratios": {
            "2 workers / 1 worker, 1 tracing process each": _ratio(two, small) | {"target": TARGET},
            "2 workers / 1 worker, all cores": _ratio(two, alone),
        },
    }


def _ratio(mine: list[float], rival: list[float]) -> dict[str, Any]:
    each = [round(b / a, 3) for a, b in zip(mine, rival, strict=True)]
    return rounded(speed_ratio(mine, rival)) | {"of_each_block": each}


def _row(timed: list[Timed]) -> dict[str, float]:
    trials, seconds = sum(t.trials for t in timed), sum(t.seconds for t in timed)
    starts = sum(t.start_seconds for t in timed)
    return {
        "trials_per_hour": round(3600 * trials / seconds, 1),
        "trials_per_hour_with_start": round(3600 * trials / (seconds + starts), 1),
        "seconds_per_trial": round(seconds / trials, 2),
        "start_seconds": round(starts / len(timed), 2),
    }


def _project(root: Path) -> Settings:
    """A folder with logos, split, and settings for trainings of seconds."""
    source = Path(__file__).resolve().parent.parent
    root.mkdir()
    shutil.copy(source / "dvc.yaml", root)
    settings = with_overrides(load_settings(source / "params.yaml"), SMALL, "the benchmark")
    (root / "params.yaml").write_text(yaml.safe_dump(settings.to_json(), sort_keys=False), encoding="utf-8")
    folders = {category: name for name, category in settings.data.folders.items()}
    for number, logo in enumerate(square_logos(LOGOS, SIDE_PIXELS)):
        path = root / "logos" / folders[logo.category] / f"logo{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(logo.rgba).save(path)
    catalogue = build_catalogue(settings.data, root, settings.compute.workers)
    write_catalogue(catalogue.entries, root / TABLE)
    rows = split_catalogue(catalogue.entries, settings, [])
    write_splits(rows, settings, root / SPLITS)
    write_record(root / SUMMARY, summarise(rows))
    return settings


def _study(root: Path, settings: Settings, workers: int, trials: int) -> Timed:
    began = time.time()
    changed = with_overrides(settings, {"tune.trials": trials}, "the benchmark")
    tune(root, changed, "study", workers=workers, storage=None)
    journal = JournalStorage(JournalFileBackend(str(root / ".tracewright/tune/study/journal.log")))
    found = journal.get_all_trials(0)
    complete = [t for t in found if t.state == TrialState.COMPLETE and t.datetime_start and t.datetime_complete]
    if len(complete) != trials:
        raise SystemExit(f"{len(complete)} of {trials} trials are complete; {root} says why")
    first = min(t.datetime_start.timestamp() for t in complete if t.datetime_start)
    last = max(t.datetime_complete.timestamp() for t in complete if t.datetime_complete)
    return Timed(trials, last - first, first - began)
