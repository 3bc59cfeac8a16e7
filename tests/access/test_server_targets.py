"""Nobody but the installation's admin reaches the server itself by way of a compute target."""

import json
import socket
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from pytest_django import Settings

from tests.factories import bearer, join, make_target, make_team
from tests.workspace.targets.target_fixtures import OF_AN_ENGINE, ON_THE_FORM
from workspace.compute.base import BackendError
from workspace.compute.outbound import is_own_address
from workspace.models import ComputeTarget, Role, Team
from workspace.platform.encryption import encrypt
from workspace.targets.backends import backend_for, target_access
from workspace.targets.timeouts import start_call

TARGETS = "/api/v1/teams/default/targets"
PAGE = "/t/default/new-target/"


def own_addresses() -> list[str]:
    """Return what this machine's name leads to, where it leads anywhere, as in no bare root."""
    try:
        found = socket.getaddrinfo(socket.gethostname(), 1)
    except socket.gaierror:
        return []
    return [str(address) for *_, (address, *_) in found if is_own_address(str(address))]


OWN = [*own_addresses(), "127.0.1.1"][0]
OWN_NAME = socket.gethostname() if own_addresses() else "localhost"
ADDRESSES = [
    "unix:///var/run/docker.sock",
    "/run/user/1000/docker.sock",
    "tcp://127.0.0.1:2375",
    "tcp://127.1:2375",
    "tcp://0x7f000001:2375",
    "tcp://2130706433:2375",
    "tcp://0.0.0.0:2375",
    "tcp://localhost:2375",
    "tcp://[::1]:2375",
    "tcp://[::ffff:127.0.0.1]:2375",
    f"tcp://{OWN}:2375",
    f"tcp://{OWN_NAME}:2375",
    "tcp://10.0.0.1:2375",
    "tcp://169.254.169.254:80",
    "tcp://[fd00::1]:2375",
    "ssh://localhost",
    "ssh://root@198.51.100.7",
]
REFUSED = [
    {"kind": "local"},
    {"kind": "local", "allow_shared": True},
    *(
        {"kind": kind, "address": address, "without_tls": address.startswith("tcp")}
        for kind in ("docker", "swarm")
        for address in ADDRESSES
    ),
]
ELSEWHERE = {"kind": "docker", "address": "tcp://198.51.100.7:2375", "without_tls": True}


