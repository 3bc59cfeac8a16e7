"""The charts of a run in a real browser, with numbers that the test hands out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.template.loader import render_to_string
from playwright.sync_api import Page, Route, expect

from tests.browser import chromium, tab
from tests.runs.pages.log_pages import SITE, serve_static

__all__ = ["chromium", "tab"]
pytestmark = pytest.mark.browser

SHEETS = ("tokens", "base", "components", "buttons", "forms", "charts")
Value = float | str


@dataclass
class ChartPage:
    """A page with charts of metrics; `values` are those of each series, by name and process."""

    page: Page
    values: dict[tuple[str, str], list[Value]] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)

    def open(self) -> None:
        self.page.route(f"{SITE}/**", self._answer)
        self.page.goto(f"{SITE}/page")
        self.page.evaluate(
            """async () => {
                const { MetricCharts } = await import("/static/js/charts.js");
                window.charts = new MetricCharts(document.querySelector("[data-charts]"), "/api/");
                await window.charts.load();
            }"""
        )

    def nudge(self, *names: str) -> None:
        self.page.evaluate("names => window.charts.changed(names)", list(names))

    def titles(self) -> list[str]:
        return self.page.locator(".chart:visible .chart-title").all_text_contents()

    def legend(self, title: str) -> list[str]:
        chips = self.chart(title).locator(".chart-chip")
        expect(chips.first).to_be_visible()
        texts: list[str] = chips.all_text_contents()
        return texts

    def chart(self, title: str) -> Any:
        return self.page.locator(f'.chart[data-title="{title}"]')

    def _answer(self, route: Route) -> None:
        address = urlsplit(route.request.url)
        if address.path.startswith("/static/"):
            serve_static(route)
        elif address.path == "/api/metrics":
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            self.asked.append(query)
            route.fulfill(json={"series": self._series(query)})
        else:
            route.fulfill(body=self._page(), content_type="text/html")

    def _series(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        first = int(query.get("from", 0))
        last = int(query.get("to", 10**9))
        return [
            {
                "name": name,
                "process": process,
                "points": [
                    {"step": step, "value": value}
                    for step, value in enumerate(values)
                    if first <= step <= last
                ],
            }
            for (name, process), values in self.values.items()
            if query.get("name", name) == name
        ]

    def _page(self) -> str:
        styles = "".join(
            f'<link rel="stylesheet" href="/static/css/{name}.css">' for name in SHEETS
        )
        bar = render_to_string("components/_chart_bar.html")
        return (
            f'<!doctype html><html lang="en"><head><title>Charts</title>{styles}'
            '<link rel="stylesheet" href="/static/vendor/uplot/uPlot.min.css"></head>'
            f"<body><section data-charts>{bar}<div class='charts' data-charts-grid></div>"
            "<p data-charts-empty hidden>No metrics yet</p></section></body></html>"
        )


@pytest.fixture
def charts(tab: Page) -> ChartPage:
    return ChartPage(tab)


def test_train_and_validation_share_a_chart(charts: ChartPage) -> None:
    charts.values = {
        ("train/epoch_loss", ""): [2.0, 1.0, 0.5],
        ("validation/epoch_loss", ""): [2.5, 1.5, 0.75],
        ("gradient/norm", ""): [1.0, 3.0, 2.0],
    }
    charts.open()
    assert charts.titles() == ["epoch_loss", "gradient/norm"]
    assert charts.legend("epoch_loss") == ["train 0.5", "validation 0.75"]
    assert charts.legend("gradient/norm") == ["norm 2"]


def test_each_process_has_a_line_of_its_own(charts: ChartPage) -> None:
    charts.values = {("loss", "worker-0"): [1.0, 0.5], ("loss", "worker-1"): [1.0, 0.25]}
    charts.open()
    assert charts.legend("loss") == ["worker-0 0.5", "worker-1 0.25"]


def test_without_metrics_the_page_says_how_to_write_some(charts: ChartPage) -> None:
    charts.open()
    expect(charts.page.get_by_text("No metrics yet")).to_be_visible()


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_no_axis_can_show_is_said_in_the_legend(charts: ChartPage, word: str) -> None:
    charts.values = {("loss", ""): [1.0, word]}
    charts.open()
    assert charts.legend("loss") == [f"loss {word}"]


def test_a_nudge_fetches_the_new_values_and_new_metrics(charts: ChartPage) -> None:
    charts.values = {("loss", ""): [1.0, 0.5]}
    charts.open()
    assert charts.legend("loss") == ["loss 0.5"]
    charts.values["loss", ""].append(0.125)
    charts.nudge("loss")
    expect(charts.chart("loss").locator(".chart-chip")).to_have_text("loss 0.125")
    charts.values["accuracy", ""] = [0.9]
    charts.nudge("loss", "accuracy")
    expect(charts.chart("accuracy").locator(".chart-chip")).to_have_text("accuracy 0.9")
    assert charts.titles() == ["accuracy", "loss"]


def test_only_charts_in_view_are_fetched(charts: ChartPage) -> None:
    charts.values = {(f"metric-{number:03}", ""): [1.0, 2.0] for number in range(200)}
    charts.open()
    charts.legend("metric-000")
    assert len({query["name"] for query in charts.asked if "name" in query}) < 60
    charts.chart("metric-199").scroll_into_view_if_needed()
    assert charts.legend("metric-199") == ["metric-199 2"]


def test_names_are_filtered_as_one_types(charts: ChartPage) -> None:
    charts.values = {("loss", ""): [1.0], ("accuracy", ""): [1.0]}
    charts.open()
    charts.page.get_by_label("Filter charts by name").fill("ACC")
    assert charts.titles() == ["accuracy"]


def test_dragging_zooms_all_charts_and_fetches_the_detail(charts: ChartPage) -> None:
    charts.values = {
        ("loss", ""): [math.exp(-step / 100) for step in range(1000)],
        ("accuracy", ""): [step / 1000 for step in range(1000)],
    }
    charts.open()
    charts.legend("loss")
    plot = charts.chart("loss").locator(".u-over").bounding_box()
    assert plot
    middle = plot["y"] + plot["height"] / 2
    charts.page.mouse.move(plot["x"] + plot["width"] * 0.25, middle)
    charts.page.mouse.down()
    charts.page.mouse.move(plot["x"] + plot["width"] * 0.5, middle, steps=4)
    charts.page.mouse.up()
    expect(charts.chart("accuracy").locator(".chart-chip")).not_to_have_text("accuracy 0.999")
    zoomed = [query for query in charts.asked if "from" in query]
    assert {query["name"] for query in zoomed} == {"loss", "accuracy"}
    assert abs(int(zoomed[0]["from"]) - 250) < 10
    assert abs(int(zoomed[0]["to"]) - 500) < 10


@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("m.smoothed([1, 1, 1], 0.9)", [1, 1, 1]),
        ("m.smoothed([0, 10], 0.5).map(y => Math.round(y * 100) / 100)", [0, 6.67]),
        ("m.smoothed([2, null, 2], 0.6)", [2, None, 2]),
        ("m.joined([{xs: [1, 3], ys: [10, 30]}, {xs: [2, 3], ys: [5, 6]}])[0]", [1, 2, 3]),
        ("m.joined([{xs: [1, 3], ys: [10, 30]}, {xs: [2, 3], ys: [5, 6]}])[2].slice(1)", [5, 6]),
        ("[0.000125, 1234567, 0.5, 0].map(m.short)", ["1.250e-4", "1.235e+6", "0.5", "0"]),
    ],
)
def test_numbers_are_shaped_for_charts(charts: ChartPage, code: str, result: list[object]) -> None:
    charts.open()
    module = "import('/static/js/chart-data.js')"
    assert charts.page.evaluate(f"{module}.then(m => {code})") == result


def test_sizes_are_written_in_decimal_units_as_on_the_server(charts: ChartPage) -> None:
    charts.open()
    code = "import('/static/js/sizes.js').then(m => [0, 999, 1500, 64e9].map(m.sizeText))"
    assert charts.page.evaluate(code) == ["0 B", "999 B", "1.50 kB", "64.0 GB"]
