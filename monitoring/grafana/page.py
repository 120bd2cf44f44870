"""A whole dashboard from its sections: places, numbers, choices at the top, marks in time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from monitoring.grafana.panels import HERE, RUN, SOURCE

Panels = Sequence[Builder[dashboard.Panel]]

PAGES = {
    "tracewright-service": "Service health",
    "tracewright-training": "Training",
    "tracewright-resources": "Resources",
}


@dataclass(frozen=True, slots=True)
class Marks:
    """Events drawn across all curves. at_value: the series' value is the time, in milliseconds."""

    name: str
    expr: str
    title: str
    color: str
    at_value: bool = False


ALARMS = Marks("Alarms", f'ALERTS{{alertstate="firing", {HERE}}}', "{{alertname}}", "red")
RUNS = Marks(
    "Runs",
    f"tracewright_training_start_time_seconds{{{RUN}}} * 1000",
    "run {{run}} began",
    "blue",
    at_value=True,
)
STAGES = Marks(
    "Curriculum stages",
    f"tracewright_training_stage_info{{{RUN}}} unless tracewright_training_stage_info{{{RUN}}} offset 30s",
    "{{run}}: stage {{stage}}",
    "purple",
)
ENDS = Marks(
    "Ends",
    f'(tracewright_training_state{{{RUN}, state=~"finished|stopped|failed|killed"}} == 1) '
    f"unless (tracewright_training_state{{{RUN}}} offset 30s == 1)",
    "{{run}}: {{state}}",
    "orange",
)


def page(
    uid: str, description: str, sections: Sequence[tuple[str, Panels]], *, marks: Sequence[Marks], of_runs: bool
) -> str:
    """The JSON that Grafana provisions. The first section has no heading; of_runs: a run can be chosen."""
    made = (
        build.Dashboard(PAGES[uid])
        .uid(uid)
        .description(description)
        .tags(["tracewright"])
        .readonly()
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .variables(_variables(of_runs))
        .links([_link(other, title) for other, title in PAGES.items() if other != uid])
    )
    for heading, panels in sections:
        made = made.with_row(build.Row(heading)) if heading else made
        for panel in panels:
            made = made.with_panel(panel)
    whole = json.loads(json.dumps(made.build(), cls=JSONEncoder))
    whole["annotations"] = {"list": [_annotation(each) for each in marks]}
    for number, panel in enumerate(whole["panels"], 1):
        panel["id"] = number
    return json.dumps(whole, indent=1, sort_keys=True) + "\n"


def _variables(of_runs: bool) -> list[Builder[dashboard.VariableModel]]:
    instance = _variable(
        "instance", "Machine", "label_values(tracewright_source_up, instance)", "where an exporter runs"
    )
    run = _variable(
        "run", "Run", f"label_values(tracewright_training_info{{{HERE}}}, run)", "a training, by its folder"
    )
    return [instance, run] if of_runs else [instance]


def _variable(name: str, label: str, query: str, description: str) -> Builder[dashboard.VariableModel]:
    return (
        build.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(SOURCE)
        .query({"query": query, "refId": name})
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_DESC)
        .include_all(True)
        .all_value(".*")
        .current(dashboard.VariableOption(text="All", value="$__all"))
        .multi(True)
    )


def _link(uid: str, title: str) -> build.DashboardLink:
    return build.DashboardLink(title).url(f"/d/{uid}").keep_time(True).include_vars(True)


def _annotation(marks: Marks) -> dict[str, Any]:
    """As the Prometheus data source reads it; the builders know the fields that all data sources share only."""
    return {
        "name": marks.name,
        "datasource": SOURCE.to_json(),
        "enable": True,
        "hide": False,
        "iconColor": marks.color,
        "expr": marks.expr,
        "step": "10s",
        "titleFormat": marks.title,
        "textFormat": "",
        "tagKeys": "",
        "useValueForTime": "on" if marks.at_value else "",
    }