@pytest.fixture(autouse=True)
def no_engine_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare these tests the wait for addresses that lead nowhere."""

    def fail(*args: object) -> None:
        raise BackendError("There is no engine.")

    monkeypatch.setattr("workspace.compute.engine.client.Engine.client", fail)


def send(client: Client, method: str, address: str, body: object, user: User) -> Any:
    return client.generic(
        method, address, json.dumps(body), "application/json", headers=bearer(user)
    )


@pytest.mark.parametrize("target", REFUSED, ids=str)
def test_a_team_admin_adds_nothing_that_is_the_server_itself(
    client: Client, alice: User, target: dict[str, Any]
) -> None:
    answer = send(client, "POST", TARGETS, {"name": "mine", **target}, alice)
    assert answer.status_code == 403, answer.text
    assert "installation's admin" in answer.json()["detail"]
    client.force_login(alice)
    form = {**ON_THE_FORM, **OF_AN_ENGINE, **target, "name": "mine"}
    assert client.post(PAGE, form).status_code == 422
    assert not ComputeTarget.objects.exists()


@pytest.mark.parametrize("target", REFUSED, ids=str)
def test_the_installations_admin_adds_any(
    client: Client, root: User, target: dict[str, Any]
) -> None:
    answer = send(client, "POST", TARGETS, {"name": "mine", **target}, root)
    assert answer.status_code == 201, answer.text
    assert ComputeTarget.objects.get().is_trusted


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_team_admin_does_not_move_a_target_there_later(
    client: Client, alice: User, address: str
) -> None:
    assert send(client, "POST", TARGETS, {"name": "mine", **ELSEWHERE}, alice).status_code == 201
    moved = {"address": address, "without_tls": True}
    assert send(client, "PATCH", f"{TARGETS}/mine", moved, alice).status_code == 403
    client.force_login(alice)
    form = {**ON_THE_FORM, **OF_AN_ENGINE, "address": address, "without_tls": "on"}
    assert client.post("/t/default/targets/mine/settings/", form).status_code == 422
    assert ComputeTarget.objects.get().address == ELSEWHERE["address"]


def test_a_name_that_leads_here_later_is_refused_when_it_is_used(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    address = "tcp://engine.example:2375"
    target = make_target(team, "mine", kind="docker", address=address, is_trusted=False)
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, port, **kind: [(socket.AF_INET, 1, 6, "", ("127.0.0.1", port))],
    )
    with pytest.raises(BackendError, match="leads to this server or to a private network"):
        backend_for(target).check()


def test_the_engine_of_this_machine_is_offered_to_the_installations_admin_alone(
    client: Client, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workspace.targets.pages.detect_local_engine", lambda: "unix:///x.sock")
    client.force_login(alice)
    assert "unix:///x.sock" not in client.get("/t/default/targets/").text
    assert client.post("/t/default/new-target/this-engine/").status_code == 403
    assert "kind=local" not in client.get(PAGE).text
    alice.is_superuser = True
    alice.save()
    assert "unix:///x.sock" in client.get("/t/default/targets/").text
    assert "kind=local" in client.get(PAGE).text


def test_several_users_on_the_server_itself_are_for_the_installations_admin_to_allow(
    client: Client, alice: User, team: Team
) -> None:
    make_target(team, allow_shared=False)
    at = f"{TARGETS}/local"
    assert send(client, "PATCH", at, {"allow_shared": True}, alice).status_code == 403
    client.force_login(alice)
    form = {**ON_THE_FORM, "allow_shared": "on"}
    assert client.post("/t/default/targets/local/settings/", form).status_code == 422
    assert not ComputeTarget.objects.get().allow_shared
    assert send(client, "PATCH", at, {"max_processes": 3}, alice).status_code == 200
    ComputeTarget.objects.update(allow_shared=True)
    assert send(client, "PATCH", at, {"allow_shared": False}, alice).status_code == 200


def test_a_team_admin_shares_no_target_that_is_the_server_itself(
    client: Client, alice: User, charlie: User, team: Team
) -> None:
    make_team("others", admin=charlie)
    make_target(team)
    at = f"{TARGETS}/local/grants"
    assert send(client, "PUT", f"{at}/others", {}, alice).status_code == 403
    assert send(client, "PUT", f"{at}/default", {"max_runs": 1}, alice).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"registry": "127.0.0.1:5000"},
        {"base_image": "127.0.0.1:6379/x"},
        {"gpu_base_image": "localhost:80/x"},
        {"shared_folder": "/root"},
    ],
    ids=str,
)
def test_what_an_engine_of_the_installations_admin_reaches_is_not_for_team_admins(
    client: Client, alice: User, team: Team, change: dict[str, str]
) -> None:
    make_target(team, "engine", kind="swarm", address="unix:///x.sock")
    at = f"{TARGETS}/engine"
    assert send(client, "PATCH", at, change, alice).status_code == 403
    assert (
        send(client, "PATCH", at, {"max_gpus": 1, **dict.fromkeys(change, "")}, alice).status_code
        == 200
    )


@pytest.mark.parametrize(
    ("address", "stored_key", "sent_key", "is_handed_back"),
    [
        ("tcp://198.51.100.7:2375", "", "", True),
        ("tcp://198.51.100.7:2375", "stored", "", False),
        ("tcp://198.51.100.7:2375", "stored", "sent again", True),
        ("tcp://10.0.0.1:2375", "", "", False),
        ("unix:///x.sock", "", "", False),
    ],
)
def test_an_engine_that_a_team_admin_could_add_becomes_the_teams_own(
    client: Client,
    alice: User,
    team: Team,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    stored_key: str,
    sent_key: str,
    is_handed_back: bool,
) -> None:
    monkeypatch.setattr("workspace.targets.rules.tls_errors", lambda **texts: [])
    target = make_target(team, "engine", kind="docker", address=address)
    if stored_key:
        ComputeTarget.objects.update(
            tls_ca="ca", tls_cert="cert", encrypted_tls_key=encrypt(stored_key)
        )
    at = f"{TARGETS}/engine"
    refused = send(client, "PATCH", at, {"base_image": "mine"}, alice)
    assert refused.status_code == 403
    assert "sends its address again by PATCH" in refused.text
    again = {"address": address, "base_image": "mine"} | ({"tls_key": sent_key} if sent_key else {})

    answer = send(client, "PATCH", at, again, alice)

    assert answer.status_code == (200 if is_handed_back else 403), answer.text
    target.refresh_from_db()
    assert target.is_trusted is not is_handed_back
    assert target.base_image == ("mine" if is_handed_back else "")
    assert target_access(target).outbound.is_restricted is is_handed_back


@pytest.mark.django_db(transaction=True)
def test_a_name_is_looked_up_while_nothing_is_locked(
    client: Client, alice: User, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_target(team, "mine", kind="docker", address="tcp://198.51.100.7:2375", is_trusted=False)
    transactions = []

    def look_up(question: object, **where: object) -> object:
        transactions.append(connection.get_autocommit())
        return start_call(lambda: [], group=None, key=None)

    monkeypatch.setattr("workspace.targets.server_access.start_call", look_up)
    moved = {"address": "tcp://engine.example:2375", "without_tls": True}

    assert send(client, "PATCH", f"{TARGETS}/mine", moved, alice).status_code == 200
    made = {**ELSEWHERE, "name": "other", "address": "tcp://other.example:2375"}
    assert send(client, "POST", TARGETS, made, alice).status_code == 201

    assert transactions == [True, True]


def test_an_address_that_the_installations_admin_gives_meanwhile_stays_theirs(
    client: Client, alice: User, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trust that came while the name was looked up must not pass to the team admin's address."""
    make_target(team, "mine", kind="docker", address="tcp://198.51.100.7:2375", is_trusted=False)

    def look_up(question: object, **where: object) -> object:
        ComputeTarget.objects.update(is_trusted=True, max_gpus=3)
        return start_call(lambda: [], group=None, key=None)

    monkeypatch.setattr("workspace.targets.server_access.start_call", look_up)
    moved = {"address": "tcp://engine.example:2375", "without_tls": True}

    assert send(client, "PATCH", f"{TARGETS}/mine", moved, alice).status_code == 200

    target = ComputeTarget.objects.get()
    assert (target.address, target.is_trusted) == (moved["address"], False)
    assert target.max_gpus == 3


