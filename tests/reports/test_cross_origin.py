"""E1: the origins whose web pages may call a service; tests/deploy/gateway has the calls."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from deploy.models import Service
from tests.factories import bearer
from tests.models.registry import make_service, make_version
from workspace.models import Team

ORIGIN = "http://app.example"
SERVICE = "/api/v1/teams/default/services/scorer"


@pytest.fixture
def service(team: Team, bob: User) -> Service:
    return make_service(make_version(team, bob))


def change(client: Client, by: User, origins: object) -> Any:
    data = json.dumps({"allowed_origins": origins})
    return client.patch(SERVICE, data, content_type="application/json", headers=bearer(by))


ORIGINS = {
    "http://app.example": "http://app.example",
    "https://APP.example": "https://app.example",
    "https://app.example:443": "https://app.example",
    "http://app.example:0080": "http://app.example",
    "http://localhost:3000": "http://localhost:3000",
    "http://[::1]:3000": "http://[::1]:3000",
    "capacitor://localhost": "capacitor://localhost",
}
NO_ORIGINS = (
    *("*", "https://*.example", "null", "", "app.example", "//app.example", "https://"),
    *("https://app.example/", "https://app.example/page", "https://app.example?x", "https://a b"),
    *("https://user@app.example", "https://app.example:0", "https://app.example:65536"),
    *("https://app.example\nhttps://b.example", "https://b\u00fccher.example"),
)


def test_e1_origins_are_kept_as_browsers_send_them(
    client: Client, bob: User, service: Service
) -> None:
    answer = change(client, bob, [*ORIGINS, "http://APP.example"])
    assert answer.status_code == 200, answer.content
    kept = list(dict.fromkeys(ORIGINS.values()))
    assert answer.json()["allowed_origins"] == kept
    assert client.get(SERVICE, headers=bearer(bob)).json()["allowed_origins"] == kept
    assert change(client, bob, None).json()["allowed_origins"] == []


def test_e1_every_wrong_origin_is_named_at_once(
    client: Client, bob: User, service: Service
) -> None:
    answer = change(client, bob, ["http://app.example", *NO_ORIGINS])
    assert answer.status_code == 400
    wrong = {f"allowed_origins.{number}" for number in range(1, len(NO_ORIGINS) + 1)}
    assert {error["field"] for error in answer.json()["errors"]} == wrong
    assert all("scheme://host" in error["message"] for error in answer.json()["errors"])
    service.refresh_from_db()
    assert service.allowed_origins == []


def test_e1_a_service_is_deployed_with_origins(client: Client, bob: User, service: Service) -> None:
    data = {"name": "pages", "model": "digits:1", "allowed_origins": [ORIGIN]}
    answer = client.post(
        "/api/v1/teams/default/services",
        json.dumps(data),
        content_type="application/json",
        headers=bearer(bob),
    )
    assert answer.json()["allowed_origins"] == [ORIGIN]


def test_e1_the_page_sets_origins_and_shows_every_wrong_one(
    client: Client, bob: User, service: Service
) -> None:
    client.force_login(bob)
    page = "/t/default/services/scorer/settings/"
    sent = client.post(f"{page}web-pages/", {"allowed_origins": f"{ORIGIN}\n\n https://b.example "})
    assert sent.status_code == 302
    service.refresh_from_db()
    assert service.allowed_origins == [ORIGIN, "https://b.example"]
    assert f"{ORIGIN}\nhttps://b.example</textarea>" in client.get(page).content.decode()
    wrong = client.post(f"{page}web-pages/", {"allowed_origins": "*\nhttps://b.example/x"})
    assert wrong.status_code == 422
    shown = wrong.content.decode()
    assert "&#x27;*&#x27; is not an origin" in shown
    assert "&#x27;https://b.example/x&#x27; is not an origin" in shown


def test_e1_the_javascript_program_says_where_it_works(
    client: Client, bob: User, service: Service
) -> None:
    client.force_login(bob)
    page = "/t/default/services/scorer/"
    assert (
        "no web page of another origin may call this service" in client.get(page).content.decode()
    )
    change(client, bob, [ORIGIN])
    assert f"web pages of {ORIGIN} may call this service" in client.get(page).content.decode()
