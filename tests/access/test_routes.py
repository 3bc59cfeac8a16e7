"""docs/access.md says who may use each address; each is asked by who may and by who may not."""

from collections.abc import Iterator

import pytest
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern

from config.asgi import application
from deploy.routing import websocket_urlpatterns as service_websockets
from runner.constants import URL_PREFIX
from runs.ingest.app import HANDLERS
from runs.live.routing import websocket_urlpatterns as run_websockets
from tests.access.requests import (
    METHODS,
    NOT_FOR_THIS_METHOD,
    Route,
    answer_of,
    is_refused,
    patterns,
)
from tests.docs.pages import codes_in, rows_of
from tests.factories import join, make_run, make_target, make_team, make_token, make_user
from tests.factories import process_token as token_of
from tests.runs.ingest.runner_calls import database_threads, process_of, running
from workspace.models import Role, Team

pytestmark = pytest.mark.slow

__all__ = ["database_threads"]
PAGE = "docs/access.md"
LADDER = ("anyone", "signed in", "viewer", "member", "admin", "installation admin")


def table() -> dict[Route, str]:
    """Return who may, by route, as the page says."""
    rows = rows_of(PAGE, "method")
    return {Route(row[0], codes_in(row[1])[0].removeprefix("/")): row[2] for row in rows}


TABLE = table()


class Person:
    """One step of the ladder, with what they ask by: a session, and over REST a token as well."""

    def __init__(self, user: User | None) -> None:
        self.page = Client(raise_request_exception=False)
        self.token = ""
        if user is not None:
            self.page.force_login(user)
            self.token = make_token(user)
        self.program = Client(raise_request_exception=False)

    def refusals(self, route: Route) -> Iterator[bool]:
        """Ask in every way, and yield whether each was refused."""
        ways = [(self.page, "")] if route.takes_session else []
        if route.is_api and (self.token or not route.takes_session):
            ways.append((self.program, self.token))
        for client, token in ways:
            yield is_refused(answer_of(route, client, token))


@pytest.fixture
def people(root: User, bob: User, vera: User, charlie: User, team: Team) -> dict[str, Person]:
    """Return somebody for every step; nobody may more than their step."""
    engine = make_target(team, kind="docker", address="unix:///nowhere/docker.sock", pool="p")
    make_run(team, bob, target=engine)
    ada = make_user("ada")
    join(team, ada, Role.ADMIN)
    make_team("others", admin=charlie)
    users = (None, charlie, vera, bob, ada, root)
    return {step: Person(user) for step, user in zip(LADDER, users, strict=True)}


def test_every_address_of_django_is_in_the_table_and_nothing_else() -> None:
    assert set(TABLE.values()) <= set(LADDER)
    listed = {route.pattern for route in TABLE}
    missing = set(patterns()) - listed - {"api/v1/"}
    assert not missing, f"add rows to {PAGE}"
    assert listed <= set(patterns())


def test_each_address_answers_who_may_and_refuses_who_is_one_step_below(
    people: dict[str, Person],
) -> None:
    wrong = []
    for route, who in TABLE.items():
        step = LADDER.index(who)
        if who == "anyone":
            continue
        if not all(people[LADDER[step - 1]].refusals(route)):
            wrong.append(f"{route} answers one who is only {LADDER[step - 1]}")
        if any(people[who].refusals(route)):
            wrong.append(f"{route} refuses one who is {who}")
    assert wrong == []


def test_what_is_not_in_the_table_is_no_method_of_an_address(people: dict[str, Person]) -> None:
    """A method that somebody adds to an address needs a row."""
    open_to_all = {route.pattern for route, who in TABLE.items() if who == "anyone"}
    asking = people["installation admin"]
    unlisted = []
    for pattern in {route.pattern for route in TABLE} - open_to_all:
        for method in METHODS:
            route = Route(method, pattern)
            if route not in TABLE:
                answer = answer_of(route, asking.page)
                if answer.status_code != NOT_FOR_THIS_METHOD:
                    unlisted.append(f"{route}: {answer.status_code}")
    assert unlisted == []


