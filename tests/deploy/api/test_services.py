"""Services over REST."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from deploy.models import Service, ServiceState
from deploy.services import deploy
from models.models import ModelVersion
from tests.deploy.conftest import RegisterModel
from tests.factories import bearer, make_target, make_team
from workspace.models import AuditEntry, ComputeTarget, Scope, Team

SERVICES = "/api/v1/teams/default/services"

pytestmark = pytest.mark.django_db


@pytest.fixture
def version(register: RegisterModel, target: ComputeTarget) -> ModelVersion:
    return register()


def send(
    client: Client, method: str, path: str, by: User, data: object = None, **options: Any
) -> Any:
    return client.generic(
        method,
        SERVICES + path,
        "" if data is None else json.dumps(data),
        content_type="application/json",
        headers=bearer(by, **options),
    )


def make(client: Client, by: User, **changes: Any) -> Any:
    return send(client, "POST", "", by, {"name": "digits", "model": "digits:1"} | changes)


def test_a_deployment_gives_addresses_and_keys_once(
    client: Client, bob: User, version: ModelVersion
) -> None:
    answer = make(client, bob, resources={"cpu": 0.5, "memory_gb": 1}, replicas=2)
    assert answer.status_code == 201, answer.content
    made = answer.json()
    assert made["state"] == "Transitioning"
    assert made["scoring_uri"].endswith("/api/v1/teams/default/services/digits/score")
    assert made["serving_uri"].endswith("/serve/default/digits")
    assert made["model"] == "digits:1"
    assert made["revisions"][0]["resources"] == {"cpu": 0.5, "memory_gb": 1.0, "gpu": None}
    assert made["revisions"][0]["replicas"] == 2
    assert set(made["secrets"]) == {"primary", "secondary"}
    assert made["secrets"]["primary"].startswith(made["keys"][0]["prefix"])
    shown = send(client, "GET", "/digits", bob)
    assert "secrets" not in shown.json()
    assert made["secrets"]["primary"] not in shown.content.decode()
    listed = send(client, "GET", "", bob).json()
    assert [service["name"] for service in listed] == ["digits"]
    assert AuditEntry.objects.filter(action="service.deploy", subject="digits").exists()


def test_resources_come_from_the_registration_when_none_are_given(
    client: Client, bob: User, version: ModelVersion
) -> None:
    version.resource_configuration = {"cpu": 1.5, "memory_in_gb": 3}
    version.save()
    made = make(client, bob).json()
    assert made["revisions"][0]["resources"] == {"cpu": 1.5, "memory_gb": 3.0, "gpu": None}


def test_every_wrong_field_is_named_at_once(
    client: Client, bob: User, version: ModelVersion
) -> None:
    answer = make(
        client,
        bob,
        name="No",
        model="a/b",
        resources={"cpu": 0, "gpu": "all", "ram": 1},
        replicas=0,
        replica=1,
    )
    assert answer.status_code == 400
    assert {error["field"] for error in answer.json()["errors"]} == {
        "name",
        "model",
        "resources.cpu",
        "resources.gpu",
        "resources.ram",
        "replicas",
        "replica",
    }


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"model": "nothing:1"}, "model", "no model 'nothing'"),
        ({"model": "digits:7"}, "model", "no version 7; its newest is 1"),
        ({"target": "moon"}, "target", "no compute target 'moon'"),
        ({"resources": {"cpu": 4000}}, "resources", "1 replica needs 4000 CPUs; target local has "),
        ({"resources": {"gpu": 60}}, "resources", "60 GPUs; target local has "),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(
    client: Client, bob: User, version: ModelVersion, change: Any, field: str, words: str
) -> None:
    answer = make(client, bob, **change)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == field
    assert words in answer.json()["errors"][0]["message"]
    assert not Service.objects.exists()


def test_a_teams_services_come_page_by_page(
    client: Client, bob: User, version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.api.services.SERVICES_ON_A_PAGE", 2)
    for name in ("one", "three", "two"):
        make(client, bob, name=name)

    def names(after: str) -> list[str]:
        answer = client.get(SERVICES, {"after": after}, headers=bearer(bob))
        return [service["name"] for service in answer.json()]

    assert names("") == ["one", "three"]
    assert names("three") == ["two"]


def test_a_name_is_taken_until_its_service_is_deleted(
    client: Client, bob: User, version: ModelVersion
) -> None:
    make(client, bob)
    again = make(client, bob)
    assert again.status_code == 409
    assert again.json()["errors"][0]["field"] == "name"
    assert send(client, "DELETE", "/digits", bob).status_code == 204
    assert send(client, "GET", "/digits", bob).status_code == 404
    assert make(client, bob).status_code == 201


def test_a_change_of_model_makes_a_revision_and_one_of_replicas_does_not(
    client: Client, bob: User, version: ModelVersion, register: RegisterModel
) -> None:
    make(client, bob)
    register()
    changed = send(client, "PATCH", "/digits", bob, {"model": "digits"}).json()
    assert [entry["model"] for entry in changed["revisions"]] == ["digits:2", "digits:1"]
    scaled = send(client, "PATCH", "/digits", bob, {"replicas": 3}).json()
    assert [(entry["number"], entry["replicas"]) for entry in scaled["revisions"]] == [
        (2, 3),
        (1, 1),
    ]
    assert send(client, "PATCH", "/digits", bob, {"name": "x"}).status_code == 400


def test_a_regenerated_key_is_given_once_and_the_other_stays(
    client: Client, bob: User, version: ModelVersion
) -> None:
    made = make(client, bob).json()
    answer = send(client, "POST", "/digits/keys", bob, {"slot": "Secondary"})
    assert answer.json()["slot"] == "secondary"
    assert answer.json()["key"] not in made["secrets"].values()
    prefixes = {
        key["slot"]: key["prefix"] for key in send(client, "GET", "/digits", bob).json()["keys"]
    }
    assert made["secrets"]["primary"].startswith(prefixes["primary"])
    assert answer.json()["key"].startswith(prefixes["secondary"])
    assert send(client, "POST", "/digits/keys", bob, {"slot": "third"}).status_code == 400


def test_stop_and_start_say_what_is_wanted(
    client: Client, bob: User, version: ModelVersion
) -> None:
    make(client, bob)
    assert send(client, "POST", "/digits/stop", bob).status_code == 202
    assert not Service.objects.get().is_wanted
    started = send(client, "POST", "/digits/start", bob)
    assert started.json()["state"] == ServiceState.TRANSITIONING


@pytest.mark.parametrize(
    ("method", "path", "data"),
    [
        ("POST", "", {"name": "other", "model": "digits:1"}),
        ("PATCH", "/digits", {"replicas": 2}),
        ("DELETE", "/digits", None),
        ("POST", "/digits/stop", None),
        ("POST", "/digits/start", None),
        ("POST", "/digits/keys", {"slot": "primary"}),
        ("GET", "/digits", None),
        ("GET", "", None),
    ],
)
def test_viewers_only_read_and_strangers_find_nothing(
    client: Client,
    bob: User,
    vera: User,
    charlie: User,
    version: ModelVersion,
    method: str,
    path: str,
    data: object,
) -> None:
    make(client, bob)
    before = list(Service.objects.values())
    assert send(client, method, path, charlie, data).status_code == 404
    viewer = send(client, method, path, vera, data).status_code
    assert viewer == (200 if method == "GET" else 403)
    if method != "GET":
        assert send(client, method, path, bob, data, scope=Scope.READ).status_code == 403
    assert list(Service.objects.values()) == before


def test_a_model_or_target_of_another_team_cannot_be_named(
    client: Client, bob: User, version: ModelVersion, team: Team
) -> None:
    theirs = make_team("theirs", member=bob)
    make_target(theirs)
    answer = client.post(
        "/api/v1/teams/theirs/services",
        json.dumps({"name": "digits", "model": "digits:1"}),
        content_type="application/json",
        headers=bearer(bob),
    )
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "model"


@pytest.mark.parametrize("body", ["", "{", "[]", "3", '"x"', "[" * 100_000])
def test_a_body_that_is_no_object_is_refused(
    client: Client, bob: User, version: ModelVersion, body: str
) -> None:
    answer = client.generic(
        "POST", SERVICES, body, content_type="application/json", headers=bearer(bob)
    )
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "body"


def test_a_shared_local_target_needs_an_admins_leave(
    client: Client, bob: User, version: ModelVersion, target: ComputeTarget
) -> None:
    ComputeTarget.objects.filter(pk=target.pk).update(allow_shared=False)
    make_team(admin=User.objects.create_user("dora"))
    answer = make(client, bob)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "target"


def test_two_services_of_one_name_made_at_once_are_one(
    bob: User, version: ModelVersion, target: ComputeTarget, team: Team
) -> None:
    from workspace.platform.errors import Conflict

    deploy(team=team, by=bob, name="digits", version=version, target=target)
    with pytest.raises(Conflict):
        deploy(team=team, by=bob, name="digits", version=version, target=target)
