"""A team's home in a real browser, on a desk and in a hand."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from runs.models import Run
from runs.states import EndReason, RunStatus
from tests.browser import chromium, rows_beside_a_browser, tab
from tests.factories import make_run, make_target
from tests.runs.pages.test_upload_in_a_browser import serve_static
from workspace.models import Team

__all__ = ["chromium", "rows_beside_a_browser", "tab"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.usefixtures("broker", "rows_beside_a_browser"),
]


@pytest.fixture
def page(tab: Page, live_server: LiveServer, client: Client, bob: User) -> Page:
    client.force_login(bob)
    session = client.cookies["sessionid"].value
    tab.context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
    tab.route("**/static/**", serve_static)
    return tab


def fill(team: Team, bob: User, alice: User) -> None:
    """Make runs of each kind, with names and reasons that are long."""
    now = timezone.now()
    target = make_target(team, "gpu-machines-of-the-basement")
    make_run(team, bob, RunStatus.RUNNING, name="a name without blanks " + "x" * 90, target=target)
    make_run(team, alice, RunStatus.RUNNING, name="run of Alice", hung_since=now, starting_at=now)
    make_run(
        team,
        bob,
        wait_reason="Needs 4 processes with 8 GPUs each; 3 of 32 GPUs are free; run 12 holds 16.",
    )
    make_run(
        team,
        bob,
        RunStatus.FAILED,
        ended_at=now - timedelta(hours=2),
        end_reason=EndReason.OUT_OF_MEMORY,
        end_detail={"message": "worker-0 ran out of memory at 16.0 GB."},
    )


@pytest.mark.parametrize("width", [1440, 390])
def test_it_fits_and_keeps_up_with_the_team(
    page: Page, live_server: LiveServer, team: Team, bob: User, alice: User, width: int
) -> None:
    fill(team, bob, alice)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(live_server.url)
    expect(page.get_by_role("heading", name="Running")).to_be_visible()
    expect(page.get_by_text("ran out of memory at 16.0 GB")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("link", name="Mine").click()
    expect(page.get_by_text("run of Alice")).to_have_count(0)
    Run.objects.filter(status=RunStatus.QUEUED).update(status=RunStatus.RUNNING, name="it started")
    expect(page.get_by_label("Running").get_by_text("it started")).to_be_visible()
    page.reload()
    expect(page.get_by_text("run of Alice")).to_have_count(0)
