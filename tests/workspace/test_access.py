"""Every address there is, asked for by everyone who may not have it.

The addresses come from the URL configuration, so a new page is tested from its first day. What is
meant to be open stands in the tables below; anything else must be closed.
"""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from django.contrib.auth.models import User
from django.http.response import HttpResponseBase
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from tests.factories import bearer, make_target
from workspace.models import Team

OPEN_TO_ALL = {
    "",
    "login/",
    "logout/",
    "invitations/<str:secret>/",
    "api/v1/",
    "api/v1/health",
    "api/v1/openapi.json",
    "api/v1/docs",
    "api/v1/schemas/run.json",
    "mlflow/<slug:slug>/health",
    "mlflow/<slug:slug>/version",
    "mlflow/<slug:slug>/<path:path>",  # what is not offered is not there for anybody
}
OPEN_TO_USERS = {
    "account/",
    "account/password/",
    "account/tokens/<int:pk>/revoke/",
    "teams/",
    "api/v1/teams",
}
OPEN_TO_THE_INSTALLATIONS_ADMIN = {"system/"}
MLFLOW = "mlflow/<slug:slug>/api/2.0/mlflow"
VIEWERS_MAY_POST = {
    "t/<slug:slug>/leave/",
    f"{MLFLOW}/experiments/search",
    f"{MLFLOW}/logged-models/search",
    f"{MLFLOW}/runs/search",
}
NOT_OFFERED = {f"{MLFLOW}-artifacts/presigned/<path:path>": 501}
TEAMS = ("t/<slug:slug>/", "api/v1/teams/<slug>/", "mlflow/<slug:slug>/")
PAGES_OF_MLFLOW = {"mlflow/<slug:slug>/"}
SAMPLES = {"int": "1", "slug": "name", "str": "name", "path": "a/b", "uuid": "0" * 32}
WRITES = ("post", "put", "patch", "delete")
METHODS = ("get", *WRITES)


class Route(NamedTuple):
    pattern: str
    address: str

    @property
    def is_api(self) -> bool:
        return self.pattern.startswith(("api/", "mlflow/")) and self.pattern not in PAGES_OF_MLFLOW

    @property
    def names_a_team(self) -> bool:
        return self.pattern.startswith(TEAMS) and self.pattern not in OPEN_TO_ALL


def routes_of(resolver: URLResolver, before: str = "") -> Iterator[Route]:
    for entry in resolver.url_patterns:
        pattern = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from routes_of(entry, pattern)
        elif isinstance(entry, URLPattern):
            yield Route(pattern, sample_of(pattern))


def sample_of(pattern: str) -> str:
    """Fill a pattern in: the team `default`, and something of the right form for the rest."""
    parts = []
    for part in pattern.replace(">", "<").split("<")[1::2]:
        kind, _, name = part.rpartition(":")
        parts.append("default" if name == "slug" else SAMPLES[kind or "str"])
    texts = pattern.replace(">", "<").split("<")[::2]
    return "/" + "".join(
        text + (parts[number] if number < len(parts) else "") for number, text in enumerate(texts)
    )


ROUTES = sorted(set(routes_of(get_resolver())))
every_route = pytest.mark.parametrize(
    "route",
    [route for route in ROUTES if route.pattern not in OPEN_TO_ALL],
    ids=lambda route: route.pattern,
)
every_route_of_a_team = pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.names_a_team], ids=lambda route: route.pattern
)


def ask(client: Client, method: str, route: Route, user: User | None = None) -> HttpResponseBase:
    """Ask as a page of the user would, or as their program where the route is of the API."""
    if user is None or route.is_api:
        headers = bearer(user) if user else {}
        return client.generic(method.upper(), route.address, headers=headers)
    client.force_login(user)
    return client.generic(method.upper(), route.address)


@pytest.fixture
def target(team: Team) -> None:
    make_target(team, "name")


def test_every_route_is_in_a_table_or_names_a_team() -> None:
    listed = OPEN_TO_ALL | OPEN_TO_USERS | OPEN_TO_THE_INSTALLATIONS_ADMIN
    unlisted = [r.pattern for r in ROUTES if not r.names_a_team and r.pattern not in listed]
    assert unlisted == []


@every_route
def test_nobody_gets_in_without_logging_in(
    client: Client, team: Team, target: None, route: Route
) -> None:
    for method in METHODS:
        answer = ask(client, method, route)
        if route.is_api:
            assert answer.status_code in {401, 405}, method
        else:
            assert answer.status_code == 302, method
            assert answer.headers["Location"].startswith("/login/?next="), method


@pytest.mark.parametrize("pattern", sorted(OPEN_TO_THE_INSTALLATIONS_ADMIN))
def test_a_teams_admin_is_not_the_installations(client: Client, alice: User, pattern: str) -> None:
    client.force_login(alice)
    assert client.get(f"/{pattern}").status_code == 403


@every_route_of_a_team
def test_a_stranger_finds_nothing_of_a_team(
    client: Client, team: Team, target: None, charlie: User, route: Route
) -> None:
    for method in METHODS:
        status = ask(client, method, route, charlie).status_code
        assert status == 404 or (route.is_api and status == 405), method


@every_route_of_a_team
def test_a_viewer_changes_nothing(
    client: Client, team: Team, target: None, vera: User, route: Route
) -> None:
    if route.pattern in VIEWERS_MAY_POST:
        return
    for method in WRITES:
        assert ask(client, method, route, vera).status_code in {403, 405}, method


@every_route_of_a_team
def test_no_page_of_a_team_breaks_for_those_who_may_see_it(
    client: Client, team: Team, target: None, vera: User, alice: User, route: Route
) -> None:
    for user in (vera, alice):
        status = ask(client, "get", route, user).status_code
        assert status < 500 or status == NOT_OFFERED.get(route.pattern)
