"""P10: the axis of a chart fits what is drawn, and 0 throughout is drawn from 0 to 1."""

from collections.abc import Sequence

import pytest
from playwright.sync_api import Page, Route

from tests.browser import chromium, tab
from tests.runs.pages.log_pages import SITE, serve_static

__all__ = ["chromium", "tab"]
pytestmark = pytest.mark.browser

DRAW = """async (values) => {
    const written = [];
    const write = CanvasRenderingContext2D.prototype.fillText;
    CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
        written.push(text);
        return write.call(this, text, ...rest);
    };
    const { Chart } = await import("/static/js/chart.js");
    const chart = new Chart("Errors per second", { isTime: true });
    document.body.append(chart.element);
    const xs = values.map((_, i) => 1793518200 + 10 * i);
    chart.show([{ name: "revision 1", xs, ys: values, odd: [] }]);
    await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    return written;
}"""


def axis_of(tab: Page, values: Sequence[float | None]) -> list[float]:
    """Draw values over time, and return the numbers beside the axis of values."""
    tab.route(f"{SITE}/**", _answer)
    tab.goto(f"{SITE}/page")
    written: list[str] = tab.evaluate(DRAW, values)
    assert "UTC" in written
    return [float(text) for text in written if text not in {"", "UTC"} and ":" not in text]


def _answer(route: Route) -> None:
    if "/static/" in route.request.url:
        serve_static(route)
    else:
        route.fulfill(body="<!doctype html><body></body>", content_type="text/html")


@pytest.mark.parametrize(
    ("values", "least", "most"),
    [([0, 0, 0], 0, 1), ([0, 0, 50], 0, 60), ([3, None, 5], 2.8, 5.2), ([-2, 0], -2.2, 0.2)],
    ids=str,
)
def test_p10_the_axis_fits_the_values(
    tab: Page, values: list[float | None], least: float, most: float
) -> None:
    axis = axis_of(tab, values)

    assert least <= min(axis) < max(axis) <= most


def test_p10_without_a_value_the_axis_has_no_numbers(tab: Page) -> None:
    assert axis_of(tab, [None, None]) == []
