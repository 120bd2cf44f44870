"""Files and names made to do harm, given to the command line: nothing runs, nothing outside is read, exit code 65."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.numpy import save
from stable_baselines3.common.save_util import load_from_zip_file

from pipeline.cli.main import main
from pipeline.runs.resume import TrainingOrigin
from pipeline.training.checkpoint import MAX_FACTS_BYTES, Checkpoint, pack, read_checkpoint
from pipeline.training.checkpoint_store import CheckpointStore, files_in
from tests.support.armed import numpy_archive, pickled, sb3_zip, torch_file
from tests.support.fakes import ROOT, settings_with, tiny_agent

RUN = "20260101-000000-0000"
NO_ARRAYS = save({})


@pytest.fixture
def project(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a project with one finished training."""
    folder = tmp_path / "project"
    run = folder / ".tracewright" / "runs" / RUN
    shutil.copytree(finished, run)
    TrainingOrigin({"seed": "1"}).write(run)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A folder that is there once code of a file ran."""
    return tmp_path / "code-ran"


def tracewright(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def refused(result: Result, said: str = "") -> None:
    assert result.exit_code == 65, result.output
    assert result.stderr.startswith("tracewright: ")
    assert "Traceback" not in result.output
    assert said in result.stderr


def sealed(facts: bytes, arrays: bytes = NO_ARRAYS, kind: str = "plain", stored: bytes | None = None) -> bytes:
    """A checkpoint whose SHA-256 is right, whatever is in it."""
    stored = facts + arrays if stored is None else stored
    body = f"tracewright-checkpoint 1 {kind} {len(facts)} {len(arrays)} {len(stored)}\n".encode() + stored
    return body + hashlib.sha256(body).hexdigest().encode() + b"\n"


def facts_of(**changes: Any) -> bytes:
    summary = {"timesteps": 1, "seed": 1, "phase": "training", "metrics": {}, "number": 9, "reason": "interval"}
    return json.dumps({"summary": summary | {"saved_seconds": 1.0} | changes}).encode()


BOMB = zlib.compress(bytes(64_000_000), 9)
HEADER_BYTES = (100_000_000).to_bytes(8, "little")
NEVER_A_CHECKPOINT: dict[str, Callable[[Path], bytes]] = {
    "a zip of Stable-Baselines3 with code": sb3_zip,
    "a file of torch.save": torch_file,
    "an archive of NumPy with objects": numpy_archive,
    "a pickle": pickled,
    "a pickle where the weights should be": lambda canary: sealed(facts_of(), pickled(canary)),
    "a pickle where the JSON should be": lambda canary: sealed(pickled(canary)),
    "a header of 100 MB, which is not there": lambda _: sealed(facts_of(), HEADER_BYTES + b"{}"),
    "tensors beyond the end": lambda _: sealed(
        facts_of(), _tensors('{"a":{"dtype":"F32","shape":[9999999,9999999],"data_offsets":[0,399999920000004]}}')
    ),
    "tensors that overlap": lambda _: sealed(
        facts_of(), _tensors('{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}')  # noqa: E501
    ),
    "something that unpacks to far more": lambda _: sealed(facts_of(), kind="zlib", stored=BOMB),
    "streams within streams": lambda _: sealed(facts_of(), kind="zlib", stored=zlib.compress(BOMB)),
    "lists nested deeply": lambda _: sealed(b"[" * 1_000_000),
    "objects nested deeply": lambda _: sealed(b'{"a":' * 200_000 + b"1" + b"}" * 200_000),
    "a number of a million digits": lambda _: sealed(b'{"summary":' + b"9" * 1_000_000 + b"}"),
    "what is no number": lambda _: sealed(b'{"summary":{"metrics":{"value":NaN}}}'),
    "sizes that lie": lambda _: b"tracewright-checkpoint 1 plain 9999999999 9999999999 9999999999\n" + bytes(99),
    "sizes that lie under a right SHA-256": lambda _: _relabelled(f"{MAX_FACTS_BYTES} 10 12"),
}  # fmt: skip


def _tensors(header: str) -> bytes:
    return len(header).to_bytes(8, "little") + header.encode() + bytes(8)


def _relabelled(sizes: str) -> bytes:
    body = f"tracewright-checkpoint 1 plain {sizes}\n".encode() + b"{}" + NO_ARRAYS
    return body + hashlib.sha256(body).hexdigest().encode() + b"\n"


NO_STATE_OF_A_TRAINING = {
    "no summary": sealed(b"{}"),
    "a summary that is none": sealed(b'{"summary":[1]}'),
    "a reason that is none": sealed(facts_of(reason=["\x1b[2J"])),
    "a phase that is none": sealed(facts_of(phase="\x1b]0;gone\x07")),
    "a day that never comes": sealed(facts_of(saved_seconds=1e300)),
    "a metric without end": sealed(facts_of(metrics={"value": 10**400})),
    "metrics that are none": sealed(facts_of(metrics=3)),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # of SB3, about what it unpickled
def test_the_files_are_armed(canary: Path, tmp_path: Path) -> None:
    """What is refused below would run where it is read as what it pretends to be."""
    path = tmp_path / "armed.zip"
    path.write_bytes(sb3_zip(canary))
    load_from_zip_file(path)
    canary.rmdir()
    for content in (torch_file(canary), numpy_archive(canary), pickled(canary)):
        path.write_bytes(content)
        if content == pickled(canary):
            pickle.loads(content)  # noqa: S301
        elif content == torch_file(canary):
            torch.load(path, weights_only=False)
        else:
            np.load(io.BytesIO(content), allow_pickle=True)["weights"]
        canary.rmdir()


@pytest.mark.parametrize("make", NEVER_A_CHECKPOINT.values(), ids=NEVER_A_CHECKPOINT.keys())
def test_a_file_that_is_no_checkpoint_is_65_and_nothing_runs(
    project: Path, canary: Path, make: Callable[[Path], bytes]
) -> None:
    path = project / "armed.ckpt"
    path.write_bytes(make(canary))
    for arguments in (["show", path], ["export", path, "agent"], ["resume", path, "--fork"]):
        refused(tracewright("checkpoints", *arguments), "armed.ckpt: ")
    assert not canary.exists()
    assert not (project / "agent").exists()


def test_a_header_of_100_mb_that_is_there_is_65(project: Path) -> None:
    path = project / "large.ckpt"
    path.write_bytes(sealed(facts_of(), HEADER_BYTES + b"{" + b" " * 99_999_999))
    refused(tracewright("checkpoints", "show", path), "large.ckpt: cannot be read though its SHA-256 is right")


@pytest.mark.parametrize("content", NO_STATE_OF_A_TRAINING.values(), ids=NO_STATE_OF_A_TRAINING.keys())
def test_a_file_that_is_no_state_of_a_training_is_65(project: Path, content: bytes) -> None:
    path = project / ".tracewright" / "runs" / RUN / "checkpoints" / "000099-1.ckpt"
    path.write_bytes(content)
    refused(tracewright("checkpoints", "show", f"{RUN}/{path.name}"), "does not say what it is a checkpoint of")
    refused(tracewright("checkpoints", "export", path, "agent"), "checkpoint")
    refused(tracewright("checkpoints", "resume", path, "--fork"), "does not say what it is a checkpoint of")
    listed = tracewright("checkpoints", "list")
    assert listed.exit_code == 0
    assert f"{path.name}            damaged" in listed.stdout
    assert "\x1b" not in listed.output


def _changed(state: Checkpoint, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> bytes:
    facts, arrays = json.loads(json.dumps(state.facts)), dict(state.arrays)
    change(facts, arrays)
    return pack(Checkpoint(facts, arrays), compress=False)


def _set(key: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda facts, arrays: facts["settings"]["train"]["ppo"].update({key: value})


CONTRADICTIONS: dict[str, Callable[[dict[str, Any], dict[str, Any]], None]] = {
    "a policy's layer that is missing": lambda facts, arrays: arrays.pop("best.mlp_extractor.score.bias"),
    "a policy's layer of another shape": lambda facts, arrays: arrays.update(
        {"best.mlp_extractor.actor.0.weight": np.zeros((16, 3), np.float32)}
    ),
    "settings out of range": _set("gamma", 7),
    "no settings": lambda facts, arrays: facts.pop("settings"),
    "a shortlist of another size": lambda facts, arrays: facts["settings"]["train"].update({"shortlist": 1}),
    "a bank of another space": lambda facts, arrays: arrays.update({"bank.smaller": np.zeros((3, 2), np.float32)}),
    "a bank of objects' numbers": lambda facts, arrays: arrays.update({"bank.smaller": np.zeros((3, 13), np.int64)}),
    "a weight that is missing": lambda facts, arrays: arrays.pop("surrogate.trunk.0.weight"),
    "a weight of another shape": lambda facts, arrays: arrays.update({"surrogate.trunk.0.weight": np.zeros(3)}),
    "portfolios that are none": lambda facts, arrays: facts["prepared"].update({"portfolios": [1]}),
}


@pytest.mark.parametrize("change", CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_a_state_that_contradicts_itself_is_65(
    project: Path, finished: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]
) -> None:
    path = project / "wrong.ckpt"
    path.write_bytes(_changed(read_checkpoint(files_in(finished / "checkpoints")[-1]), change))
    refused(tracewright("checkpoints", "export", path, "agent"))
    assert not (project / "agent").exists()


def test_verify_names_every_hostile_file_of_a_run(project: Path, canary: Path) -> None:
    """As a command of its own, and `prune` removes them."""
    folder = project / ".tracewright" / "runs" / RUN / "checkpoints"
    sound = len(files_in(folder))
    made = [make(canary) for make in NEVER_A_CHECKPOINT.values()]
    for number, content in enumerate(made, 100):
        (folder / f"{number:06d}-1.ckpt").write_bytes(content)
    done = command("checkpoints", "verify")
    assert done.returncode == 65
    assert all(f"{number:06d}-1.ckpt: " in done.stderr for number in range(100, 100 + len(made)))
    assert f"{len(made)} damaged, {sound} sound" in done.stderr
    assert "Traceback" not in done.stderr
    assert command("checkpoints", "prune", RUN).returncode == 0
    assert command("checkpoints", "verify", RUN).stdout == f"{sound} checkpoint(s), all sound\n"
    assert not canary.exists()


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "pipeline.cli.main", *(str(a) for a in arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)


OUTSIDE = [
    "../secret.ckpt",
    f"{RUN}/../../../../../secret.ckpt",
    f"{RUN}/../training.json",
    f"{RUN}/..",
    f"../runs/{RUN}",
    "..",
    ".",
    "",
    "/",
    "/etc/passwd",
    f"{RUN}\0",
    f"{RUN}/\0.ckpt",
    "x" * 5000,
    "x" * 5000 + ".ckpt",
    f"{RUN}/{'x' * 5000}.ckpt",
    "%2e%2e%2fsecret.ckpt",
    "~root/x.ckpt",
    "-",
    f"{RUN}\n",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_elsewhere_is_65(project: Path, name: str) -> None:
    """What is asked for by a path and is there is read, as any file; none of these is a checkpoint."""
    (project.parent / "secret.ckpt").write_bytes(b"secret")
    for arguments in (["show", "--", name], ["export", "--", name, "agent"], ["resume", "--", name]):
        refused(tracewright("checkpoints", *arguments))
    for act in ("list", "verify", "prune"):
        result = tracewright("checkpoints", act, "--", name)
        if name == "":
            continue  # as without an argument: all runs
        refused(result, "there is no training run")
    assert (project.parent / "secret.ckpt").read_bytes() == b"secret"
    assert not (project / "agent").exists()


@pytest.mark.parametrize("index", ['{"sha256": 1, "entries": 2}', "[" * 100_000, '{"entries": [{"name": "../../x"}]}'])
def test_a_hostile_index_deletes_nothing_outside(project: Path, index: str) -> None:
    (project / ".tracewright" / "runs" / "x").write_text("kept")
    folder = project / ".tracewright" / "runs" / RUN / "checkpoints"
    (folder / "index.json").write_text(index)
    assert tracewright("checkpoints", "prune").exit_code == 0
    assert (project / ".tracewright" / "runs" / "x").read_text() == "kept"
    assert len(CheckpointStore(folder.parent, settings_with().checkpoints).entries()) == len(files_in(folder))


def test_an_index_sealed_by_a_stranger_deletes_nothing_outside(project: Path) -> None:
    """Its digest is right; only files of the folder are ever looked up in it."""
    outside = project / ".tracewright" / "runs" / "x"
    outside.write_text("kept")
    path = project / ".tracewright" / "runs" / RUN / "checkpoints" / "index.json"
    entries = json.loads(path.read_text())["entries"]
    for number, entry in enumerate(entries):
        entry |= {"name": "../../x", "number": number}
    path.write_text(
        json.dumps({"entries": entries, "sha256": hashlib.sha256(json.dumps(entries).encode()).hexdigest()})
    )
    assert tracewright("checkpoints", "prune").exit_code == 0
    assert outside.read_text() == "kept"


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\x80\x04N.", b"[]", b'{"fingerprint": 3}', b"{}", b"\xff"])
def test_a_hostile_lineage_costs_its_run_only(project: Path, content: bytes) -> None:
    run = project / ".tracewright" / "runs" / "20260202-000000-0000"
    run.mkdir()
    (run / "training.json").write_bytes(content)
    listed = tracewright("checkpoints", "list")
    assert listed.exit_code == 0
    assert f"run {RUN} (can be resumed)" in listed.stdout
    assert f"run {run.name} ({run / 'training.json'}: " in listed.stdout
    refused(tracewright("checkpoints", "resume", f"{run.name}"))


def _digested(folder: Path, content: bytes) -> None:
    """Weights under a right digest."""
    (folder / "policy.safetensors").write_bytes(content)
    _described(folder, weights_sha256=hashlib.sha256(content).hexdigest())


def _described(folder: Path, **changes: Any) -> None:
    path = folder / "agent.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


AGENTS: dict[str, Callable[[Path, Path], object]] = {
    "a pickle named .safetensors": lambda folder, canary: _digested(folder, pickled(canary)),
    "a zip of Stable-Baselines3 named .safetensors": lambda folder, canary: _digested(folder, sb3_zip(canary)),
    "a header of 100 MB": lambda folder, canary: _digested(folder, HEADER_BYTES + b"{}"),
    "no weights": lambda folder, canary: _digested(folder, b""),
    "another agent's weights": lambda folder, canary: (folder / "policy.safetensors").write_bytes(b"\0" * 99),
    "a pickle for a description": lambda folder, canary: (folder / "agent.json").write_bytes(pickled(canary)),
    "a description that is cut short": lambda folder, canary: (folder / "agent.json").write_bytes(b"{"),
    "a shortlist that fills any memory": lambda folder, canary: _described(folder, shortlist=10**9),
    "a description nested deeply": lambda folder, canary: (folder / "agent.json").write_text("[" * 200_000),
    "a space that is none": lambda folder, canary: _described(folder, space=[1]),
}


@pytest.mark.parametrize("harm", [pytest.param(v, id=k) for k, v in AGENTS.items()])
def test_a_hostile_agent_is_65_and_nothing_runs(
    project: Path, canary: Path, harm: Callable[[Path, Path], object]
) -> None:
    agent = project / "agent"
    tiny_agent().save(agent)
    harm(agent, canary)
    (project / "a.png").write_bytes(b"never read")
    refused(tracewright("vectorize", "a.png", "-o", "out", "--model", agent))
    assert not canary.exists()
    assert not (project / "out").exists()


@pytest.mark.parametrize("name", ["../../secret", "models:/../../secret/1", "models:/a/../../b", "../x@champion", "\0"])
def test_a_model_s_name_that_leads_elsewhere_finds_nothing(project: Path, name: str) -> None:
    before = sorted(project.parent.rglob("*"))
    (project / "a.png").write_bytes(b"never read")
    result = tracewright("vectorize", "a.png", "-o", "out", "--model", name)
    assert result.exit_code in (65, 69), result.output
    assert "Traceback" not in result.output
    assert sorted(project.parent.rglob("*")) == sorted([*before, project / "a.png"])
