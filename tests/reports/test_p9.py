"""P9: nothing is wider than a phone, with the longest names that there may be."""

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, Page, Route

from runs.states import RunStatus
from tests.browser import chromium, rows_beside_a_browser
from tests.factories import join, make_group, make_run, make_target, make_team, make_user
from tests.runs.pages.log_pages import SITE, serve_static
from workspace.models import Experiment, Role, TargetGrant, TargetOffer, Team
from workspace.secrets.services import store_secret

__all__ = ["chromium", "rows_beside_a_browser"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db,
    pytest.mark.usefixtures("rows_beside_a_browser"),
]

WIDTH = 390
PAGES = (
    "runs/",
    "runs/?experiment=" + "e" * 100,
    "runs/1/",
    "runs/1/configuration/",
    "runs/new/",
    "secrets/",
    "targets/",
    "targets/" + "t" * 32 + "/",
    "targets/" + "t" * 32 + "/access/",
    "members/",
    "environments/",
)


@pytest.fixture
def phone(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": WIDTH, "height": 800}, bypass_csp=True)
    yield context.new_page()
    context.close()


def test_no_page_is_wider_than_a_phone(phone: Page, client: Client, team: Team) -> None:
    admin = make_user("a" * 150)
    join(team, admin, Role.ADMIN)
    Team.objects.filter(pk=team.pk).update(name="n" * 100)
    furnish(team, admin)
    client.force_login(admin)
    bodies = {path: client.get(f"/t/{team.slug}/{path}", follow=True) for path in PAGES}
    assert {path: answer.status_code for path, answer in bodies.items()} == dict.fromkeys(
        PAGES, 200
    )

    def answer(route: Route) -> None:
        if "/static/" in route.request.url:
            serve_static(route)
        elif route.request.resource_type == "document":
            route.fulfill(body=content, content_type="text/html")
        else:
            route.abort()

    phone.route(f"{SITE}/**", answer)
    widths = {}
    for path in PAGES:
        content = bodies[path].content
        phone.goto(f"{SITE}/{path}", wait_until="load")
        widths[path] = phone.evaluate("document.documentElement.scrollWidth")
    assert widths == dict.fromkeys(PAGES, WIDTH)


def furnish(team: Team, admin: User) -> None:
    target = make_target(team, "t" * 32)
    for name in ("e" * 100, "words " * 16):
        run = make_run(
            team,
            admin,
            RunStatus.COMPLETED,
            target=target,
            experiment=Experiment.objects.create(team=team, name=name),
        )
        make_group(run)
    other = make_team("o" * 32)
    Team.objects.filter(pk=other.pk).update(name="n" * 100)
    TargetGrant.objects.create(target=target, team=other)
    TargetOffer.objects.create(target=target, to="z" * 32)
    TargetOffer.objects.create(target=make_target(other, "s" * 32), to=team.slug)
    store_secret(team=team, by=admin, name="s" * 64, value="a value")
