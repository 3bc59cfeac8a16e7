"""G2, P11: times are in UTC and say so, and ages are counted from the server's clock."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, Route

from runs.states import RunStatus
from tests.browser import chromium, rows_beside_a_browser
from tests.factories import make_run
from tests.runs.pages.log_pages import SITE, serve_static
from workspace.models import Team

__all__ = ["chromium", "rows_beside_a_browser"]

NOW = datetime(2026, 11, 1, 7, 30, tzinfo=UTC)
USAGE = {
    "processes": [
        {
            "process": "worker-0",
            "samples": [
                {"at": (NOW - timedelta(minutes=at)).isoformat(), "cpus": 1.0}
                for at in range(150, 0, -5)
            ],
        }
    ]
}
CHARTS = """<!doctype html><html lang="en"><body><link rel="stylesheet"
href="/static/vendor/uplot/uPlot.min.css"><section data-charts><div data-charts-grid></div>
<p data-charts-empty hidden></p></section></body></html>"""
# Reads what a canvas was told to write.
LISTEN = """() => {
    window.written = [];
    const write = CanvasRenderingContext2D.prototype.fillText;
    CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
        window.written.push(text);
        return write.call(this, text, ...rest);
    };
}"""
DRAW = """async () => {
    const { UsageCharts } = await import("/static/js/charts.js");
    window.charts = new UsageCharts(document.querySelector("[data-charts]"), "/api/");
    await window.charts.load();
}"""


@pytest.mark.browser
@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata"])
def test_g2_the_axis_of_times_is_in_utc_in_every_zone(chromium: Browser, zone: str) -> None:
    context = chromium.new_context(timezone_id=zone, bypass_csp=True)
    page = context.new_page()

    def answer(route: Route) -> None:
        if "/static/" in route.request.url:
            serve_static(route)
        elif "/api/usage" in route.request.url:
            route.fulfill(json=USAGE)
        else:
            route.fulfill(body=CHARTS, content_type="text/html")

    page.route(f"{SITE}/**", answer)
    page.goto(f"{SITE}/page")
    page.evaluate(f"({LISTEN})()")
    page.evaluate(DRAW)
    page.wait_for_function("window.written.includes('UTC')")
    written: list[str] = page.evaluate("window.written")
    clocks = list(dict.fromkeys(text for text in written if ":" in text))
    assert clocks == sorted(clocks)
    assert "05:00" <= clocks[0] < clocks[-1] <= "07:30"
    context.close()


@pytest.mark.django_db
@pytest.mark.usefixtures("rows_beside_a_browser")
def test_p11_every_page_says_what_time_it_is_on_the_server(
    client: Client, team: Team, bob: User
) -> None:
    make_run(team, bob, RunStatus.COMPLETED)
    client.force_login(bob)
    page = client.get(f"/t/{team.slug}/runs/").content.decode()
    said = page.partition('data-server-time="')[2].partition('"')[0]
    assert abs(datetime.now(UTC) - datetime.fromisoformat(said)) < timedelta(minutes=5)


@pytest.mark.browser
@pytest.mark.parametrize("minutes", [-20, 20])
def test_p11_ages_are_true_where_the_readers_clock_is_wrong(
    chromium: Browser, minutes: int
) -> None:
    context = chromium.new_context(bypass_csp=True)
    page = context.new_page()
    page.clock.set_fixed_time(NOW + timedelta(minutes=minutes))
    ended = NOW - timedelta(minutes=2)
    page.route(f"{SITE}/**", lambda route: _page_of(route, ended))
    page.goto(f"{SITE}/page")
    page.evaluate('import("/static/js/app.js")')
    assert page.locator("time").text_content() == "2 min ago"
    context.close()


def _page_of(route: Route, ended: datetime) -> None:
    if "/static/" in route.request.url:
        serve_static(route)
        return
    body = f"""<!doctype html><html lang="en"><body data-server-time="{NOW.isoformat()}">
<time data-relative datetime="{ended.isoformat()}"></time></body></html>"""
    route.fulfill(body=body, content_type="text/html")
