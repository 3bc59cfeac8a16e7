"""Who may score a service: by keys, by tokens, as a member who is signed in, or everybody."""

import json
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from deploy.door import DoorChange, change_door
from deploy.models import Opening, Service
from tests.deploy.front import SCORE, SERVE, Front, MakeFront
from tests.deploy.replicas import answers
from tests.factories import make_token
from workspace.models import AuditEntry, Scope

pytestmark = pytest.mark.django_db(transaction=True)

OURS = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def there(front: MakeFront) -> Front:
    return front(answers(b"{}"))


def open_to(there: Front, by: User, opening: Opening) -> None:
    change_door(service=there.service, by=by, change=DoorChange(opening=opening))


def cookie_of(user: User) -> dict[str, str]:
    client = Client()
    client.force_login(user)
    return {"Cookie": f"{settings.SESSION_COOKIE_NAME}={client.session.session_key}"}


def test_keys_and_tokens_open_a_service_at_first(there: Front, bob: User) -> None:
    assert there.ask()[0] == 200
    assert there.ask(secret=make_token(bob, Scope.WRITE))[0] == 200
    assert there.ask(secret="", headers=cookie_of(bob) | OURS)[0] == 401


def test_a_service_for_tokens_refuses_its_keys_and_says_so(there: Front, bob: User) -> None:
    open_to(there, bob, Opening.TOKENS)
    status, answer = there.ask()
    assert (status, "API token" in answer["error"]) == (401, True)
    assert there.ask(secret=make_token(bob, Scope.WRITE))[0] == 200


def test_members_who_are_signed_in_score_a_service_of_the_team_beside_its_keys(
    there: Front, bob: User, vera: User, charlie: User
) -> None:
    open_to(there, bob, Opening.TEAM)
    assert there.ask(secret="", headers=cookie_of(bob) | OURS)[0] == 200
    assert there.ask(secret="", headers=cookie_of(vera) | OURS)[0] == 200
    assert there.ask(secret="", headers=cookie_of(charlie) | OURS)[0] == 404
    assert there.ask(secret=make_token(vera, Scope.WRITE))[0] == 200
    assert there.ask(secret=make_token(vera, Scope.READ))[0] == 403
    assert there.ask()[0] == 200
    assert there.ask(secret="", headers={"Cookie": "sessionid=made-up"} | OURS)[0] == 401


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://\xff"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://elsewhere.example"},
    ],
)
def test_a_page_of_another_site_cannot_ride_on_the_cookie(
    there: Front, bob: User, headers: dict[str, str]
) -> None:
    open_to(there, bob, Opening.TEAM)
    status, answer = there.ask(secret="", headers=cookie_of(bob) | headers)
    assert (status, "another site" in answer["error"]) == (403, True)
    assert not there.fakes[0].requests


def test_a_page_of_ours_is_known_by_its_origin(there: Front, bob: User) -> None:
    open_to(there, bob, Opening.TEAM)
    assert there.ask(secret="", headers=cookie_of(bob) | {"Origin": there.web})[0] == 200
    reading = there.ask(None, method="GET", path=SERVE, secret="", headers=cookie_of(bob))
    assert reading[0] == 200


def test_an_open_service_answers_everybody(there: Front, bob: User) -> None:
    open_to(there, bob, Opening.OPEN)
    assert there.ask(secret="")[0] == 200
    assert there.ask(secret="ty_wrong")[0] == 200
    assert there.ask()[0] == 200


def test_a_service_that_is_closed_again_is_closed_at_once(there: Front, bob: User) -> None:
    open_to(there, bob, Opening.OPEN)
    assert there.ask(secret="")[0] == 200
    open_to(there, bob, Opening.KEYS)
    assert there.ask(secret="")[0] == 401


# Over REST


def door(there: Front, user: User, body: Any, method: str = "PATCH") -> tuple[int, Any]:
    return there.ask(
        json.dumps(body).encode(),
        method=method,
        path=SCORE.replace("/score", "/door"),
        secret=make_token(user, Scope.WRITE),
        headers={"Content-Type": "application/json"},
    )


def test_the_opening_is_changed_over_rest_and_the_change_is_on_record(
    there: Front, bob: User
) -> None:
    status, answer = door(there, bob, {"opening": "open"})
    assert (status, answer["opening"]) == (200, "open")
    assert Service.objects.get().opening == "open"
    entry = AuditEntry.objects.get(action="service.change_door")
    assert (entry.actor, entry.data) == (bob, {"opening": "open"})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"opening": "everybody"}, "opening"),
        ({}, "opening"),
        ({"open": True}, "open"),
        ({"request_log": {"sample": 2}}, "request_log.sample"),
        ({"request_log": {"redact": ["x"]}}, "request_log.sample"),
        ({"request_log": {"sample": 1, "redact": "x"}}, "request_log.redact"),
        ({"request_log": {"sample": 1, "keep": 1}}, "request_log.keep"),
        ([], "config"),
    ],
)
def test_a_wrong_door_is_refused_by_field(there: Front, bob: User, body: Any, field: str) -> None:
    status, answer = door(there, bob, body)
    assert status == 400
    assert field in [error["field"] for error in answer["errors"]]


def test_a_viewer_changes_no_door(there: Front, vera: User) -> None:
    assert door(there, vera, {"opening": "open"})[0] == 403
