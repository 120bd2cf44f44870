from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from pipeline.agent.agent import load_agent
from pipeline.cli.main import main
from pipeline.core.locks import free
from pipeline.runs.resume import TrainingOrigin
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.checkpoint_store import CheckpointStore, files_in
from pipeline.training.loop import train
from tests.support.fakes import ROOT, FakeEvaluator, settings_with
from tests.support.saved_runs import NEWER, OLDER, run_of, state
from tests.support.tiny_training import TRAIN, VAL, tiny


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a project without any run."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tracewright(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["checkpoints", *(str(a) for a in arguments)])


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    """One bit; the size stays."""
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


def test_without_any_training_every_command_says_so(project: Path) -> None:
    assert tracewright("list").stdout == "there is no saved training yet; run `make repro` to train\n"
    assert tracewright("verify").stdout == "0 checkpoint(s), all sound\n"
    assert tracewright("prune").stdout == ""
    assert tracewright("stats").stdout == "0 B in 0 checkpoint(s) of 0 run(s); 1000.00 MB allowed\n"


def test_list_marks_the_latest_and_the_best_of_each_run(project: Path) -> None:
    run_of(project, OLDER, [0.3, 0.1], delivered=True)
    run_of(project, NEWER, [0.1, 0.2])
    lines = tracewright("list").stdout.splitlines()
    assert lines[0] == f"run {NEWER} (can be resumed)"
    assert lines[3] == f"run {OLDER} (finished)"
    newer, older = lines[1:3], lines[4:6]
    assert [line.split()[0] for line in newer] == ["000001-10.ckpt", "000002-20.ckpt"]
    assert newer[1].endswith("best, latest")
    assert (older[0].endswith("best"), older[1].endswith("  latest")) == (True, True)
    assert "step 10" in older[0]
    assert "value 0.3000" in older[0]
    assert tracewright("list", OLDER).stdout.splitlines() == lines[3:]
    rows = [json.loads(line) for line in tracewright("list", "--json").stdout.splitlines()]
    assert [(r["run"], r["timesteps"], r["best"], r["latest"]) for r in rows] == [
        (NEWER, 10, False, False),
        (NEWER, 20, True, True),
        (OLDER, 10, True, False),
        (OLDER, 20, False, True),
    ]
    rows = [json.loads(line) for line in tracewright("stats", "--json").stdout.splitlines()]
    assert [(r["run"], r["checkpoints"]) for r in rows] == [(NEWER, 2), (OLDER, 2)]


@pytest.mark.parametrize("harm", [damage, flip])
def test_a_damaged_one_is_marked_and_pruned(project: Path, harm: Callable[[Path], None]) -> None:
    folder = run_of(project, NEWER, [0.1, 0.2])
    harm(files_in(folder / "checkpoints")[-1])
    _, marked, sound = tracewright("list").stdout.splitlines()
    assert marked == "  000002-20.ckpt           damaged; `tracewright checkpoints prune` removes it"
    assert sound.endswith("best, latest")
    harm(files_in(folder / "checkpoints")[0])
    assert tracewright("list").stdout.splitlines()[-1] == "  no checkpoint"
    assert tracewright("prune").stdout.count("deleted") == 2


def test_show_prints_what_a_checkpoint_holds(project: Path) -> None:
    folder = run_of(project, NEWER, [0.1, 0.2])
    for name in (NEWER, f"{NEWER}/000002-20.ckpt", folder / "checkpoints" / "000002-20.ckpt"):
        shown = json.loads(tracewright("show", "--json", name).stdout)
        assert (shown["name"], shown["timesteps"], shown["number"]) == ("000002-20.ckpt", 20, 2)
        assert shown["metrics"] == {"value": 0.2}
        assert shown["stages"] == [{"name": "simple", "attempts": 2, "passed": True}]
        assert shown["arrays"] == {"weights": [2, 3]}
        assert shown["settings"] == {"experiment": "x"}
    lines = tracewright("show", f"{NEWER}/000001-10.ckpt").stdout.splitlines()
    told = {line[:8].strip(): line[9:] for line in lines}
    assert (told["at"], told["metrics"], told["stages"]) == ("step 10", "value 0.1000", "simple passed")
    assert len(lines) < 10


