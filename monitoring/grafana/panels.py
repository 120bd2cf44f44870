"""The few kinds of panel that our dashboards are made of, by Grafana's own builders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from grafana_foundation_sdk.builders import common as options
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="tracewright-prometheus")
"""What provisioning/datasources makes."""

HERE = 'instance=~"$instance"'
RUN = f'{HERE}, run=~"$run"'
"""The series of the machines and runs that are chosen at the top of the page."""

WIDTH = 24
STAT_HEIGHT = 4
PANEL_HEIGHT = 8

Query = tuple[str, str]
"""A PromQL expression, and what each of its series is called."""

Steps = Sequence[tuple[float, str]]
"""From which value on a colour holds; below the first it is green, or what `below` says."""

Words = Mapping[int, tuple[str, str]]
"""What is shown in place of a value, and its colour."""

GREEN, YELLOW, RED, BLUE, GREY = "green", "yellow", "red", "blue", "text"
UP_OR_DOWN = {0: ("down", RED), 1: ("up", GREEN)}
YES_OR_NO = {0: ("no", GREEN), 1: ("yes", RED)}


def steps_of(steps: Steps, below: str = GREEN) -> build.ThresholdsConfig:
    found = [dashboard.Threshold(value=None, color=below)]
    found += [dashboard.Threshold(value=value, color=color) for value, color in steps]
    return build.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(found)


def words_of(words: Words) -> list[dashboard.ValueMapping]:
    """Words and colours in place of numbers."""
    return [
        dashboard.ValueMap(
            options={
                str(value): dashboard.ValueMappingResult(text=text, color=color, index=index)
                for index, (value, (text, color)) in enumerate(words.items())
            }
        )
    ]


def _query(expr: str, legend: str, name: str, *, instant: bool = False) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(name).datasource(SOURCE)
    return query.instant() if instant else query.range()


def stat_panel(
    title: str,
    description: str,
    query: Query,
    *,
    unit: str,
    steps: Steps = (),
    below: str = GREEN,
    words: Words | None = None,
    none: str = "no data",
    decimals: int | None = None,
    width: int = 4,
) -> stat.Panel:
    """One current figure. An instant query, so that no old value is shown when the exporter is gone."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .with_target(_query(*query, "A", instant=True))
        .unit(unit)
        .thresholds(steps_of(steps, below))
        .color_scheme(build.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .color_mode(common.BigValueColorMode.BACKGROUND)
        .graph_mode(common.BigValueGraphMode.NONE)
        .text_mode(common.BigValueTextMode.VALUE_AND_NAME if query[1] else common.BigValueTextMode.VALUE)
        .reduce_options(options.ReduceDataOptions().calcs(["lastNotNull"]))
        .no_value(none)
        .mappings(words_of(words or {}) if words else [])
        .span(width)
        .height(STAT_HEIGHT)
    )
    return panel if decimals is None else panel.decimals(decimals)


def lines(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    steps: Steps = (),
    low: float | None = 0,
    high: float | None = None,
    stacked: bool = False,
    width: int = 8,
) -> timeseries.Panel:
    """Curves over time; steps are drawn as lines across. low, high: the ends of the axis, None where data decide."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .thresholds(steps_of(steps))
        .thresholds_style(options.GraphThresholdsStyleConfig().mode(_threshold_style(steps)))
        .fill_opacity(40 if stacked else 5)
        .line_width(1)
        .show_points(common.VisibilityMode.AUTO)
        .legend(
            options.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(options.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
        .span(width)
        .height(PANEL_HEIGHT)
    )
    for name, (expr, legend) in zip("ABCDEFGH", queries, strict=False):
        panel = panel.with_target(_query(expr, legend, name))
    if stacked:
        panel = panel.stacking(options.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    panel = panel if low is None else panel.min(low)
    return panel if high is None else panel.max(high)


def _threshold_style(steps: Steps) -> common.GraphThresholdsStyleMode:
    return common.GraphThresholdsStyleMode.LINE if steps else common.GraphThresholdsStyleMode.OFF


def states(
    title: str,
    description: str,
    query: Query,
    *,
    words: Words,
    width: int = 12,
) -> statetimeline.Panel:
    """A band per series, coloured by its value."""
    return (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .with_target(_query(*query, "A"))
        .unit("none")
        .thresholds(steps_of([]))
        .color_scheme(build.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .mappings(words_of(words))
        .merge_values(True)
        .show_value(common.VisibilityMode.NEVER)
        .legend(
            options.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .span(width)
        .height(PANEL_HEIGHT)
    )


def list_panel(title: str, description: str, expr: str, columns: Sequence[str], *, width: int = 12) -> table.Panel:
    """A row per series, with these of its labels as columns. expr: an instant query."""
    query = _query(expr, "", "A", instant=True).format(PromQueryFormat.TABLE)
    shown: dict[str, Any] = {"indexByName": {name: index for index, name in enumerate(columns)}}
    return (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .with_target(query)
        .unit("none")
        .thresholds(steps_of([]))
        .with_transformation(
            dashboard.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": list(columns)}})
        )
        .with_transformation(dashboard.DataTransformerConfig(id_val="organize", options=shown))
        .no_value("none")
        .span(width)
        .height(PANEL_HEIGHT)
    )
