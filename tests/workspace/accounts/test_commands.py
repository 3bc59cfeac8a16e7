"""The commands that start an installation and make tokens."""

import re

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from workspace.models import ApiToken, ComputeTarget, Membership, Role, Scope, Team


@pytest.fixture(autouse=True)
def no_given_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRAINYARD_ADMIN_PASSWORD", raising=False)
    monkeypatch.delenv("TRAINYARD_ADMIN_PASSWORD_FILE", raising=False)


def printed(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    call_command(*command)
    return capsys.readouterr().out


def test_bootstrap_makes_an_admin_whose_password_is_shown_once(
    db: None, capsys: pytest.CaptureFixture[str], client: Client
) -> None:
    match = re.search(r"one-time password (\S+)", printed(capsys, "bootstrap"))
    assert match
    assert Membership.objects.get().role == Role.ADMIN
    assert ComputeTarget.objects.get().name == "local"
    assert not ComputeTarget.objects.get().allow_shared
    client.post("/login/", {"username": "admin", "password": match[1]})
    assert client.get("/").headers["Location"] == "/account/password/"
    assert printed(capsys, "bootstrap") == ""
    assert User.objects.count() == Team.objects.count() == 1


def test_bootstrap_takes_a_given_password_as_it_is(
    db: None,
    capsys: pytest.CaptureFixture[str],
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRAINYARD_ADMIN_PASSWORD", "given")
    assert printed(capsys, "bootstrap") == ""
    client.post("/login/", {"username": "admin", "password": "given"})
    assert client.get("/").headers["Location"] == "/t/default/"


def test_bootstrap_leaves_an_installation_with_users_alone(
    charlie: User, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed(capsys, "bootstrap") == ""
    assert not Team.objects.exists()


def test_token_prints_a_token_as_its_last_word(
    alice: User, capsys: pytest.CaptureFixture[str], client: Client
) -> None:
    secret = printed(capsys, "token", "alice", "--name", "ci", "--days", "3").split()[-1]
    token = ApiToken.objects.get()
    assert (token.name, token.scope, token.expires_at is not None) == ("ci", Scope.ADMIN, True)
    answer = client.get("/api/v1/teams", headers={"Authorization": f"Bearer {secret}"})
    assert answer.json() == [{"slug": "default", "name": "Default", "role": "admin"}]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["nobody"], "no active user 'nobody'"), (["alice", "--days", "0"], "days")],
)
def test_token_says_what_it_cannot_do(alice: User, arguments: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        call_command("token", *arguments)


def test_bootstrap_makes_the_first_target_of_an_engine_that_is_named(
    db: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINYARD_ENGINE", "unix:///var/run/docker.sock")
    printed(capsys, "bootstrap")
    target = ComputeTarget.objects.get()
    assert (target.name, target.kind) == ("local", "docker")
    assert target.address == "unix:///var/run/docker.sock"
