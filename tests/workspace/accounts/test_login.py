"""Logging in and out, the password, and what slows a guesser down."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from tests.factories import bearer, make_user
from workspace.accounts.passwords import (
    FAILURES_PER_ADDRESS,
    FAILURES_PER_NAME,
    FAILURES_PER_NAME_ANYWHERE,
    WINDOW,
)
from workspace.models import LoginFailure, OneTimePassword

pytestmark = pytest.mark.slow

PASSWORD = "alices-pass-phrase"


def log_in(client: Client, name: str, password: str, **more: str):
    return client.post("/login/", {"username": name, "password": password, **more})


def test_a_user_logs_in_and_out(client: Client, alice: User) -> None:
    response = log_in(client, "alice", PASSWORD)
    assert response.status_code == 302
    assert client.get("/account/").status_code == 200
    assert client.get("/logout/").status_code == 405
    client.post("/logout/")
    assert client.get("/account/").headers["Location"] == "/login/?next=/account/"


def test_the_start_page_leads_to_the_home_of_a_team(client: Client, alice: User) -> None:
    client.force_login(alice)
    assert client.get("/").headers["Location"] == "/t/default/"


def test_a_user_without_a_team_is_told_how_to_get_into_one(client: Client, charlie: User) -> None:
    client.force_login(charlie)
    page = client.get("/", follow=True)
    assert "Ask an admin of a team for an invitation link" in page.text


def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(
    client: Client, alice: User
) -> None:
    wrong = log_in(client, "alice", "nonsense")
    unknown = log_in(client, "nobody", "nonsense")
    assert wrong.status_code == unknown.status_code == 422
    assert "User name or password is wrong." in wrong.text
    assert "User name or password is wrong." in unknown.text


@pytest.mark.parametrize("name", ["alice", "nobody"])
def test_too_many_failures_for_a_name_are_refused_for_a_while(
    client: Client, alice: User, name: str
) -> None:
    for _ in range(FAILURES_PER_NAME):
        assert log_in(client, name, "nonsense").status_code == 422
    refused = log_in(client, name, PASSWORD)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= WINDOW.total_seconds()
    assert "Too many failed log-ins" in refused.text


def test_the_refusal_ends_by_itself(client: Client, alice: User) -> None:
    for _ in range(FAILURES_PER_NAME):
        log_in(client, "alice", "nonsense")
    assert log_in(client, "alice", PASSWORD).status_code == 429
    LoginFailure.objects.update(at=timezone.now() - WINDOW - timedelta(seconds=1))
    assert log_in(client, "alice", PASSWORD).status_code == 302
    assert not LoginFailure.objects.exists()


def test_failures_for_one_name_lock_out_nobody_else_behind_an_address(
    client: Client, alice: User
) -> None:
    for number in range(30):
        log_in(client, f"user{number % 3}", "nonsense")
    assert log_in(client, "alice", PASSWORD).status_code == 302


def test_failures_from_elsewhere_lock_nobody_out(alice: User) -> None:
    for number in range(3 * FAILURES_PER_NAME):
        log_in(Client(REMOTE_ADDR=f"198.51.100.{number % 2}"), "alice", "nonsense")
    assert log_in(Client(REMOTE_ADDR="198.51.100.1"), "alice", PASSWORD).status_code == 429
    assert log_in(Client(REMOTE_ADDR="203.0.113.9"), "alice", PASSWORD).status_code == 302


def test_the_addresses_of_one_ipv6_network_count_as_one(alice: User) -> None:
    for number in range(FAILURES_PER_NAME):
        log_in(Client(REMOTE_ADDR=f"2001:db8:0:1::{number}"), "alice", "nonsense")
    assert log_in(Client(REMOTE_ADDR="2001:db8:0:1:ffff::"), "alice", PASSWORD).status_code == 429
    assert log_in(Client(REMOTE_ADDR="2001:db8:0:2::"), "alice", PASSWORD).status_code == 302


def test_guesses_from_very_many_addresses_are_refused_too(alice: User) -> None:
    for number in range(FAILURES_PER_NAME_ANYWHERE):
        log_in(Client(REMOTE_ADDR=f"198.51.100.{number}"), "alice", "nonsense")
    assert log_in(Client(REMOTE_ADDR="203.0.113.9"), "alice", PASSWORD).status_code == 429


def test_one_address_cannot_try_many_names(client: Client, alice: User) -> None:
    for number in range(FAILURES_PER_ADDRESS):
        assert log_in(client, f"user{number}", "nonsense").status_code == 422
    assert log_in(client, "alice", PASSWORD).status_code == 429


def test_a_right_password_clears_the_failures_of_its_name(client: Client, alice: User) -> None:
    for _ in range(3):
        for _ in range(FAILURES_PER_NAME - 1):
            log_in(client, "alice", "nonsense")
        assert log_in(client, "alice", PASSWORD).status_code == 302
        client.post("/logout/")


def test_what_was_typed_as_a_name_is_not_stored(client: Client, db: None) -> None:
    log_in(client, "my-password-by-mistake", "nonsense")
    assert all("mistake" not in failure.key for failure in LoginFailure.objects.all())


def test_log_in_goes_on_to_a_page_of_ours_only(client: Client, alice: User) -> None:
    ours = log_in(client, "alice", PASSWORD, next="/account/")
    assert ours.headers["Location"] == "/account/"
    client.post("/logout/")
    for foreign in ("https://evil.example/", "//evil.example/", "javascript:alert(1)"):
        response = log_in(client, "alice", PASSWORD, next=foreign)
        assert response.headers["Location"] == "/"
        client.post("/logout/")


def test_the_session_gets_a_new_key_at_log_in(client: Client, alice: User) -> None:
    client.get("/login/")
    session = client.session
    session["something"] = "from before"
    session.save()
    before = session.session_key
    log_in(client, "alice", PASSWORD)
    assert client.session.session_key != before


def test_a_page_without_its_csrf_token_changes_nothing(alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    response = log_in(client, "alice", PASSWORD)
    assert response.status_code == 403
    assert "Reload the page" in response.text


def test_changing_the_password_ends_the_other_sessions(alice: User) -> None:
    here, elsewhere = Client(), Client()
    for client in (here, elsewhere):
        log_in(client, "alice", PASSWORD)
    answer = here.post(
        "/account/password/",
        {"current": PASSWORD, "password": "another pass phrase", "again": "another pass phrase"},
    )
    assert answer.status_code == 302
    assert here.get("/account/").status_code == 200
    assert elsewhere.get("/account/").status_code == 302
    assert log_in(Client(), "alice", PASSWORD).status_code == 422
    assert log_in(Client(), "alice", "another pass phrase").status_code == 302


@pytest.mark.parametrize("revokes", [True, False])
def test_a_new_password_revokes_the_tokens_where_that_is_wished(
    client: Client, alice: User, revokes: bool
) -> None:
    token = bearer(alice)
    client.force_login(alice)
    page = client.get("/account/password/").text
    assert re.search(r'<input[^>]*name="revoke_tokens"[^>]*checked', page)
    new = {"current": PASSWORD, "password": "another pass phrase", "again": "another pass phrase"}
    client.post("/account/password/", {**new, **({"revoke_tokens": "on"} if revokes else {})})
    assert client.get("/api/v1/teams", headers=token).status_code == (401 if revokes else 200)


@pytest.mark.parametrize(
    ("current", "password", "again", "said"),
    [
        ("wrong", "another pass phrase", "another pass phrase", "not your current password"),
        (PASSWORD, "short", "short", "too short"),
        (PASSWORD, "another pass phrase", "an other pass phrase", "The passwords do not match"),
        (PASSWORD, PASSWORD, PASSWORD, "choose another"),
    ],
)
def test_a_bad_new_password_is_refused_beside_its_field(
    client: Client, alice: User, current: str, password: str, again: str, said: str
) -> None:
    client.force_login(alice)
    page = client.post(
        "/account/password/", {"current": current, "password": password, "again": again}
    )
    assert page.status_code == 422
    assert said in page.text
    assert User.objects.get(pk=alice.pk).check_password(PASSWORD)


def test_a_one_time_password_opens_nothing_but_its_own_change(client: Client, db: None) -> None:
    user = make_user("dora", password="one-time-phrase")
    OneTimePassword.objects.create(user=user)
    log_in(client, "dora", "one-time-phrase")
    assert client.get("/account/").headers["Location"] == "/account/password/"
    assert client.get("/api/v1/teams").status_code == 403
    assert "one-time password" in client.get("/account/password/").text
    client.post(
        "/account/password/",
        {"current": "one-time-phrase", "password": "my own phrase", "again": "my own phrase"},
    )
    assert client.get("/account/").status_code == 200
    client.post("/logout/")
    log_in(client, "dora", "my own phrase")
    assert client.get("/account/").status_code == 200
