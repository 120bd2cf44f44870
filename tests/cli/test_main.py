from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from pipeline.cli.main import main
from pipeline.settings.params import load_settings
from pipeline.tracing.tracer_pool import TracerPool
from tests.support.fakes import ROOT, rgba_of


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a project without any run."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.fixture
def logos(tmp_path: Path) -> Path:
    folder = tmp_path / "logos"
    (folder / "deep").mkdir(parents=True)
    Image.fromarray(rgba_of(1)).save(folder / "a.png")
    Image.fromarray(rgba_of(2)).save(folder / "deep" / "b.png")
    return folder


def tracewright(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["vectorise"], "No such command 'vectorise'"),
        (["vectorize", "--speed", "9", "x.png"], "No such option"),
        (["vectorize", "x.png", "y.png", "-o", "z.svg"], "-o z.svg takes the SVG of one image"),
        (["vectorize", ".", "-o", "-"], "-o - takes the SVG of one image"),
        (["vectorize", "-", "x.png"], "IN is - (standard input) and more; give one of them"),
        (["vectorize", "-", "--curve"], "--curve writes several SVGs; give a file or folder as -o"),
        (["vectorize", "x.png", "--sharded"], "--sharded reads files and folders and writes to a folder"),
        (["vectorize", "x.png", "--sharded", "-o", "x.svg"], "name it with -o DIR"),
        (["vectorize", "x.png", "--sharded", "--force", "-o", "out"], "--force: not with --sharded"),
        (["vectorize", "-o", "out"], "Missing argument 'IN...'"),
        (["vectorize", "x.png", "-o", "out", "--traces", "0"], "'0' is neither auto nor a whole number from 1 to 1000"),
        (["vectorize", "x.png", "-o", "out", "--objective", "nicer"], "'nicer' is not one of"),
        (["vectorize", "x.png", "-o", "out", "--max-damage", "101"], "101.0 is not in the range 0<x<=100"),
        (
            ["vectorize", "x.png", "-o", "out", "--max-damage", "5", "--objective", "smaller"],
            "--max-damage is for --objective target, not smaller; give one of them",
        ),
        (["vectorize", "x.png", "-o", "out", "--budget-bytes", "0"], "0 is not in the range x>=1"),
        (
            ["vectorize", "x.png", "-o", "out", "--budget-bytes", "900", "--max-damage", "5"],
            "--max-damage and --budget-bytes: give one of them",
        ),
        (["vectorize", "x.png", "-o", "out", "--background", "#fff8"], "#fff8 is no opaque colour, such as white"),
        (["models", "promote"], "No such command 'promote'"),
    ],
)
def test_a_wrong_flag_is_64_and_nothing_is_written(project: Path, arguments: list[str], said: str) -> None:
    result = tracewright(*arguments)
    assert result.exit_code == 64
    assert said in result.stderr
    assert result.stderr.startswith("tracewright: ")
    assert "Traceback" not in result.stderr
    assert sorted(p.name for p in project.iterdir()) == ["dvc.yaml", "params.yaml"]


def test_a_missing_input_is_65_and_named(project: Path, agent_folder: Path) -> None:
    result = tracewright("vectorize", "gone.png", "-o", "out", "--model", agent_folder)
    assert (result.exit_code, "gone.png: no such file or folder" in result.stderr) == (65, True)
    assert not (project / "out").exists()


def test_a_folder_without_images_is_65(project: Path, agent_folder: Path) -> None:
    (project / "empty").mkdir()
    result = tracewright("vectorize", "empty", "-o", "out", "--model", agent_folder)
    assert result.exit_code == 65
    assert "empty: no images found" in result.stderr


def test_a_model_that_is_not_registered_is_69_with_what_to_do(project: Path, logos: Path) -> None:
    for model, said in (
        ("other", "run `make repro` to train one, or give --model PATH"),
        ("other/3", "models:/other/3"),
    ):
        result = tracewright("vectorize", logos, "-o", "out", "--model", model)
        assert (result.exit_code, said in result.stderr) == (69, True), result.stderr
    assert not (project / "out").exists()


