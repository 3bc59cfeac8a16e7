"""Targets over REST: what is taken, what is refused and why, who may use them, and trials."""

import json
from collections.abc import Callable
from typing import Any

import django_rq
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import DjangoCaptureOnCommitCallbacks
from redis import Redis
from rq import SimpleWorker

from tests.factories import bearer, make_environment, make_run, make_target, make_team
from tests.workspace.targets.not_engines import a_web_page, http_server
from tests.workspace.targets.target_fixtures import OneNode, certificate
from workspace.compute.docker.backend import DockerBackend
from workspace.compute.environment_spec import EnvironmentSpec
from workspace.compute.swarm.backend import SwarmBackend
from workspace.environments.services import get_or_create
from workspace.models import AuditEntry, ComputeTarget, Team
from workspace.platform.encryption import decrypt
from workspace.targets.selectors import targets_for
from workspace.targets.services import MAX_TARGETS

TARGETS = "/api/v1/teams/default/targets"
UNIX = {"name": "engine", "kind": "docker", "address": "/nowhere/docker.sock"}
TCP = {"name": "engine", "kind": "docker", "address": "tcp://192.0.2.1:2376"}


@pytest.fixture(autouse=True)
def one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workspace.targets.states.backend_for", lambda target: OneNode())


@pytest.fixture
def no_engine_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare tests of rules the wait for addresses that lead nowhere."""
    for kind in (DockerBackend, SwarmBackend):
        monkeypatch.setattr(kind, "machines_id", lambda self: self.access.address)


def send(client: Client, method: str, address: str, body: object, user: User) -> Any:
    return client.generic(
        method, address, json.dumps(body), "application/json", headers=bearer(user)
    )


def fields_of(answer: Any) -> list[str]:
    return [error["field"] for error in answer.json()["errors"]]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"name": "a", "kind": "docker"}, ["address"]),
        ({**UNIX, "address": "http://x:1"}, ["address"]),
        ({**TCP}, ["address"]),
        ({**UNIX, "tls_ca": "x"}, ["tls_ca"]),
        ({**TCP, "tls_ca": "x", "without_tls": True}, ["without_tls"]),
        ({**TCP, "tls_ca": "x"}, ["tls_ca"]),
        ({**UNIX, "registry": "http://registry:5000"}, ["registry"]),
        ({**UNIX, "registry_user": "ci"}, ["registry"]),
        ({**UNIX, "registry": "r:5000", "registry_user": "ci"}, ["registry_password"]),
        ({**UNIX, "registry": "r:5000", "registry_password": "x"}, ["registry_user"]),
        ({**UNIX, "base_image": "a b"}, ["base_image"]),
        ({**UNIX, "web_url": "trainyard.lan"}, ["web_url"]),
        ({**UNIX, "web_url": "http://trainyard.lan/x"}, ["web_url"]),
        ({**UNIX, "allowed_nodes": ["a"]}, ["allowed_nodes"]),
        ({**UNIX, "kind": "swarm", "allowed_nodes": [""]}, ["allowed_nodes"]),
        ({**UNIX, "shared_folder": "/mnt"}, ["shared_folder"]),
        ({**UNIX, "kind": "swarm", "shared_folder": "mnt"}, ["shared_folder"]),
        ({**UNIX, "kind": "swarm", "shared_folder": "/mnt/../etc"}, ["shared_folder"]),
        ({**UNIX, "max_cpus": 0}, ["max_cpus"]),
        ({**UNIX, "max_memory_bytes": -1}, ["max_memory_bytes"]),
        ({**UNIX, "max_memory_bytes": 10**30}, ["max_memory_bytes"]),
        ({**UNIX, "max_gpus": -1}, ["max_gpus"]),
        ({**UNIX, "idle_cpus": -1}, ["idle_cpus"]),
        ({**UNIX, "idle_memory_bytes": -1}, ["idle_memory_bytes"]),
        ({**UNIX, "max_priority": 101}, ["max_priority"]),
        ({**UNIX, "max_priority": -1}, ["default_priority"]),
        ({**UNIX, "unreachable_timeout_seconds": 1}, ["unreachable_timeout_seconds"]),
        ({"name": "a", "address": "/x", "registry": "r"}, ["address", "registry"]),
        ({**UNIX, "name": "A", "max_cpus": -1, "registry": "/"}, ["max_cpus", "registry", "name"]),
    ],
)
def test_what_a_target_may_not_be_is_refused_by_field(
    client: Client, alice: User, body: dict[str, Any], fields: list[str]
) -> None:
    answer = send(client, "POST", TARGETS, body, alice)
    assert answer.status_code == 400, answer.text
    assert fields_of(answer) == fields
    assert not ComputeTarget.objects.exists()


@pytest.mark.usefixtures("no_engine_is_asked")
def test_certificates_must_fit_and_the_key_is_never_told(client: Client, alice: User) -> None:
    ca = certificate("authority")
    ours, other = certificate("trainyard", by=ca), certificate("trainyard", by=ca)
    old = certificate("trainyard", by=ca, days=-1)
    tls = {**TCP, "tls_ca": ca.cert, "tls_cert": ours.cert}
    for wrong, field in (
        ({}, "tls_key"),
        ({"tls_key": "x"}, "tls_key"),
        ({"tls_key": other.key}, "tls_key"),
        ({"tls_key": ours.key, "tls_cert": ""}, "tls_cert"),
        ({"tls_key": old.key, "tls_cert": old.cert}, "tls_cert"),
    ):
        answer = send(client, "POST", TARGETS, {**tls, **wrong}, alice)
        assert fields_of(answer) == [field]
    made = send(client, "POST", TARGETS, {**tls, "tls_key": ours.key}, alice)
    assert made.status_code == 201, made.text
    assert made.json()["has_tls_key"] is True
    assert "PRIVATE KEY" not in made.text
    assert decrypt(ComputeTarget.objects.get().encrypted_tls_key) == ours.key


@pytest.mark.usefixtures("no_engine_is_asked")
def test_another_address_asks_for_the_key_again(client: Client, alice: User) -> None:
    ca = certificate("authority")
    ours = certificate("trainyard", by=ca)
    tls = {"tls_ca": ca.cert, "tls_cert": ours.cert, "tls_key": ours.key}
    send(client, "POST", TARGETS, {**TCP, **tls}, alice)
    at = f"{TARGETS}/engine"
    moved = {"address": "tcp://198.51.100.2:2376"}
    assert fields_of(send(client, "PATCH", at, moved, alice)) == ["tls_key"]
    assert ComputeTarget.objects.get().address == TCP["address"]
    assert send(client, "PATCH", at, {**moved, "tls_key": ours.key}, alice).status_code == 200
    answer = send(client, "PATCH", at, {"without_tls": True}, alice).json()
    assert (answer["has_tls_key"], answer["tls_ca"], answer["tls_cert"]) == (False, "", "")
    assert send(client, "PATCH", at, {"max_gpus": 2}, alice).json()["max_gpus"] == 2
    assert send(client, "PATCH", at, {"max_gpus": None}, alice).json()["max_gpus"] is None
    told = str(list(AuditEntry.objects.values_list("data", flat=True)))
    assert "BEGIN" not in told


@pytest.mark.usefixtures("no_engine_is_asked", "root")
def test_a_team_has_a_limited_number_of_targets(client: Client, alice: User, team: Team) -> None:
    for number in range(MAX_TARGETS - ComputeTarget.objects.filter(team=team).count()):
        make_target(team, f"engine-{number}", kind="docker")
    refused = send(client, "POST", TARGETS, UNIX, alice)
    assert (refused.status_code, "Delete one" in refused.text) == (409, True)
    ComputeTarget.objects.filter(name="engine-0").update(deleted_at=timezone.now())
    assert send(client, "POST", TARGETS, UNIX, alice).status_code == 201


@pytest.mark.usefixtures("no_engine_is_asked", "root")
def test_another_registry_or_engine_asks_for_the_password_again(
    client: Client, alice: User
) -> None:
    login = {"registry": "a:5000", "registry_user": "ci", "registry_password": "p"}
    made = send(client, "POST", TARGETS, {**UNIX, **login}, alice).json()
    assert made["has_registry_password"] is True
    at = f"{TARGETS}/engine"
    assert fields_of(send(client, "PATCH", at, {"registry": "b:5000"}, alice)) == [
        "registry_password"
    ]
    moved = {"address": "unix:///run/other.sock"}
    assert fields_of(send(client, "PATCH", at, moved, alice)) == ["registry_password"]
    assert send(client, "PATCH", at, {**moved, "registry_password": "p"}, alice).status_code == 200
    gone = send(client, "PATCH", at, {"registry": ""}, alice).json()
    assert (gone["registry_user"], gone["has_registry_password"]) == ("", False)


@pytest.mark.usefixtures("no_engine_is_asked", "root")
def test_what_runs_on_a_target_keeps_its_address(client: Client, alice: User, team: Team) -> None:
    send(client, "POST", TARGETS, UNIX, alice)
    make_run(team, alice, target=ComputeTarget.objects.get())
    answer = send(client, "PATCH", f"{TARGETS}/engine", {"address": "/elsewhere"}, alice)
    assert answer.status_code == 409
    assert fields_of(answer) == ["address"]


@pytest.mark.usefixtures("root")
def test_two_targets_of_one_engine_say_so(
    client: Client, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DockerBackend, "machines_id", lambda self: "engine-1")
    send(client, "POST", TARGETS, UNIX, alice)
    second = send(client, "POST", TARGETS, {**UNIX, "name": "second"}, alice).json()
    assert (second["pool"], second["shares_machines_with"]) == ("engine-1", ["engine"])


@pytest.mark.usefixtures("root")
def test_this_machines_engine_and_the_machine_itself_are_one(
    client: Client, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DockerBackend, "machines_id", lambda self: "local")
    send(client, "POST", TARGETS, {"name": "bare"}, alice)
    engine = send(client, "POST", TARGETS, UNIX, alice).json()
    assert engine["shares_machines_with"] == ["bare"]


def test_an_image_is_no_environment_of_the_same_machine_without_containers(team: Team) -> None:
    bare = make_target(team, "bare", pool="local")
    engine = make_target(team, "engine", kind="docker", address="unix:///x", pool="local")
    spec = EnvironmentSpec.from_json(make_environment().spec)
    assert get_or_create(bare, spec, team) != get_or_create(engine, spec, team)


def test_a_granted_target_hides_how_it_is_reached(
    client: Client, alice: User, charlie: User, team: Team
) -> None:
    others = make_team("others", admin=charlie)
    shared = make_target(
        team, "shared", kind="docker", address="unix:///x", pool="p", registry="r:5000"
    )
    grant = f"{TARGETS}/shared/grants/others"
    theirs = "/api/v1/teams/others/targets"
    assert client.get(theirs, headers=bearer(charlie)).json() == []
    shared.grants.create(team=others)
    (shown,) = client.get(theirs, headers=bearer(charlie)).json()
    assert (shown["name"], shown["owner"]) == ("shared", "default")
    assert (shown["address"], shown["registry"]) == ("", "")
    for method in ("PATCH", "DELETE"):
        assert send(client, method, f"{theirs}/shared", {}, charlie).status_code == 403
    assert list(targets_for(others)) == list(ComputeTarget.objects.all())
    assert send(client, "DELETE", grant, None, alice).status_code == 204
    assert client.get(theirs, headers=bearer(charlie)).json() == []


def test_a_grant_is_refused_where_it_would_mislead(
    client: Client, alice: User, charlie: User, team: Team
) -> None:
    others = make_team("others", admin=charlie)
    shared = make_target(team, "shared", kind="docker", address="unix:///x")
    at = f"{TARGETS}/shared/grants"
    for to in ("Not-A-Slug", "x" * 33):
        assert fields_of(send(client, "PUT", f"{at}/{to}", {}, alice)) == ["team"]
    assert fields_of(send(client, "PUT", f"{at}/others", {"min_role": "viewer"}, alice)) == [
        "min_role"
    ]
    assert fields_of(send(client, "PUT", f"{at}/others", {"max_gpus": -1}, alice)) == ["max_gpus"]
    shared.grants.create(team=others)
    namesake = {**TCP, "name": "shared", "without_tls": True}
    taken = send(client, "POST", "/api/v1/teams/others/targets", namesake, charlie)
    assert taken.status_code == 409
    make_run(others, charlie, target=shared)
    in_use = send(client, "DELETE", f"{at}/others", None, alice)
    assert in_use.status_code == 409
    assert "0 runs" in in_use.json()["detail"]


@pytest.fixture
def try_now(
    client: Client,
    alice: User,
    broker: Redis,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> Callable[[str], Any]:
    """Request a connection test of a target, and work it off as a worker would."""

    def tried(name: str) -> Any:
        at = f"{TARGETS}/{name}/test"
        with django_capture_on_commit_callbacks(execute=True):
            asked = send(client, "POST", at, None, alice)
        assert asked.status_code == 202, asked.text
        connection = django_rq.get_connection()
        SimpleWorker([django_rq.get_queue()], connection=connection).work(burst=True)
        return client.get(at, headers=bearer(alice)).json()

    return tried


@pytest.mark.slow
def test_a_trial_is_made_by_a_worker_and_told_step_by_step(
    client: Client, alice: User, team: Team, try_now: Callable[[str], Any]
) -> None:
    with http_server(a_web_page) as port:
        make_target(team, "wrong", kind="docker", address=f"tcp://127.0.0.1:{port}")
        untried = client.get(f"{TARGETS}/wrong/test", headers=bearer(alice))
        assert untried.status_code == 404
        told = try_now("wrong")
    assert (told["is_over"], told["works"]) == (True, False)
    outcomes = {step["name"]: step["outcome"] for step in told["steps"]}
    assert outcomes["Connection opens"] == "ok"
    assert outcomes["Docker Engine version"] == "failed"
    assert outcomes["Registry accepts images"] == "skipped"
    assert AuditEntry.objects.filter(action="target.test", subject="wrong").exists()


@pytest.mark.slow
def test_this_machine_can_be_tried_too(team: Team, try_now: Callable[[str], Any]) -> None:
    make_target(team)
    told = try_now("local")
    assert told["is_over"]
    assert "CPUs" in told["steps"][0]["said"]


@pytest.mark.slow
def test_secrets_of_another_secret_key_end_a_trial_with_the_reason(
    team: Team, try_now: Callable[[str], Any]
) -> None:
    make_target(
        team, "old", kind="docker", address="tcp://192.0.2.1:2376", encrypted_tls_key="of another"
    )
    told = try_now("old")
    assert told["is_over"]
    assert "SECRET_KEY has changed" in told["steps"][-1]["said"]


def test_only_admins_try_a_target(client: Client, bob: User, team: Team, broker: Redis) -> None:
    make_target(team)
    assert send(client, "POST", f"{TARGETS}/local/test", None, bob).status_code == 403