def test_private_networks_that_the_installation_allows_are_for_team_admins_too(
    client: Client, alice: User, settings: Settings
) -> None:
    settings.TRAINYARD_ALLOWED_ENGINE_NETWORKS = ["10.0.0.0/8"]
    body = {"name": "mine", **ELSEWHERE, "address": "tcp://10.9.8.7:2375"}
    assert send(client, "POST", TARGETS, body, alice).status_code == 201
    access = target_access(ComputeTarget.objects.get())
    assert access.outbound.is_restricted
    assert not access.outbound.tells_causes
    for address in ("tcp://127.0.0.1:2375", "tcp://192.168.0.1:2375", "tcp://169.254.169.254:80"):
        answer = send(client, "PATCH", f"{TARGETS}/mine", {"address": address}, alice)
        assert answer.status_code in {400, 403}


def test_an_engine_is_believed_who_it_is_of_its_own_teams_targets_alone(
    client: Client, alice: User, charlie: User, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = make_team("others", admin=charlie)
    join(others, alice, Role.VIEWER)
    honest = make_target(team, "honest", kind="docker", address="tcp://engine:1", pool="engine-1")
    monkeypatch.setattr(
        "workspace.compute.docker.backend.DockerBackend.machines_id", lambda self: "engine-1"
    )
    theirs = "/api/v1/teams/others/targets"
    for name in ("false", "twin"):
        body = {**ELSEWHERE, "name": name, "idle_cpus": 10_000}
        made = send(client, "POST", theirs, body, charlie)
        assert made.status_code == 201, made.text
    assert made.json()["shares_machines_with"] == ["false"]
    assert made.json()["pool"] != honest.pool
    shown = client.get(f"{TARGETS}/honest", headers=bearer(alice)).json()
    assert shown["shares_machines_with"] == []
