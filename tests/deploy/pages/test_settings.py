"""What people set and steer on a service's pages."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from deploy.models import Replica, ReplicaState, Revision, Service
from deploy.services import deploy
from models.models import ModelVersion
from tests.deploy.conftest import RegisterModel
from workspace.models import ComputeTarget, Team

PAGE = "/t/default/services/digits/"


@pytest.fixture
def service(
    client: Client, team: Team, bob: User, register: RegisterModel, target: ComputeTarget
) -> Service:
    client.force_login(bob)
    return deploy(team=team, by=bob, name="digits", version=register(), target=target).service


@pytest.fixture
def second(service: Service, register: RegisterModel) -> Revision:
    """Return a second revision; both have a replica that is ready."""
    version = register()
    made = Revision.objects.create(
        service=service, number=2, model_version=version, resources={"cpu": 1.0}
    )
    Revision.objects.update(verified_at=timezone.now())
    for number, revision in enumerate(service.revisions.order_by("number")):
        Replica.objects.create(revision=revision, number=number, state=ReplicaState.READY)
    return made


def send(client: Client, part: str, **fields: Any) -> Any:
    return client.post(f"{PAGE}settings/{part}/", fields)


def said(client: Client, address: str, **fields: Any) -> str:
    """Return the text of the page that follows a form."""
    return client.post(f"{PAGE}{address}", fields, follow=True).content.decode()


def test_a_service_is_opened_with_a_warning(client: Client, service: Service) -> None:
    assert send(client, "access", access_policy="open").status_code == 302
    service.refresh_from_db()
    assert service.access_policy == "open"
    page = client.get(PAGE).content.decode()
    assert "Open to everyone" in page
    assert "YOUR_KEY" not in page
    assert send(client, "access", access_policy="ajar").status_code == 422


def test_a_service_is_scaled_and_no_longer(client: Client, service: Service) -> None:
    fields = {
        "enabled": "on",
        "min_replicas": 1,
        "max_replicas": 4,
        "target_utilization": 50,
        "requests_per_replica": 8,
        "cool_down_seconds": 60,
        "idle_seconds": 600,
    }
    assert send(client, "autoscale", **fields).status_code == 302
    service.refresh_from_db()
    assert service.autoscale["max_replicas"] == 4
    assert service.autoscale["idle_seconds"] == 600
    page = client.get(f"{PAGE}settings/")
    assert page.context["form"].fields["replicas"].disabled
    refused = send(client, "autoscale", **{**fields, "max_replicas": 0})
    assert refused.status_code == 422
    (part,) = [one for one in refused.context["parts"] if one.name == "autoscale"]
    assert "max_replicas" in part.errors
    fields.pop("enabled")
    send(client, "autoscale", **fields)
    service.refresh_from_db()
    assert service.autoscale == {}


def test_rollback_session_affinity_and_smoke_test_are_set(client: Client, service: Service) -> None:
    send(client, "rollback", error_rate="2.5", p95_ms="300", min_requests="50")
    send(client, "session-affinity", kind="header", sticky_by="X-User-Id")
    send(client, "smoke-test", smoke_test_request='{"instances": [[1, 2, 3, 4]]}')
    service.refresh_from_db()
    assert service.rollback == {"error_rate": 0.025, "p95_ms": 300.0, "min_requests": 50}
    assert service.sticky_by == "x-user-id"
    assert service.smoke_test_request == {"instances": [[1, 2, 3, 4]]}
    page = client.get(f"{PAGE}settings/").content.decode()
    assert 'value="2.5"' in page
    assert 'value="x-user-id"' in page
    send(client, "rollback", error_rate="", p95_ms="", min_requests="20")
    send(client, "session-affinity", kind="")
    send(client, "smoke-test", smoke_test_request="")
    service.refresh_from_db()
    assert (service.rollback, service.sticky_by, service.smoke_test_request) == ({}, "", None)


@pytest.mark.parametrize(
    ("part", "fields", "words"),
    [
        ("smoke-test", {"smoke_test_request": "{"}, "Not valid JSON"),
        ("smoke-test", {"smoke_test_request": '{"rows": 1}'}, "with instances or inputs"),
        ("session-affinity", {"kind": "header", "sticky_by": ""}, "Enter the name of the header"),
        ("session-affinity", {"kind": "header", "sticky_by": "no header"}, "Use "),
        ("rollback", {"error_rate": "120", "min_requests": "1"}, "less than or equal to 100"),
        ("request-log", {"sample": "-1"}, "greater than or equal to 0"),
        ("request-log", {"sample": "10", "redact": "other"}, "not one of the available choices"),
    ],
)
def test_mistakes_stand_beside_their_fields(
    client: Client, service: Service, part: str, fields: dict[str, str], words: str
) -> None:
    answer = send(client, part, **fields)
    assert answer.status_code == 422
    assert words in answer.content.decode()


def test_requests_are_kept_without_the_inputs_that_are_named(
    client: Client, service: Service
) -> None:
    assert send(client, "request-log", sample="10", redact=["x"]).status_code == 302
    service.refresh_from_db()
    assert service.request_log == {"sample": 0.1, "redact": ["x"]}
    assert "10 % of requests are logged" in client.get(f"{PAGE}requests/").content.decode()
    send(client, "request-log", sample="0")
    service.refresh_from_db()
    assert service.request_log == {}


def test_a_key_is_limited_and_its_use_is_shown(client: Client, service: Service) -> None:
    service.keys.filter(slot="primary").update(use_count=1234, last_used_at=timezone.now())
    page = said(client, "keys/primary/limit/", calls_per_minute="60")
    assert "60 calls per minute" in page
    assert "used 1234 times" in page
    assert service.keys.get(slot="primary").calls_per_minute == 60
    assert "Calls per minute should be at least 1" in said(
        client, "keys/primary/limit/", calls_per_minute="0"
    )
    said(client, "keys/primary/limit/", calls_per_minute="")
    assert service.keys.get(slot="primary").calls_per_minute is None


def test_a_new_revision_may_take_a_share_or_be_a_shadow(
    client: Client, service: Service, second: Revision, register: RegisterModel
) -> None:
    third = register()
    fields = {"model": str(third), "replicas": 1, "rollout": "weight"}
    answer = client.post(f"{PAGE}settings/", fields)
    assert "Enter the traffic percentage" in str(answer.context["form"].errors["weight"])
    assert client.post(f"{PAGE}settings/", fields | {"weight": 20}).status_code == 302
    weights = dict(service.revisions.values_list("number", "weight"))
    assert (weights[2], weights[3]) == (80, 20)
    client.post(f"{PAGE}settings/", fields | {"rollout": "shadow", "cpu": "2"})
    assert service.revisions.get(number=4).is_shadow


def test_revisions_are_listed_with_share_failure_and_notice(
    client: Client, service: Service, second: Revision, register: RegisterModel
) -> None:
    Revision.objects.create(
        service=service,
        number=3,
        model_version=register(),
        failure="server-2 ended with exit code 9\n<b>the last lines",
        notice="It runs on an image of our own.",
    )
    page = client.get(f"{PAGE}history/").content.decode()
    assert "100 %" in page
    assert "server-2 ended with exit code 9" in page
    assert "&lt;b&gt;the last lines" in page
    assert "It runs on an image of our own." in page
    assert "It runs on an image of our own." in client.get(f"{PAGE}head/").content.decode()


def test_requests_are_shared_and_go_back_to_the_newest(
    client: Client, service: Service, second: Revision
) -> None:
    assert "Saved the traffic split." in said(
        client, "history/share/", **{"share-1": "90", "share-2": "10"}
    )
    assert dict(service.revisions.values_list("number", "weight")) == {1: 90, 2: 10}
    assert "90 %" in client.get(f"{PAGE}history/").content.decode()
    assert "should sum to 100; they sum to 110" in said(
        client, "history/share/", **{"share-1": "90", "share-2": "20"}
    )
    said(client, "history/share/")
    assert set(service.revisions.values_list("weight", flat=True)) == {None}


def test_a_shadow_is_switched_on_and_off(
    client: Client, service: Service, second: Revision
) -> None:
    assert "Revision 1 is the shadow." in said(client, "history/shadow/", shadow="1")
    assert service.revisions.get(number=1).is_shadow
    assert "cannot be a shadow" in said(client, "history/shadow/", shadow="2")
    said(client, "history/shadow/", shadow="")
    assert not service.revisions.filter(is_shadow=True).exists()


def test_one_click_goes_back(client: Client, service: Service, second: Revision) -> None:
    assert "rolls back to digits:1" in said(client, "history/rollback/", revision="1")
    assert str(Revision.objects.latest("number").model_version) == "digits:1"
    assert "There is no revision 77" in said(client, "history/rollback/", revision="77")


def test_many_revisions_have_pages(client: Client, service: Service, second: Revision) -> None:
    version: ModelVersion = second.model_version
    Revision.objects.bulk_create(
        Revision(service=service, number=number, model_version=version) for number in range(3, 45)
    )
    first = client.get(f"{PAGE}history/")
    assert [one.number for one, _ in first.context["revisions"]] == list(range(44, 24, -1))
    following = client.get(f"{PAGE}history/{first.context['older']}")
    assert following.context["revisions"][0][0].number == 24
    assert "Newer" in following.content.decode()


CHANGES = (
    "settings/access/",
    "settings/autoscale/",
    "keys/primary/limit/",
    "history/rollback/",
    "history/share/",
    "history/shadow/",
    "requests/clear/",
)


def test_only_members_steer(client: Client, service: Service, vera: User, charlie: User) -> None:
    for user, refusal in ((vera, 403), (charlie, 404)):
        client.force_login(user)
        assert {client.post(PAGE + change).status_code for change in CHANGES} == {refusal}
        assert client.get(f"{PAGE}requests/").status_code == refusal


def test_a_part_that_is_not_there_is_not_found(client: Client, service: Service) -> None:
    assert send(client, "colour").status_code == 404
