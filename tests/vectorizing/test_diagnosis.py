"""`tracewright doctor` on what vectorising wrote: each file in turn is damaged, and named."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.vectorizing.diagnosis import examine_output, sharded_outputs
from pipeline.vectorizing.table import read_results


@pytest.fixture
def outputs(images: Path, agent_folder: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The same images vectorised in shards and without."""
    sharded, plain = tmp_path / "sharded", tmp_path / "plain"
    for output, more in ((sharded, ["--sharded", "--shard-files", "4"]), (plain, [])):
        arguments = [images, "-o", output, "--model", agent_folder, "--traces", 1, "--workers", 1, "--curve", *more]
        assert CliRunner().invoke(main, ["vectorize", *map(str, arguments)]).exit_code == 0
    return sharded, plain


def flip(path: Path) -> bytes:
    """Flips a bit in the middle of a file; returns what was in it."""
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :])
    return content


def test_every_damaged_file_is_named_with_what_to_do(outputs: tuple[Path, Path]) -> None:
    sharded, plain = outputs
    advice = ("start again with another -o", "the same command", "vectorise")
    for output in outputs:
        assert [finding.level for finding in examine_output(output)] == ["fine"]
        files = [p for p in output.rglob("*") if p.is_file() and p.name != ".lock"]
        for file in files:
            if file == plain / "results.jsonl":
                continue  # its lines have no checksums: only those that are no JSON any more are found
            is_part = file.suffix == ".parquet"
            rows = list(read_results(file)) if is_part else []
            content = flip(file)
            findings = list(examine_output(output))
            if is_part and findings[0].level == "fine":
                assert list(read_results(file)) == rows, "a bit of the file's statistics, which nothing reads"
                file.write_bytes(content)
                continue
            assert {finding.level for finding in findings} == {"damaged"}, file
            assert any(f.text.startswith(f"{file}: ") for f in findings), (file, findings)
            assert all(any(words in finding.text for words in advice) for finding in findings), findings
            file.write_bytes(content)
    assert sharded_outputs(sharded.parent) == [sharded]
    (sharded / ".sharded/results/part-00001.parquet").unlink()
    assert [finding.level for finding in examine_output(sharded)] == ["fine"], "it is not done yet"
    (plain / "results.jsonl").write_text("{\n")
    (sharded / "0.svg").unlink()
    told = CliRunner().invoke(main, ["doctor", *map(str, outputs)])
    assert told.exit_code == 65
    assert f"{sharded}/0.svg: is not the SVG that was written; delete " in told.stdout
    assert f"{plain}/results.jsonl: cannot be read" in told.stdout
