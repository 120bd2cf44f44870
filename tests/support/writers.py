"""Everything that a training writes, once each and in a fixed order, to be killed at each system call.

Run as a program with a folder; it may be run again after a kill. Between the two marks lies what is tested.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from pipeline.core.files import write_json
from pipeline.core.records import DEFAULT_PARAMS, Job, Logo, Scored, Scores
from pipeline.settings.params import load_settings
from pipeline.tracing.evaluation_store import EvaluationStore
from pipeline.tracing.store_pool import Ledger
from pipeline.tracking.journal import Journal
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.checkpoint_store import CheckpointStore
from tests.support.source import ROOT

SETTINGS = load_settings(ROOT / "params.yaml").checkpoints.model_copy(update={"keep_last": 2})
LOGO = Logo.of("a", np.zeros((8, 8, 4), np.uint8), "simple")
SCORES = Scores(svg_bytes=9, traced_bytes=20, paths=1, nodes=4, damage=0.5, delta=1.0)
SCORED = Scored(LOGO.digest, DEFAULT_PARAMS, SCORES, 0.1)
SAVES = 4


def state(timesteps: int) -> Checkpoint:
    summary = {"timesteps": timesteps, "seed": 1, "phase": "training", "metrics": {"value": float(timesteps)}}
    return Checkpoint({"summary": summary}, {"weights": np.full(20_000, timesteps, np.float32)})


def write_all(folder: Path) -> None:
    store = CheckpointStore(folder, SETTINGS)
    store.clear_half_written()
    latest = store.latest()
    done = int(latest[1].facts["summary"]["timesteps"]) if latest else 0
    for timesteps in range(done + 1, SAVES + 1):
        store.save(state(timesteps), "interval")
    with Ledger(folder / "asked.bin") as ledger:
        ledger.note(bytes(16), 3, traced=True)
    write_json(folder / "training.json", {"delivered": False})
    write_json(folder / "training.json", {"delivered": True})
    journal = Journal(folder)
    if not journal.size:
        journal.start("e", None, {"a": "1"}, {"b": "2"}, [])
    journal.metrics({"a": 1.0, "b": 2.0}, 1)
    journal.metrics({"a": 2.0}, 2)
    journal.artifact(Path(__file__), "code")
    journal.model([Path(__file__)], "agent-1", 1, {}, {"a": 1.0}, None)
    if journal.status is None:
        journal.end("FINISHED", None)
    journal.close()
    with EvaluationStore(folder / "evaluations.sqlite", 10**7, {"tracer": "1"}) as kept:
        kept.keep({kept.key(Job(LOGO, DEFAULT_PARAMS)): SCORED})


def main() -> None:
    folder = Path(sys.argv[1])
    (folder / "begin").touch()
    write_all(folder)
    (folder / "end").touch()


if __name__ == "__main__":
    main()
