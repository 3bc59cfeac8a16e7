"""Selecting runs in a list that refreshes itself, in a real browser."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from runs.states import RunStatus
from tests.browser import chromium, rows_beside_a_browser, tab
from tests.factories import make_run
from tests.runs.pages.test_upload_in_a_browser import serve_static
from workspace.models import Team

__all__ = ["chromium", "rows_beside_a_browser", "tab"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.usefixtures("broker", "rows_beside_a_browser"),
]


def test_what_is_selected_stays_so_while_the_list_refreshes_and_is_changed_together(
    tab: Page, live_server: LiveServer, client: Client, team: Team, bob: User
) -> None:
    for status in (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.RUNNING):
        make_run(team, bob, status=status)  # the last one, so that the list refreshes often
    client.force_login(bob)
    session = client.cookies["sessionid"].value
    tab.context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
    tab.route("**/static/**", serve_static)
    tab.goto(f"{live_server.url}/t/default/runs/")
    archive = tab.get_by_role("button", name="Archive")
    expect(archive).to_be_hidden()
    tab.get_by_label("Select all runs on this page").check()
    tab.get_by_label("Select run 3").uncheck()
    expect(archive).to_be_visible()
    expect(tab.get_by_label("Select all runs on this page")).not_to_be_checked()  # it is a new list
    expect(tab.get_by_label("Select run 1")).to_be_checked()
    expect(tab.get_by_label("Select run 3")).not_to_be_checked()
    archive.click()
    expect(tab.get_by_text("Archived #2, #1.")).to_be_visible()
    expect(tab.get_by_label("Select run 3")).to_be_visible()
    expect(tab.get_by_label("Select run 1")).to_have_count(0)
