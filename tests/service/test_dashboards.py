"""The dashboards without a Grafana: whole, in place, explained, and asking for what there is."""

from __future__ import annotations

import itertools
from typing import Any

import promql_parser
import pytest
import yaml

from monitoring.grafana.__main__ import PAGES as MADE
from monitoring.metrics import BY_NAME
from tests.support.dashboard_pages import FOLDER, PAGES, Asked, filled, names, panels, queries
from tests.support.source import ROOT

NOT_OURS = {"up", "ALERTS", "scrape_duration_seconds", "scrape_samples_post_metric_relabeling"}
"""What Prometheus itself knows."""

RECORDED = {
    rule["record"]: rule["expr"]
    for group in yaml.safe_load((ROOT / "monitoring/prometheus/rules/recording.yml").read_text())["groups"]
    for rule in group["rules"]
}
"""What Prometheus works out from ours, for pages and alarms alike."""

NOT_SHOWN = {
    "tracewright_boot_time_seconds",
    "tracewright_load5",
    "tracewright_swap_size_bytes",
    "tracewright_swap_used_bytes",
    "tracewright_pressure_full_seconds_total",
    "tracewright_disk_size_bytes",
    "tracewright_disk_inodes",
    "tracewright_disk_inodes_available",
    "tracewright_gpu_info",
    "tracewright_gpu_up",
    "tracewright_gpu_memory_busy_ratio",
    "tracewright_gpu_energy_joules_total",
    "tracewright_gpu_clock_max_hertz",
    "tracewright_gpu_processes",
    "tracewright_gpu_process_memory_bytes",
    "tracewright_training_stage_number",
    "tracewright_training_stages",
    "tracewright_validation_timesteps",
    "tracewright_checkpoint_saved_time_seconds",
    "tracewright_checkpoint_timesteps",
}
"""Metrics that no page shows: those that alarms or other metrics tell of already."""

UNITS = {"none", "short", "percentunit", "s", "bytes", "Bps", "ops", "pps", "celsius", "watt", "hertz"}
"""Of Grafana's names of units, those that are used; a wrong one would be printed behind the number as it is."""

every_page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())
every_query = pytest.mark.parametrize("asked", queries(), ids=lambda asked: asked.where)


def test_the_files_are_those_that_the_pages_make() -> None:
    assert set(MADE) == set(PAGES) == {"resources", "service", "training"}
    for name, make in MADE.items():
        text = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
        assert text == make(), f"{name}.json: run `python -m monitoring.grafana`"


@every_page
def test_a_page_has_what_grafana_needs(page: dict[str, Any]) -> None:
    assert page["uid"].startswith("tracewright-")
    assert page["schemaVersion"] >= 39
    assert "id" not in page or page["id"] is None, "an id belongs to one Grafana's database"
    assert page["title"]
    assert page["description"].endswith(".")
    ids = [panel["id"] for panel in page["panels"]]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in page["panels"]]
    assert len(set(titles)) == len(titles)


def test_no_two_pages_share_an_address() -> None:
    assert len({page["uid"] for page in PAGES.values()}) == len(PAGES)


@every_page
def test_no_two_panels_lie_on_each_other_and_no_gap_is_left(page: dict[str, Any]) -> None:
    places: dict[tuple[int, int], str] = {}
    for panel in page["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24, panel["title"]
        for x, y in itertools.product(range(grid["x"], grid["x"] + grid["w"]), range(grid["y"], grid["y"] + grid["h"])):
            assert (x, y) not in places, f"{panel['title']} lies on {places[x, y]}"
            places[x, y] = panel["title"]
    height = max(y for _, y in places) + 1
    assert len(places) == 24 * height, "a row is not filled"


@every_page
def test_the_first_row_tells_in_single_figures_whether_all_is_well(page: dict[str, Any]) -> None:
    top = [panel for panel in page["panels"] if panel["gridPos"]["y"] == 0]
    assert [panel["type"] for panel in top] == ["stat"] * len(top)
    assert 6 <= len(top) <= 8
    for panel in top:
        assert panel["options"]["colorMode"] == "background", panel["title"]
        assert all(target["instant"] for target in panel["targets"]), f"{panel['title']} would show old figures"
        assert panel["fieldConfig"]["defaults"]["noValue"], panel["title"]
    coloured = [panel for panel in top if len(panel["fieldConfig"]["defaults"]["thresholds"]["steps"]) > 1]
    assert len(coloured) >= 5


@every_page
def test_every_panel_is_explained_and_has_its_unit_and_source(page: dict[str, Any]) -> None:
    source = yaml.safe_load((ROOT / "monitoring/grafana/provisioning/datasources/prometheus.yml").read_text())
    uid = source["datasources"][0]["uid"]
    for panel in panels(page):
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["description"].endswith("."), panel["title"]
        assert defaults["unit"] in UNITS, panel["title"]
        assert defaults["thresholds"]["steps"][0].get("value") is None, panel["title"]
        for place in (panel, *panel["targets"]):
            assert place["datasource"] == {"type": "prometheus", "uid": uid}, panel["title"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs), panel["title"]


@every_page
def test_thresholds_rise(page: dict[str, Any]) -> None:
    for panel in panels(page):
        values = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1:]]
        assert values == sorted(set(values)), panel["title"]


