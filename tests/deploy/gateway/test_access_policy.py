"""Who may score a service: by keys, by tokens, as a member who is signed in, or everybody."""

import json
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from deploy.access_policy import AccessChange, change_access
from deploy.models import AccessPolicy, Service
from tests.deploy.fake_replicas import answers
from tests.deploy.gateway_client import SCORE, SERVE, GatewayClient, MakeFront
from tests.factories import make_token
from workspace.models import AuditEntry, Scope

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

OURS = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def there(front: MakeFront) -> GatewayClient:
    return front(answers(b"{}"))


def open_to(there: GatewayClient, by: User, policy: AccessPolicy) -> None:
    change_access(service=there.service, by=by, change=AccessChange(access_policy=policy))


def cookie_of(user: User) -> dict[str, str]:
    client = Client()
    client.force_login(user)
    return {"Cookie": f"{settings.SESSION_COOKIE_NAME}={client.session.session_key}"}


def test_keys_and_tokens_open_a_service_at_first(there: GatewayClient, bob: User) -> None:
    assert there.ask()[0] == 200
    assert there.ask(secret=make_token(bob, Scope.WRITE))[0] == 200
    assert there.ask(secret="", headers=cookie_of(bob) | OURS)[0] == 401


def test_a_service_for_tokens_refuses_its_keys_and_says_so(there: GatewayClient, bob: User) -> None:
    open_to(there, bob, AccessPolicy.TOKENS)
    status, answer = there.ask()
    assert (status, "API token" in answer["error"]) == (401, True)
    assert there.ask(secret=make_token(bob, Scope.WRITE))[0] == 200


def test_members_who_are_signed_in_score_a_service_of_the_team_beside_its_keys(
    there: GatewayClient, bob: User, vera: User, charlie: User
) -> None:
    open_to(there, bob, AccessPolicy.TEAM)
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
    there: GatewayClient, bob: User, headers: dict[str, str]
) -> None:
    open_to(there, bob, AccessPolicy.TEAM)
    status, answer = there.ask(secret="", headers=cookie_of(bob) | headers)
    assert (status, "Cross-site" in answer["error"]) == (403, True)
    assert not there.fakes[0].requests


def test_a_page_of_ours_is_known_by_its_origin(there: GatewayClient, bob: User) -> None:
    open_to(there, bob, AccessPolicy.TEAM)
    assert there.ask(secret="", headers=cookie_of(bob) | {"Origin": there.web})[0] == 200
    reading = there.ask(None, method="GET", path=SERVE, secret="", headers=cookie_of(bob))
    assert reading[0] == 200


def test_an_open_service_answers_everybody(there: GatewayClient, bob: User) -> None:
    open_to(there, bob, AccessPolicy.PUBLIC)
    assert there.ask(secret="")[0] == 200
    assert there.ask(secret="ty_wrong")[0] == 200
    assert there.ask()[0] == 200


def test_a_service_that_is_closed_again_is_closed_at_once(there: GatewayClient, bob: User) -> None:
    open_to(there, bob, AccessPolicy.PUBLIC)
    assert there.ask(secret="")[0] == 200
    open_to(there, bob, AccessPolicy.KEYS)
    assert there.ask(secret="")[0] == 401


# Over REST


def access(there: GatewayClient, user: User, body: Any, method: str = "PATCH") -> tuple[int, Any]:
    return there.ask(
        json.dumps(body).encode(),
        method=method,
        path=SCORE.replace("/score", "/access"),
        secret=make_token(user, Scope.WRITE),
        headers={"Content-Type": "application/json"},
    )


def test_the_opening_is_changed_over_rest_and_the_change_is_on_record(
    there: GatewayClient, bob: User
) -> None:
    status, answer = access(there, bob, {"access_policy": "open"})
    assert (status, answer["access_policy"]) == (200, "open")
    assert Service.objects.get().access_policy == "open"
    entry = AuditEntry.objects.get(action="service.change_access")
    assert (entry.actor, entry.data) == (bob, {"access_policy": "open"})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"access_policy": "everybody"}, "access_policy"),
        ({}, "access_policy"),
        ({"open": True}, "open"),
        ({"request_log": {"sample": 2}}, "request_log.sample"),
        ({"request_log": {"redact": ["x"]}}, "request_log.sample"),
        ({"request_log": {"sample": 1, "redact": "x"}}, "request_log.redact"),
        ({"request_log": {"sample": 1, "keep": 1}}, "request_log.keep"),
        ([], "body"),
    ],
)
def test_a_wrong_access_policy_is_refused_by_field(
    there: GatewayClient, bob: User, body: Any, field: str
) -> None:
    status, answer = access(there, bob, body)
    assert status == 400
    assert field in [error["field"] for error in answer["errors"]]


def test_a_viewer_changes_no_access_policy(there: GatewayClient, vera: User) -> None:
    assert access(there, vera, {"access_policy": "open"})[0] == 403