# Beside Django


def rows_beside_django(kind: str) -> set[tuple[str, str]]:
    return {
        (row[0], codes_in(row[1])[0])
        for row in rows_of(PAGE, "kind")
        if (row[0] == "WS") == (kind == "websockets")
        and (kind == "websockets" or URL_PREFIX in row[1])
    }


def test_every_endpoint_of_runners_and_every_websocket_is_in_the_table() -> None:
    endpoints = {(method, f"{URL_PREFIX}{name}") for method, name in HANDLERS}
    assert rows_beside_django("runners") == endpoints
    sockets = [*run_websockets, *service_websockets]
    addresses = [address for _, address in sorted(rows_beside_django("websockets"))]
    assert len(addresses) == len(sockets)
    for socket in sockets:
        assert isinstance(socket, URLPattern)
        filled = [one.replace("SLUG", "a").replace("NAME", "a") for one in addresses]
        assert any(socket.pattern.match(one.replace("NUMBER", "1")) for one in filled)


@pytest.fixture
def tokens(database_threads: None, vera: User, charlie: User, team: Team) -> dict[str, str]:
    group = running(team, "worker-0")
    return {
        "nobody": "",
        "nonsense": "tp_nonsense",
        "viewer": make_token(vera),
        "stranger": make_token(charlie),
        "process": token_of(process_of(group)),
    }


async def status_of(method: str, path: str, token: str) -> int:
    headers = [(b"authorization", f"Bearer {token}".encode())] if token else []
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [*headers, (b"host", b"localhost"), (b"content-length", b"0")],
        "client": ("198.51.100.7", 1),
        "server": ("127.0.0.1", 8000),
    }
    asked = ApplicationCommunicator(application, scope)
    await asked.send_input({"type": "http.request", "body": b"", "more_body": False})
    start = await asked.receive_output(30)
    await asked.wait(30)
    status: int = start["status"]
    return status


async def test_endpoints_of_runners_know_the_token_of_a_process_alone(
    tokens: dict[str, str],
) -> None:
    for method, name in HANDLERS:
        for who in ("nobody", "nonsense", "viewer"):
            assert await status_of(method, f"{URL_PREFIX}{name}", tokens[who]) == 401, (name, who)


async def test_the_token_of_a_process_opens_nothing_but_its_endpoints(
    tokens: dict[str, str],
) -> None:
    opened = []
    for route, who in TABLE.items():
        if route.is_api and who != "anyone":
            status = await status_of(route.method, route.address, tokens["process"])
            if status != 401:
                opened.append((route, status))
    assert opened == []


async def test_a_service_and_the_metrics_are_closed_to_who_has_no_key(
    tokens: dict[str, str],
) -> None:
    for method, path in (
        ("POST", "/api/v1/teams/default/services/digits/score"),
        ("POST", "/serve/default/digits/v1/models/digits:predict"),
        ("GET", "/metrics"),
    ):
        for who in ("nobody", "nonsense", "stranger", "process"):
            assert await status_of(method, path, tokens[who]) in {401, 403, 404}, (path, who)


async def opened_by(path: str, token: str) -> bool:
    """Return whether a websocket sends something to a program with a token."""
    headers = [(b"authorization", f"Bearer {token}".encode())]
    scope = {"type": "websocket", "path": path, "query_string": b"", "headers": headers}
    socket = ApplicationCommunicator(application, scope)
    await socket.send_input({"type": "websocket.connect"})
    while (event := await socket.receive_output(30))["type"] == "websocket.accept":
        pass
    await socket.send_input({"type": "websocket.disconnect", "code": 1000})
    return bool(event["type"] == "websocket.send")


async def test_a_websocket_opens_for_members_of_the_team_alone(tokens: dict[str, str]) -> None:
    run = "/ws/teams/default/runs/1/"
    assert await opened_by(run, tokens["viewer"])
    for path in (run, "/ws/teams/default/services/digits/"):
        for who in ("nonsense", "stranger", "process"):
            assert not await opened_by(path, tokens[who]), (path, who)