@every_page
def test_machine_and_run_are_chosen_from_what_there_is(page: dict[str, Any]) -> None:
    variables = {variable["name"]: variable for variable in page["templating"]["list"]}
    assert {"instance"} <= set(variables) <= {"instance", "run"}
    for variable in variables.values():
        assert variable["includeAll"]
        assert variable["allValue"] == ".*"
        assert variable["query"]["query"].startswith("label_values(tracewright_")
    used = {name for panel in panels(page) for target in panel["targets"] for name in _variables(target["expr"])}
    assert used == set(variables)


def _variables(expr: str) -> set[str]:
    return {name for name in ("instance", "run") if f'{name}=~"${name}"' in expr}


@every_query
def test_every_query_is_promql_about_metrics_that_exist(asked: Asked) -> None:
    promql_parser.parse(filled(asked.expr, "20s"))
    asked_for = names(asked.expr)
    assert asked_for, asked.expr
    assert asked_for <= set(BY_NAME) | set(RECORDED) | NOT_OURS, asked_for


@every_query
def test_a_rate_is_taken_of_counters_alone_and_over_grafanas_own_interval(asked: Asked) -> None:
    for call in _calls(promql_parser.parse(filled(asked.expr, "20s"))):
        if call.func.name not in ("rate", "deriv"):
            continue
        (argument,) = call.args
        name = argument.vector_selector.name
        assert BY_NAME[name].kind == {"rate": "counter", "deriv": "gauge"}[call.func.name], asked.expr
    assert asked.expr.count("rate(") == asked.expr.count("[$__rate_interval]"), asked.expr


def _calls(tree: Any) -> list[Any]:
    """Every function call in a parsed query."""
    if isinstance(tree, promql_parser.Call):
        return [tree, *(call for argument in tree.args for call in _calls(argument))]
    inner = (getattr(tree, name, None) for name in ("expr", "lhs", "rhs"))
    return [call for part in inner if part is not None for call in _calls(part)]


@every_query
def test_labels_that_are_read_are_there(asked: Asked) -> None:
    """A misspelt label filters everything away, or groups everything into one."""
    known = {label for name in names(asked.expr) & set(BY_NAME) for label in BY_NAME[name].labels}
    known |= {label for name in names(asked.expr) & set(RECORDED) for label in name.split(":")[0].split("_")}
    known |= {"instance", "job", "alertname", "alertstate", "severity"}
    for selector in _selectors(promql_parser.parse(filled(asked.expr, "20s"))):
        for matcher in selector.matchers.matchers:
            allowed = set(BY_NAME[selector.name].labels) if selector.name in BY_NAME else known
            assert matcher.name in allowed | {"instance", "job"}, f"{selector.name} has no label {matcher.name}"


def _selectors(tree: Any) -> list[Any]:
    if isinstance(tree, promql_parser.VectorSelector):
        return [tree]
    inner = [getattr(tree, name, None) for name in ("expr", "lhs", "rhs", "vector_selector")]
    inner += getattr(tree, "args", [])
    return [selector for part in inner if part is not None for selector in _selectors(part)]


def test_what_is_measured_is_shown() -> None:
    asked_for = set().union(*(names(asked.expr) for asked in queries()))
    shown = asked_for.union(*(names(RECORDED[name].replace("[", " [")) for name in asked_for & set(RECORDED)))
    ours = {name for name in BY_NAME if not name.startswith("tracewright_exporter_process_")}
    assert ours - shown == NOT_SHOWN


def test_grafana_finds_data_source_and_pages_by_variables_that_are_set() -> None:
    provisioning = ROOT / "monitoring/grafana/provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards/tracewright.yml").read_text())["providers"]
    assert source["url"] == "$PROMETHEUS_URL"
    assert provider["options"]["path"] == "$TRACEWRIGHT_DASHBOARDS"
    scraping = yaml.safe_load((ROOT / "monitoring/prometheus/prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraping
