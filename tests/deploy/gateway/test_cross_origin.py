"""Web pages of other origins call the services that list them, and no others."""

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from deploy.gateway import application
from deploy.models import Replica
from deploy.rollout.traffic_policy import set_options
from tests.deploy.fake_replicas import answers, sends
from tests.deploy.gateway_client import SCORE, SERVE, GatewayClient, GatewayResponse, MakeFront

ORIGIN = "http://app.example"
PREDICT = f"{SERVE}:predict"
ALLOW_ORIGIN = "Access-Control-Allow-Origin"

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


def allow(there: GatewayClient, by: User, *origins: str) -> None:
    set_options(service=there.service, by=by, options={"allowed_origins": list(origins)})


def preflight(there: GatewayClient, path: str = SCORE, origin: str = ORIGIN) -> GatewayResponse:
    """Ask as browsers do before a request of a page: without a key."""
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    return there.call(None, method="OPTIONS", path=path, secret="", headers=asked)


def words_of(answer: GatewayResponse, name: str) -> set[str]:
    return {word.strip().lower() for word in (answer.headers[name] or "").split(",")}


@pytest.mark.parametrize("path", [SCORE, PREDICT])
def test_e1_a_preflight_of_a_listed_origin_needs_no_key(
    front: MakeFront, bob: User, path: str
) -> None:
    there = front(answers(b"{}"))
    allow(there, bob, "https://other.example", ORIGIN)
    answer = preflight(there, path)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers[ALLOW_ORIGIN] == ORIGIN
    assert "post" in words_of(answer, "Access-Control-Allow-Methods")
    allowed = words_of(answer, "Access-Control-Allow-Headers")
    assert {"authorization", "content-type"} <= allowed
    assert answer.headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert not there.fakes[0].requests


@pytest.mark.parametrize("path", [SCORE, PREDICT])
def test_e1_a_page_of_a_listed_origin_reads_the_answer(
    front: MakeFront, bob: User, path: str
) -> None:
    there = front(answers(b'{"predictions": [1]}'))
    allow(there, bob, ORIGIN)
    answer = there.call(path=path, headers={"Origin": ORIGIN})
    assert (answer.status, answer.body) == (200, b'{"predictions": [1]}')
    assert answer.headers[ALLOW_ORIGIN] == ORIGIN
    assert answer.headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin", ["http://app.example:8080", "https://app.example", "http://app.example.org", "null"]
)
def test_e1_other_origins_are_told_nothing(front: MakeFront, bob: User, origin: str) -> None:
    there = front(answers(b"{}"))
    allow(there, bob, ORIGIN)
    refused = preflight(there, origin=origin)
    scored = there.call(headers={"Origin": origin})
    assert refused.status in (401, 405)
    assert scored.status == 200
    for answer in (refused, scored, there.call()):
        assert ALLOW_ORIGIN not in answer.headers
        assert answer.headers["Vary"] == "Origin"


def test_e1_a_service_allows_no_origin_at_first_and_can_stop_again(
    front: MakeFront, bob: User
) -> None:
    there = front(answers(b"{}"))
    for origins in ([], [ORIGIN], []):
        allow(there, bob, *origins)
        asked, scored = preflight(there, PREDICT), there.call(headers={"Origin": ORIGIN})
        assert (asked.status == 204) == bool(origins)
        assert (ALLOW_ORIGIN in asked.headers, ALLOW_ORIGIN in scored.headers) == (
            bool(origins),
            bool(origins),
        )


def test_e1_errors_can_be_read_too(
    front: MakeFront, bob: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = front(answers(b"{}"))
    allow(there, bob, ORIGIN)
    from_page = {"Origin": ORIGIN}
    refused = [there.call(secret="wrong", headers=from_page)]
    settings.TRAINYARD_SCORE_MAX_BYTES = 10
    refused.append(there.call(b"x" * 100, headers=from_page))
    monkeypatch.setattr(application, "MAX_IN_FLIGHT", 0)
    refused.append(there.call(headers=from_page))
    monkeypatch.undo()
    Replica.objects.all().delete()
    allow(there, bob, ORIGIN)
    refused.append(there.call(headers=from_page))
    refused.append(there.call(method="DELETE", path=PREDICT, headers=from_page))
    assert [answer.status for answer in refused] == [401, 413, 429, 503, 405]
    for answer in refused:
        assert answer.headers[ALLOW_ORIGIN] == ORIGIN
        assert "retry-after" in words_of(answer, "Access-Control-Expose-Headers")
        assert answer.headers["Vary"] == "Origin"


def test_e1_what_a_model_server_says_of_origins_does_not_count(front: MakeFront, bob: User) -> None:
    there = front(
        sends(b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 2\r\n\r\n{}")
    )
    allow(there, bob, ORIGIN)
    assert there.call(headers={"Origin": ORIGIN}).headers.get_all(ALLOW_ORIGIN) == [ORIGIN]
    assert ALLOW_ORIGIN not in there.call(headers={"Origin": "http://evil.example"}).headers


def test_e1_the_header_of_session_affinity_may_come_from_a_page(
    front: MakeFront, bob: User
) -> None:
    there = front(answers(b"{}"))
    set_options(service=there.service, by=bob, options={"sticky_by": "x-user"})
    allow(there, bob, ORIGIN)
    assert "x-user" in words_of(preflight(there), "Access-Control-Allow-Headers")
