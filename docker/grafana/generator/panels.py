"""The kinds of panels that the dashboards are made of, each with a title, a unit and a description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BarGaugeSizing,
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import DataSourceRef, DataTransformerConfig, ThresholdsMode
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
MONEY = "currency:CNY "
"""Unit of amounts; `bank.base_currency` where the bank has another one."""

Panel = Any
Marks = Sequence[tuple[float, str]]


class Query(NamedTuple):
    """An expression, and what its series are called (``{{label}}``)."""

    expression: str
    legend: str = "__auto"


def stats(
    title: str, unit: str, description: str, *queries: Query, width: int = 6, marks: Marks = ()
) -> Panel:
    """One large figure a query, as it is now."""
    panel = (
        stat.Panel()
        .graph_mode(BigValueGraphMode.NONE)
        .color_mode(BigValueColorMode.VALUE)
        .text_mode(BigValueTextMode.VALUE_AND_NAME if len(queries) > 1 else BigValueTextMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    )
    return _finish(panel, title, unit, description, queries, width, 5, marks=marks)


def lines(
    title: str,
    unit: str,
    description: str,
    *queries: Query,
    width: int = 12,
    stacked: bool = False,
    bars: bool = False,
    interval: str | None = None,
) -> Panel:
    """Series over time."""
    panel = (
        timeseries.Panel()
        .draw_style(GraphDrawStyle.BARS if bars else GraphDrawStyle.LINE)
        .fill_opacity(30 if stacked else 80 if bars else 5)
        .line_width(1)
        .show_points(VisibilityMode.NEVER)
        .axis_soft_min(0)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    if interval is not None:
        panel = panel.interval(interval)
    return _finish(panel, title, unit, description, queries, width, 8)


def ranking(title: str, unit: str, description: str, query: Query, width: int = 12) -> Panel:
    """A bar for each series as it is now."""
    panel = (
        bargauge.Panel()
        .orientation(VizOrientation.HORIZONTAL)
        .display_mode(BarGaugeDisplayMode.BASIC)
        .sizing(BarGaugeSizing.AUTO)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .min(0)
    )
    return _finish(panel, title, unit, description, [query], width, 10, instant=True)


def heat(title: str, unit: str, description: str, query: Query, width: int = 12) -> Panel:
    """Density of a histogram over time; the query gives its buckets."""
    panel = (
        heatmap.Panel()
        .calculate(False)
        .color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64))
        .y_axis(heatmap.YAxisConfig().unit(unit))
    )
    return _finish(panel, title, unit, description, [query], width, 9, query_format=PromQueryFormat.HEATMAP)


def listing(
    title: str,
    unit: str,
    description: str,
    *queries: Query,
    by: str,
    columns: Sequence[str],
    units: Mapping[str, str] | None = None,
    width: int = 24,
) -> Panel:
    """A table of what is now: a row for each value of label `by`, a column for each query in `columns`."""
    panel = table.Panel().show_header(True)
    if len(queries) > 1:
        panel = panel.with_transformation(
            DataTransformerConfig(id_val="joinByField", options={"byField": by, "mode": "outer"})
        )
    hidden = {"Time": True, "job": True, "__name__": True}
    hidden.update({f"Time {number}": True for number in range(1, len(queries) + 1)})
    values = (
        [f"Value #{chr(ord('A') + number)}" for number in range(len(queries))]
        if len(queries) > 1
        else ["Value"]
    )
    for column, column_unit in (units or {}).items():
        panel = panel.override_by_name(column, [models.DynamicConfigValue(id_val="unit", value=column_unit)])
    organize = {"excludeByName": hidden, "renameByName": dict(zip(values, columns, strict=True))}
    panel = panel.with_transformation(DataTransformerConfig(id_val="organize", options=organize))
    return _finish(
        panel, title, unit, description, queries, width, 12, instant=True, query_format=PromQueryFormat.TABLE
    )


def _finish(
    panel: Panel,
    title: str,
    unit: str,
    description: str,
    queries: Sequence[Query],
    width: int,
    height: int,
    *,
    instant: bool = False,
    query_format: PromQueryFormat = PromQueryFormat.TIME_SERIES,
    marks: Marks = (),
) -> Panel:
    panel = (
        panel.title(title).unit(unit).description(description).datasource(SOURCE).span(width).height(height)
    )
    if marks:
        steps = [models.Threshold(value=None, color="green")]
        steps += [models.Threshold(value=value, color=color) for value, color in marks]
        panel = panel.thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    for number, query in enumerate(queries):
        target = (
            prometheus.Dataquery()
            .expr(query.expression)
            .legend_format(query.legend)
            .ref_id(chr(ord("A") + number))
            .format(query_format)
        )
        panel = panel.with_target(target.instant() if instant else target.range())
    return panel


def variables(*, windows: bool = False, rules: bool = False) -> list[Any]:
    """What can be chosen above a dashboard: the data source, the window of days, rule models."""
    chosen: list[Any] = [dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")]
    if windows:
        chosen.append(
            dashboard.CustomVariable("window")
            .label("Days")
            .values("today : 1d,7 days : 7d,30 days : 30d,a year : 365d")
            .current(models.VariableOption(text="30 days", value="30d", selected=True))
        )
    if rules:
        chosen.append(
            dashboard.QueryVariable("rule")
            .label("Rule model")
            .datasource(SOURCE)
            .query("label_values(stream_guard_state_rules, rule)")
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(".*@.*|anomaly")
            .current(models.VariableOption(text="All", value="$__all", selected=True))
        )
    return chosen


def page(uid: str, title: str, description: str, time: str, choices: Sequence[Any]) -> dashboard.Dashboard:
    """An empty dashboard."""
    made = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["stream-guard"])
        .time(f"now-{time}", "now")
        .refresh("30s")
        .readonly()
        .link(
            dashboard.DashboardLink("stream_guard")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags(["stream-guard"])
            .keep_time(True)
        )
    )
    for choice in choices:
        made = made.with_variable(choice)
    return made
