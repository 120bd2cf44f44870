from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.facts.data import RejectedFile
from pipeline.core.json_records import from_json, to_json
from pipeline.reports import run_report as machine
from pipeline.reports.findings import find
from pipeline.reports.parts import Resources, Usage
from pipeline.reports.results import Results
from pipeline.reports.run_report import RunReport, run_report, schema, schema_text, thinned
from tests.support.facts import checkpoint_entry
from tests.support.fakes import ROOT

SCHEMA = ROOT / "pipeline/reports/report.schema.json"


@pytest.fixture(scope="module")
def report(results: Results) -> dict[str, Any]:
    """Of a run that left everything."""
    at = results.training.best.timesteps
    checkpoints = (checkpoint_entry(1, at - 1), checkpoint_entry(2, at + 1), checkpoint_entry(3, at, size=500))
    usage = Usage(name="memory", unit="bytes", mean=1e9, highest=2e9, limit=4e9)
    whole = replace(results, checkpoints=checkpoints, resources=Resources(samples=9, seconds=45.0, usage=(usage,)))
    found: dict[str, Any] = to_json(run_report(whole, find(whole), ("headline.png",)))
    return found


def test_the_schema_beside_the_code_is_the_codes_own() -> None:
    """After a change: `python -m pipeline.reports.schema_file`."""
    assert SCHEMA.read_text(encoding="utf-8") == schema_text()
    jsonschema.Draft202012Validator.check_schema(schema())


def test_a_report_fulfils_its_schema(report: dict[str, Any]) -> None:
    jsonschema.validate(report, schema())
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema_version",), 2), (("headline",), None), (("run_id",), 7), (("training", "seconds"), "long"),
        (("comparison", "methods", 0, "kind"), "friend"), (("findings", 0, "level"), "bad"),
        (("checkpoints", "count"), "x"),
    ],
)  # fmt: skip
def test_what_is_of_another_form_does_not(report: dict[str, Any], path: tuple[Any, ...], value: object) -> None:
    changed = copy.deepcopy(report)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed, schema())


def test_a_report_is_read_back_as_it_was(report: dict[str, Any]) -> None:
    assert to_json(from_json(RunReport, report)) == report


def test_it_holds_what_was_run_on_what_and_what_came_of_it(report: dict[str, Any]) -> None:
    """What the original's execution report, dataset info, checkpoint info and validation report held."""
    assert report["training"]["experiment"] == "tracewright"
    assert report["training"]["seconds"] > 0
    assert report["ended_early"] is None
    assert report["settings"]["train"]["ppo"]["gamma"] == 1.0
    assert report["training"]["stages"][0]["name"] == "simple"
    assert report["dataset"]["rejects"] == {"too-small": 2, "undecodable": 1}
    assert report["training"]["dataset"]["by_category"]["text"]["test"] == 11
    assert report["checkpoints"]["count"] == 3
    assert report["checkpoints"]["total_bytes"] == 2500
    newest = f"000003-{report['training']['best']['timesteps']}.ckpt"
    assert (report["checkpoints"]["latest"], report["checkpoints"]["best"]) == (newest, newest)
    last = report["training"]["validations"][-1]
    assert {"ssim", "mse", "psnr", "skill", "target_reached_ratio", "stability", "consistency", "trend"} <= set(last)
    assert set(last["by_category"]) == {"simple", "text", "gradient", "complex"}
    assert report["resources"]["usage"][0]["highest"] == 2e9
    assert {finding["level"] for finding in report["findings"]} >= {"good", "attention"}


def test_what_grows_with_the_data_is_cut(results: Results) -> None:
    rejected = tuple(RejectedFile(path=f"{n}.png", reason="too-small", detail="") for n in range(1000))
    assert results.quality
    quality = replace(results.quality, rejected=rejected)
    crowded = replace(results, quality=quality, progress=results.progress * 200, checkpoints=())
    made = run_report(crowded, (), ())
    assert made.dataset
    assert len(made.dataset.rejected) == machine.MOST_REJECTS
    assert made.dataset.rejects == {"too-small": 1000}
    assert len(made.progress) == machine.MOST_POINTS
    assert made.progress[-1] == results.progress[-1]
    assert made.checkpoints is None


@given(st.lists(st.integers(), max_size=50), st.integers(1, 60))
def test_what_is_thinned_keeps_its_order_and_its_end(values: list[int], most: int) -> None:
    kept = thinned(values, most)
    assert len(kept) == min(len(values), most)
    rest = iter(values)
    assert all(any(value == other for other in rest) for value in kept)
    assert kept[-1:] == values[-1:]
