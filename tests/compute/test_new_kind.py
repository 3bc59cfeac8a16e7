"""A kind of target that one line registers is offered, added, shown and used like all others."""

import json
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.compute.bare_backend import BARE, BareBackend
from workspace.compute.environment_spec import EnvironmentSpec
from workspace.compute.registry import KINDS
from workspace.environments.services import get_or_create
from workspace.models import ComputeTarget, Team
from workspace.targets.backends import backend_for, backend_of
from workspace.targets.states import nodes_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "bare", BARE)


def test_it_is_offered_added_and_shown(client: Client, root: User, team: Team) -> None:
    client.force_login(root)
    offered = client.get(f"/t/{team.slug}/new-target/?kind=bare").content.decode()
    assert "Bare processes" in offered
    assert 'name="max_processes"' in offered
    assert 'name="address"' not in offered
    body = json.dumps({"name": "metal", "kind": "bare"})
    made = client.post(f"/api/v1/teams/{team.slug}/targets", body, "application/json")
    assert made.status_code == 201, made.content
    assert made.json()["kind"] == "bare"
    assert [node["name"] for node in made.json()["nodes"]]
    assert "Bare processes" in client.get(f"/t/{team.slug}/targets/").content.decode()


def test_a_setting_that_it_does_not_take_is_refused(client: Client, root: User, team: Team) -> None:
    client.force_login(root)
    body = json.dumps({"name": "metal", "kind": "bare", "address": "/var/run/docker.sock"})
    refused = client.post(f"/api/v1/teams/{team.slug}/targets", body, "application/json")
    assert refused.status_code == 400
    assert [error["field"] for error in refused.json()["errors"]] == ["address"]


def test_its_backend_serves_its_targets_and_environments(team: Team, home: Path) -> None:
    target = ComputeTarget.objects.create(team=team, name="metal", kind="bare")
    backend = backend_for(target)
    assert isinstance(backend, BareBackend)
    assert nodes_of(target) == tuple(backend.check())
    environment = get_or_create(target, EnvironmentSpec.of("2.21"), team)
    assert backend_of(environment) is backend