def test_outside_a_project_an_agent_can_be_named(
    tmp_path: Path, logos: Path, agent_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert tracewright("vectorize", logos, "-o", logos / "a.png", "--model", agent_folder).exit_code == 74


def test_an_output_that_cannot_be_written_is_74_before_anything_is_traced(
    project: Path, logos: Path, agent_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TracerPool, "__init__", lambda *_, **__: pytest.fail("a pool was started"))
    (project / "file").write_text("in the way")
    for output in ("file", "file/below"):
        result = tracewright("vectorize", logos, "-o", output, "--model", agent_folder)
        assert result.exit_code == 74
        assert "cannot be written" in result.stderr
        assert (project / "file").read_text() == "in the way"


def test_a_damaged_agent_is_65(project: Path, logos: Path, agent_folder: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(agent_folder, damaged)
    (damaged / "policy.safetensors").write_bytes(b"\0" * 100)
    result = tracewright("vectorize", logos, "-o", "out", "--model", damaged)
    assert result.exit_code == 65
    assert "is damaged" in result.stderr


def test_images_become_svgs_and_a_broken_one_costs_only_itself(project: Path, logos: Path, agent_folder: Path) -> None:
    """With the real tracer."""
    (logos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    result = tracewright("vectorize", logos, "-o", "out", "--model", agent_folder, "--traces", 2, "--workers", 1)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (project / "out/results.jsonl").read_text().splitlines()]
    assert {line["path"]: line["status"] == "failed" for line in lines} == {
        "a.png": False,
        "broken.png": True,
        "deep/b.png": False,
    }
    for name in ("a.svg", "deep/b.svg"):
        assert (project / "out" / name).read_text().count("<svg") == 1
    assert "broken.png: failed: undecodable" in result.stdout
    assert re.search(
        r"\d improved, \d as the default, 1 failed; \d+ bytes in all, \d+% of the default's", result.stdout
    )


def test_when_no_image_could_be_done_it_is_65(project: Path, agent_folder: Path) -> None:
    (project / "broken.png").write_bytes(b"nothing of a picture")
    result = tracewright("vectorize", "broken.png", "-o", "out", "--model", agent_folder, "--workers", 1)
    assert result.exit_code == 65
    assert "none of 1 image(s) could be vectorised; see out/results.jsonl" in result.stderr
    assert json.loads((project / "out/results.jsonl").read_text())["status"] == "failed"


def test_use_data_changes_one_line_and_keeps_the_comments(project: Path) -> None:
    before = (project / "params.yaml").read_text()
    (project / "my logos").mkdir()
    result = tracewright("use-data", "my logos")
    assert (result.exit_code, result.output) == (0, "params.yaml: data.root is now my logos\n")
    after = (project / "params.yaml").read_text()
    changed = [(a, b) for a, b in zip(before.splitlines(), after.splitlines(), strict=True) if a != b]
    assert len(changed) == 1, changed
    assert changed[0][1].split("#")[0].strip() == "root: my logos"
    assert changed[0][0].split("#", 1)[1] == changed[0][1].split("#", 1)[1]
    assert "already" in tracewright("use-data", "my logos").output


@pytest.mark.parametrize("name", ["yes", "12", "a: b", "#1", "grüße", "it's", "x\ny", "1e3", "null"])
def test_use_data_takes_any_name(project: Path, name: str) -> None:
    (project / name).mkdir()
    assert tracewright("use-data", name).exit_code == 0
    assert load_settings(project / "params.yaml").data.root == name


def test_use_data_outside_the_project_is_absolute(project: Path, logos: Path) -> None:
    assert tracewright("use-data", "../logos").exit_code == 0
    assert load_settings(project / "params.yaml").data.root == str(logos.resolve())


@pytest.mark.parametrize("name", [".", "..", "data", "results", "results/evaluate/svg"])
def test_use_data_of_a_folder_with_results_is_65_and_changes_nothing(project: Path, name: str) -> None:
    (project / "results/evaluate/svg").mkdir(parents=True)
    (project / "data/samples").mkdir(parents=True)
    (project / "data/logos").mkdir()
    before = (project / "params.yaml").read_bytes()
    result = tracewright("use-data", name)
    assert result.exit_code == 65
    assert "which the pipeline writes; give a folder of logos alone" in result.stderr
    assert (project / "params.yaml").read_bytes() == before
    assert tracewright("use-data", "data/samples").exit_code == tracewright("use-data", "data/logos").exit_code == 0


def test_use_data_of_no_folder_is_65_and_changes_nothing(project: Path) -> None:
    before = (project / "params.yaml").read_bytes()
    for name in ("gone", "dvc.yaml"):
        result = tracewright("use-data", name)
        assert result.exit_code == 65
        assert f"{name}: no such folder" in result.stderr
    assert (project / "params.yaml").read_bytes() == before


def test_broken_settings_are_64(project: Path) -> None:
    (project / "params.yaml").write_text("experiment: [\n")
    result = tracewright("check")
    assert (result.exit_code, "params.yaml: is not valid YAML" in result.stderr) == (64, True)


def test_a_stop_by_the_keyboard_is_75(
    project: Path, logos: Path, agent_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> Iterator[object]:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.vectorizing.batch.vectorize_files", interrupted)
    result = tracewright("vectorize", logos, "-o", "out", "--model", agent_folder, "--workers", 1)
    assert result.exit_code == 75
    assert "stopped on request" in result.stderr


def test_help_and_version(project: Path) -> None:
    for arguments in (["--help"], ["-h"], ["vectorize", "--help"], ["models", "--help"], ["--version"]):
        result = tracewright(*arguments)
        assert result.exit_code == 0, arguments
        assert result.stdout
    assert re.fullmatch(r"tracewright \d+\.\d+\.\d+, shipped agent [0-9a-f]{12}\n", tracewright("--version").stdout)
