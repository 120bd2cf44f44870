"""Where `tracewright vectorize` reads and writes, and what it prints; with the real tracer on small images."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from pipeline.agent.stopping import AUTO_TRACES
from pipeline.cli.main import main
from pipeline.vectorizing.batch import VectorizeResult
from tests.support.agents import small_agent, stopping_rule
from tests.support.fakes import rgba_of

HEAD = '<svg xmlns="http://www.w3.org/2000/svg"'


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with two images."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep").mkdir()
    Image.fromarray(rgba_of(1)).save(tmp_path / "a.png")
    Image.fromarray(rgba_of(2)).save(tmp_path / "deep" / "b.png")
    return tmp_path


def vectorize(agent: Path, *arguments: object, stdin: bytes | None = None) -> Result:
    common = ["--model", agent, "--traces", 1, "--workers", 1]
    return CliRunner().invoke(main, ["vectorize", *map(str, [*common, *arguments])], input=stdin)


def test_without_an_output_each_svg_lies_beside_its_image(here: Path, agent_folder: Path) -> None:
    result = vectorize(agent_folder, "a.png", "deep", "--json")
    assert result.exit_code == 0, result.output
    assert (here / "a.svg").read_text().startswith(HEAD)
    assert (here / "deep/b.svg").read_text().startswith(HEAD)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(line["path"], line["svg"]) for line in lines] == [("a.png", "a.svg"), ("deep/b.png", "deep/b.svg")]
    assert list(lines[0]) == [field.name for field in fields(VectorizeResult)]
    assert not (here / "results.jsonl").exists()
    assert "bytes in all" in result.stderr


def test_an_svg_that_is_there_stays_unless_forced(here: Path, agent_folder: Path) -> None:
    (here / "a.svg").write_text("by hand")
    for arguments in (("a.png",), ("a.png", "-o", "a.svg"), ("a.png", "-o", "."), ("-", "-o", "a.svg")):
        refused = vectorize(agent_folder, *arguments, stdin=(here / "a.png").read_bytes())
        assert refused.exit_code == 65
        assert "a.svg is there already; replace it with --force" in refused.stdout
        assert (here / "a.svg").read_text() == "by hand"
    assert vectorize(agent_folder, "a.png", "--force").exit_code == 0
    assert (here / "a.svg").read_text().startswith(HEAD)


def test_what_the_last_results_list_is_replaced(here: Path, agent_folder: Path) -> None:
    for _ in range(2):
        assert vectorize(agent_folder, "a.png", "-o", "out").exit_code == 0
    (here / "out/results.jsonl").write_text("[]\n")
    assert vectorize(agent_folder, "a.png", "-o", "out").exit_code == 65


def test_a_pipe_has_the_svg_alone_on_standard_output(here: Path, agent_folder: Path) -> None:
    assert vectorize(agent_folder, "a.png", "-o", "b.svg").exit_code == 0
    content = (here / "a.png").read_bytes()
    for arguments in (("-",), ("-", "-o", "-"), ("a.png", "-o", "-")):
        piped = vectorize(agent_folder, *arguments, stdin=content)
        assert (piped.exit_code, piped.stdout_bytes) == (0, (here / "b.svg").read_bytes())
        assert f"{arguments[0]}: {len(piped.stdout_bytes)} bytes" in piped.stderr
    as_json = vectorize(agent_folder, "-", "--json", stdin=content)
    assert as_json.stdout_bytes == piped.stdout_bytes
    record = json.loads(as_json.stderr.splitlines()[-1])
    assert (record["path"], record["svg"]) == ("-", "-")
    broken = vectorize(agent_folder, "-", stdin=b"GIF89a")
    assert (broken.exit_code, broken.stdout) == (65, "")
    assert "-: failed: undecodable: it is a GIF; save the picture you want as PNG" in broken.stderr


@pytest.mark.parametrize(
    ("bias", "traces", "policy", "spent"),
    [
        (1e6, "auto", "trained", 0),
        (-1e6, "auto", "trained", AUTO_TRACES),
        (1e6, "2", "trained", 2),
        (1e6, "auto", "greedy", AUTO_TRACES),
    ],
)
def test_auto_stops_when_the_agent_has_learnt_to(here: Path, bias: float, traces: str, policy: str, spent: int) -> None:
    replace(small_agent(), stopping_rule=stopping_rule(bias), trace_price=1e-12).save(here / "agent")
    arguments = ["--model", "agent", "--workers", 1, "--json", "--traces", traces, "--policy", policy]
    result = CliRunner().invoke(main, ["vectorize", "a.png", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["traces"] == spent


@pytest.mark.parametrize("traces", ["0", "1001", "1.5", "all"])
def test_any_other_number_of_traces_is_refused(here: Path, agent_folder: Path, traces: str) -> None:
    result = vectorize(agent_folder, "a.png", "--traces", traces)
    assert result.exit_code == 64
    assert "is neither auto nor a whole number from 1 to 1000" in result.stderr


def test_quiet_prints_failures_alone(here: Path, agent_folder: Path) -> None:
    (here / "deep/c.png").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    result = vectorize(agent_folder, "deep", "-o", "out", "--quiet")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines() == [
        "c.png: failed: undecodable: it is a Git LFS pointer, not the image; `git lfs pull` fetches the image"
    ]


def test_a_sharded_run_prints_the_same_records_and_names_what_failed(here: Path, agent_folder: Path) -> None:
    (here / "deep/c.png").write_bytes(b"nothing")
    plain = vectorize(agent_folder, "deep", "-o", "plain", "--json")
    sharded = vectorize(agent_folder, "deep", "-o", "out", "--sharded", "--json")
    again = vectorize(agent_folder, "-o", "out", "--sharded", "--json")
    assert sharded.stdout == again.stdout

    def records(result: Result) -> dict[str, dict[str, object]]:
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        return {line["path"]: {k: v for k, v in line.items() if k != "seconds"} for line in lines}

    assert records(plain) == records(sharded)
    shown = vectorize(agent_folder, "deep", "-o", "shown", "--sharded")
    assert "c.png: failed: undecodable: it is no PNG" in shown.stdout
