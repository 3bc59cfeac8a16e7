"""No input makes any address fail: odd queries, bodies, content types and numbers, by anybody.

Here and not in a room of its own, since what is deployed stands on all that there is.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from config.api import api
from deploy.services import deploy
from tests.deploy.conftest import RegisterModel
from tests.factories import make_run
from workspace.models import ComputeTarget, Team

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

HUGE = "9" * 5000
READ = re.compile(r'(?:GET|POST)(?:\.get(?:list)?\(|\[)"(\w+)"')
PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")
ROOMS = ("config", "workspace", "runs", "models", "deploy")
OTHER_TESTS = {"/api/v1/health"}  # fails where the broker does not run
MULTIPART = "multipart/form-data"
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
BROKEN_PART = (
    b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\n%%%\r\n--x--"
)
BODIES = {
    "multipart without a boundary": (MULTIPART, b"x"),
    "a boundary without end": (f"{MULTIPART}; boundary={'x' * 300}", b"--x\r\n"),
    "base64 that is none": (f"{MULTIPART}; boundary=x", BROKEN_PART),
    "half of an object": (JSON, b"{"),
    "a field twice": (JSON, b'{"a": 1, "a": 2}'),
    "deep JSON": (JSON, b"[" * 100_000),
    "bytes": (JSON, b"\xff"),
    "a huge number": (JSON, HUGE.encode()),
    "too many fields": (FORM, b"&".join([b"a=1"] * 2000)),
    "an unknown encoding": (f"{FORM}; charset=nonsense", b"a=%ff&\xff=1"),
    "no content type": ("", b"abc"),
}


class Route(NamedTuple):
    """An address as Django has it."""

    template: str

    @property
    def parameters(self) -> list[str]:
        return PARAMETER.findall(self.template)

    def path(self, **values: str) -> str:
        known = {"slug": "default", "name": "digits"} | values
        filled = PARAMETER.sub(lambda found: known.get(str(found[1]), "1"), self.template)
        return f"/{filled}"


def routes_below(patterns: Iterable[URLPattern | URLResolver], before: str) -> Iterator[Route]:
    for entry in patterns:
        template = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from routes_below(entry.url_patterns, template)
        else:
            yield Route(template)


def all_routes() -> list[Route]:
    routes = routes_below(get_resolver().url_patterns, "")
    return [route for route in routes if route.path() not in OTHER_TESTS]


def names_read() -> set[str]:
    """Return every name of a parameter or form field that a page or an endpoint asks for."""
    sources = (path for room in ROOMS for path in Path(settings.BASE_DIR, room).rglob("*.py"))
    names = {name for source in sources for name in READ.findall(source.read_text())}
    for operations in api.get_openapi_schema(path_prefix="/api/v1/")["paths"].values():
        for operation in operations.values():
            names |= {
                one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"
            }
    return names


@pytest.fixture
def everything(team: Team, alice: User, target: ComputeTarget, register: RegisterModel) -> None:
    """Have a run, a model and a service, so that addresses find something."""
    make_run(team)
    deploy(team=team, by=alice, name="digits", version=register(), target=target)


@pytest.fixture(params=["alice", "charlie", "anybody"])
def caller(request: pytest.FixtureRequest, everything: None) -> Client:
    client = Client(raise_request_exception=False)
    if request.param != "anybody":
        client.force_login(request.getfixturevalue(request.param))
    return client


@pytest.fixture
def admin(everything: None, alice: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(alice)
    return client


def failures(answers: Iterable[tuple[str, Any]]) -> list[str]:
    return [f"{address}: {answer.status_code}" for address, answer in answers if is_5xx(answer)]


def is_5xx(answer: Any) -> bool:
    return int(answer.status_code) >= 500


def test_the_walk_finds_addresses_of_every_room() -> None:
    templates = {route.template for route in all_routes()}
    assert {"login/", "t/<slug:slug>/audit/", "api/v1/teams/<slug>/runs"} <= templates
    assert {"before", "next", "cursor", "max_points"} <= names_read()


@pytest.mark.parametrize("value", [HUGE, "abc"], ids=["a huge number", "a word"])
def test_no_query_makes_an_address_fail(caller: Client, value: str) -> None:
    query = dict.fromkeys(names_read(), value)
    paths = [route.path() for route in all_routes()]
    assert failures((path, caller.get(path, query_params=query)) for path in paths) == []


@pytest.mark.parametrize("value", ["9" * 20, "\0x"])
def test_no_value_that_a_database_cannot_hold_makes_an_address_fail(
    admin: Client, value: str
) -> None:
    query = dict.fromkeys(names_read(), value)
    paths = [route.path() for route in all_routes()]
    assert failures((path, admin.get(path, query_params=query)) for path in paths) == []


@pytest.mark.parametrize("body", BODIES)
def test_no_body_makes_an_address_fail(admin: Client, body: str) -> None:
    content_type, content = BODIES[body]
    paths = [route.path() for route in all_routes() if "logout" not in route.template]
    assert (
        failures(
            (path, admin.generic("POST", path, content, content_type=content_type))
            for path in paths
        )
        == []
    )


@pytest.mark.parametrize("value", [HUGE, "9" * 20], ids=["5,000 digits", "20 digits"])
def test_no_number_in_an_address_makes_it_fail(admin: Client, value: str) -> None:
    paths = [route.path(**{name: value}) for route in all_routes() for name in route.parameters]
    assert paths
    assert failures((path[:100], admin.get(path)) for path in paths) == []


def test_a_page_after_log_in_is_an_address_of_ours(admin: Client) -> None:
    for wanted in ("abc", "runs:list", "//evil.example/", "http:evil"):
        answer = admin.get("/login/", query_params={"next": wanted})
        assert answer.status_code == 302
        assert answer["Location"] == "/"
    assert admin.get("/login/?next=/teams/")["Location"] == "/teams/"


@pytest.mark.parametrize("body", ["multipart without a boundary", "too many fields", "deep JSON"])
def test_what_cannot_be_read_is_the_senders_mistake(admin: Client, body: str) -> None:
    content_type, content = BODIES[body]
    for path in ("/api/v1/teams/default/runs", "/api/v1/teams/default/models"):
        answer = admin.generic("POST", path, content, content_type=content_type)
        assert answer.status_code in {400, 415}, answer.content
        assert answer["Content-Type"] == "application/problem+json"


def test_an_object_that_names_a_field_twice_is_refused(admin: Client) -> None:
    for path in ("teams/default/targets", "teams/default/models", "teams/default/services"):
        answer = admin.post(f"/api/v1/{path}", b'{"name": "a", "name": "b"}', content_type=JSON)
        assert answer.status_code == 400
        assert "'name' is there twice" in answer.json()["detail"]
