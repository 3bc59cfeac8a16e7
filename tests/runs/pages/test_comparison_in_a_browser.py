"""From a list of runs to charts of several of them, in a real browser."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from runs.metrics import store
from runs.metrics.points import Point
from runs.models import MetricSeries
from runs.search.parameters import store_parameters
from tests.browser import chromium, rows_beside_a_browser, tab
from tests.factories import make_run, make_snapshot
from tests.runs.pages.test_upload_in_a_browser import serve_static
from workspace.models import Team

__all__ = ["chromium", "rows_beside_a_browser", "tab"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.usefixtures("broker", "rows_beside_a_browser"),
]


def test_runs_that_are_selected_are_compared_at_an_address_that_names_them(
    tab: Page, live_server: LiveServer, client: Client, team: Team, bob: User
) -> None:
    snapshot = make_snapshot(team, bob)
    for rate in (0.1, 0.2, 0.3):
        run = make_run(team, bob, snapshot=snapshot)
        store_parameters(run, {"--lr": rate})
        for name in ("train/loss", "validation/loss"):
            series = MetricSeries.objects.create(run=run, name=name)
            store.append({series.pk: [Point(step, 0, rate) for step in range(2)]})
    client.force_login(bob)
    session = client.cookies["sessionid"].value
    tab.context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
    tab.route("**/static/**", serve_static)
    tab.goto(f"{live_server.url}/t/default/runs/")
    tab.get_by_label("Select run 3").check()
    tab.get_by_label("Select run 1").check()
    tab.get_by_role("button", name="Compare").click()
    tab.wait_for_url("**/runs/compare/?runs=3,1")
    chart = tab.locator(".chart", has_text="loss")
    expect(chart).to_have_count(1)
    first, second = (chart.get_by_text(f"Run {number} train") for number in (3, 1))
    expect(first).to_have_class("chart-chip series-1")
    expect(second).to_have_class("chart-chip series-2")
    expect(chart.get_by_text("Run 1 validation")).to_have_class("chart-chip series-2")
    expect(second).to_contain_text("0.1")
    tab.get_by_label("Horizontal axis").select_option("relative")
    expect(second).to_contain_text("0.1")
    differs = tab.get_by_role("row", name="lr")
    expect(differs.get_by_role("cell")).to_have_text(["0.3", "0.1"])