def test_verify_names_the_damaged_and_counts_the_sound(project: Path) -> None:
    folder = run_of(project, NEWER, [0.1, 0.2])
    run_of(project, OLDER, [0.1])
    assert tracewright("verify").stdout == "3 checkpoint(s), all sound\n"
    damage(folder / "checkpoints" / "000001-10.ckpt")
    result = tracewright("verify")
    assert result.exit_code == 65
    assert "000001-10.ckpt: is damaged" in result.stderr
    assert "1 damaged, 2 sound; `tracewright checkpoints prune` removes the damaged ones" in result.stderr
    assert tracewright("verify", OLDER).exit_code == 0


def test_prune_removes_what_is_damaged_and_what_is_not_kept(project: Path) -> None:
    folder = run_of(project, NEWER, [0.5, 0.1, 0.2, 0.3, 0.4, 0.2])
    damage(folder / "checkpoints" / "000006-60.ckpt")
    (folder / "checkpoints" / ".half.ckpt").write_bytes(b"half")
    result = tracewright("prune")
    assert sorted(result.stdout.splitlines()) == [
        f"{NEWER}/.half.ckpt: deleted",
        f"{NEWER}/000002-20.ckpt: deleted",
        f"{NEWER}/000006-60.ckpt: deleted",
    ]
    kept = [path.name for path in files_in(folder / "checkpoints")]
    assert kept == ["000001-10.ckpt", "000003-30.ckpt", "000004-40.ckpt", "000005-50.ckpt"]
    assert tracewright("prune").stdout == ""


def test_prune_leaves_a_run_alone_that_is_being_trained(project: Path) -> None:
    folder = run_of(project, NEWER, [0.1] * 6)
    with free(folder):
        assert tracewright("prune").stdout == f"{NEWER}: is being trained, skipped\n"
        assert len(files_in(folder / "checkpoints")) == 6
    assert len(tracewright("prune", NEWER).stdout.splitlines()) == 2


def test_prune_of_all_runs_keeps_to_the_size_that_is_allowed(project: Path) -> None:
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("max_bytes: 1000000000 ", "max_bytes: 1000000 ", 1))
    large = Checkpoint(state(1).facts, {"weights": np.zeros(100_000, np.float32)})
    for name in (OLDER, NEWER):
        folder = run_of(project, name, [])
        for _ in range(2):
            CheckpointStore(folder, settings_with().checkpoints).save(large, "interval")
    gone = tracewright("prune").stdout.splitlines()
    assert gone == [f"{run}/000001-1.ckpt: deleted, for checkpoints.max_bytes" for run in (OLDER, NEWER)]
    assert "0.80 MB in 2 checkpoint(s) of 2 run(s); 1.00 MB allowed" in tracewright("stats").stdout


def test_stats_count_and_add_up(project: Path) -> None:
    run_of(project, OLDER, [0.1])
    run_of(project, NEWER, [0.1, 0.2])
    lines = tracewright("stats").stdout.splitlines()
    assert lines[0].startswith(f"run {NEWER}: 2 checkpoint(s), ")
    assert lines[1].startswith(f"run {OLDER}: 1 checkpoint(s), ")
    size = sum(path.stat().st_size for path in project.glob(".tracewright/runs/*/checkpoints/*.ckpt"))
    assert lines[2].startswith(f"{size} B in 3 checkpoint(s) of 2 run(s); ")


def test_the_best_agent_of_a_checkpoint_is_exported_once(project: Path) -> None:
    folder = project / ".tracewright" / "runs" / NEWER
    settings: Any = tiny(curriculum__enabled=False, train__total_timesteps=64, validation__images_per_category=1)
    result = train(
        settings,
        TRAIN,
        VAL,
        FakeEvaluator(),
        seed=1,
        checkpoints=CheckpointStore(folder, settings.checkpoints),
    )
    TrainingOrigin({"seed": "1"}).write(folder)
    digest = result.agent.save(project / "trained")
    exported = tracewright("export", NEWER, "agent")
    assert exported.stdout == f"agent: agent written, SHA-256 of its weights {digest}\n"
    assert (project / "agent" / "agent.json").read_bytes() == (project / "trained" / "agent.json").read_bytes()
    load_agent(project / "agent")
    again = tracewright("export", NEWER, "agent")
    assert (again.exit_code, "agent: exists already" in again.stderr) == (65, True)


def test_a_checkpoint_from_before_the_first_validation_has_no_agent(project: Path) -> None:
    folder = run_of(project, NEWER, [0.1])
    result = tracewright("export", folder.name, "agent")
    assert result.exit_code == 65
    assert "was made before the first validation" in result.stderr
