"""Secrets of a team: who writes them, who sees their names, and that nobody reads their values."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.factories import bearer, make_team
from workspace.models import AuditEntry, Team, TeamSecret
from workspace.platform.errors import Conflict
from workspace.secrets.services import (
    MAX_SECRETS,
    MAX_VALUE_BYTES,
    SecretUnavailable,
    store_secret,
    values_for_use,
)

pytestmark = pytest.mark.django_db
API = "/api/v1/teams/default/secrets"
PAGE = "/t/default/secrets/"
VALUE = "wJalrXUtnFEMI/K7MDENG"


def put(client: Client, name: str, value: object, by: User) -> Any:
    body = json.dumps({"value": value})
    return client.put(f"{API}/{name}", body, "application/json", headers=bearer(by))


def test_a_value_is_stored_encrypted_and_no_response_holds_it(
    client: Client, team: Team, alice: User, vera: User
) -> None:
    created = put(client, "aws-key", VALUE, alice)
    replaced = put(client, "aws-key", VALUE + "2", alice)
    client.force_login(alice)
    seen = [
        created,
        replaced,
        client.get(API, headers=bearer(vera)),
        client.get(PAGE),
        client.get("/t/default/audit/"),
    ]

    assert [answer.status_code for answer in seen] == [201, 200, 200, 200, 200]
    assert all("aws-key" in answer.text for answer in seen)
    assert not any(VALUE in answer.text for answer in seen)
    assert VALUE not in TeamSecret.objects.get().encrypted_value
    assert values_for_use(team, ["aws-key"]) == {"aws-key": VALUE + "2"}
    assert VALUE not in str(list(AuditEntry.objects.values_list("action", "subject", "data")))


def test_admins_write_members_and_viewers_see_names_strangers_see_nothing(
    client: Client, team: Team, alice: User, bob: User, vera: User, charlie: User
) -> None:
    put(client, "aws-key", VALUE, alice)
    for person, read, write in ((bob, 200, 403), (vera, 200, 403), (charlie, 404, 404)):
        assert client.get(API, headers=bearer(person)).status_code == read
        assert put(client, "aws-key", "other", person).status_code == write
        answer = client.delete(f"{API}/aws-key", headers=bearer(person))
        assert answer.status_code == write
        client.force_login(person)
        assert client.get(PAGE).status_code == read
        form = {"name": "aws-key", "value": "other", "may_replace": "on"}
        assert client.post(PAGE, form).status_code == write
        assert client.post(f"{PAGE}aws-key/delete/").status_code == write
        client.logout()
    assert values_for_use(team, ["aws-key"]) == {"aws-key": VALUE}


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("a b", VALUE, "name"),
        ("-key", VALUE, "name"),
        ("k" * 65, VALUE, "name"),
        ("key", "", "value"),
        ("key", None, "value"),
        ("key", 5, "value"),
        ("key", "a\0b", "value"),
        ("key", "\ud800", "value"),
        ("key", "x" * (MAX_VALUE_BYTES + 1), "value"),
        ("key", "é" * (MAX_VALUE_BYTES // 2 + 1), "value"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    client: Client, team: Team, alice: User, name: str, value: object, field: str
) -> None:
    answer = put(client, name, value, alice)

    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert not TeamSecret.objects.exists()


def test_the_largest_value_comes_back_as_it_was(team: Team, alice: User) -> None:
    value = "\r\n" + "é" * (MAX_VALUE_BYTES // 2 - 2) + "\n "
    store_secret(team=team, by=alice, name="key", value=value)

    assert values_for_use(team, ["key"]) == {"key": value}


def test_a_team_has_so_many_secrets_and_no_more(team: Team, alice: User) -> None:
    for number in range(MAX_SECRETS):
        store_secret(team=team, by=alice, name=f"key-{number}", value=VALUE)

    store_secret(team=team, by=alice, name="key-0", value="replaced")
    with pytest.raises(Conflict, match="limit"):
        store_secret(team=team, by=alice, name="one-more", value=VALUE)


def test_another_teams_secret_of_the_same_name_is_another(
    client: Client, team: Team, alice: User
) -> None:
    other = make_team("other", admin=alice)
    store_secret(team=other, by=alice, name="aws-key", value="theirs")

    assert client.get(API, headers=bearer(alice)).json() == []
    answer = client.delete(f"{API}/aws-key", headers=bearer(alice))
    assert answer.status_code == 404
    assert TeamSecret.objects.get().team == other


def test_what_is_too_much_for_one_run_is_said_at_its_start_too(team: Team, alice: User) -> None:
    for name in ("a", "b", "c"):
        store_secret(team=team, by=alice, name=name, value="x" * 60_000)

    assert len(values_for_use(team, ["a", "b"])) == 2
    with pytest.raises(SecretUnavailable, match="bytes together"):
        values_for_use(team, ["a", "b", "c"])


def test_a_name_that_is_not_there_is_answered_with_the_nearest(
    client: Client, team: Team, alice: User
) -> None:
    put(client, "aws-key", VALUE, alice)

    answer = client.delete(f"{API}/aws-kye", headers=bearer(alice))

    assert answer.status_code == 404
    assert "Did you mean aws-key?" in answer.json()["detail"]


def test_the_page_adds_replaces_when_asked_to_and_deletes(
    client: Client, team: Team, alice: User
) -> None:
    client.force_login(alice)
    form = {"name": "key", "value": "line one\r\nline two"}

    assert client.post(PAGE, form).status_code == 302
    assert values_for_use(team, ["key"]) == {"key": "line one\nline two"}
    refused = client.post(PAGE, {"name": "key", "value": "second-value"})
    assert refused.status_code == 422
    assert "There is a secret key already" in refused.text
    assert "second-value" not in refused.text
    client.post(PAGE, {"name": "key", "value": "second-value", "may_replace": "on"})
    assert values_for_use(team, ["key"]) == {"key": "second-value"}
    assert client.post(f"{PAGE}key/delete/").status_code == 302
    actions = AuditEntry.objects.order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["secret.create", "secret.replace", "secret.delete"]


def test_a_lost_secret_key_is_said_by_the_secret_that_it_hits(
    team: Team, alice: User, settings: Any
) -> None:
    store_secret(team=team, by=alice, name="aws-key", value=VALUE)
    settings.SECRET_KEY = "another"

    with pytest.raises(Conflict, match=r"The secret aws-key cannot be read.*Replace its value"):
        values_for_use(team, ["aws-key"])
