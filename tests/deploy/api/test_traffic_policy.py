"""Shares, shadows, rollbacks and terms of services over REST."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from deploy.models import Revision, Service
from models.models import ModelVersion
from tests.deploy.api.test_services import make, send
from tests.deploy.conftest import RegisterModel
from workspace.models import AuditEntry, ComputeTarget

pytestmark = pytest.mark.django_db


@pytest.fixture
def version(register: RegisterModel, target: ComputeTarget) -> ModelVersion:
    return register()


@pytest.fixture
def change(client: Client, bob: User, version: ModelVersion, register: RegisterModel) -> Any:
    """Return how to change a service whose revision 1 serves; digits:2 is there to change to."""
    make(client, bob)
    register()
    Revision.objects.update(verified_at=timezone.now())

    def patch(**changes: Any) -> Any:
        return send(client, "PATCH", "/digits", bob, changes)

    return patch


def weights(answer: Any) -> dict[int, int | None]:
    return {entry["number"]: entry["weight"] for entry in answer.json()["revisions"]}


def test_a_new_revision_may_take_a_percentage_and_later_all(change: Any) -> None:
    assert weights(change(model="digits:2", weight=10)) == {1: 90, 2: 10}
    assert weights(change(traffic={"1": 50, "2": 50})) == {1: 50, 2: 50}
    assert weights(change(traffic={"2": 100})) == {1: None, 2: None}
    assert weights(change(traffic={"1": 100})) == {1: 100, 2: 0}
    assert weights(change(traffic=None)) == {1: None, 2: None}


def test_a_new_revision_may_be_a_shadow_and_later_serve(change: Any) -> None:
    made = change(model="digits:2", shadow=True).json()
    assert [entry["is_shadow"] for entry in made["revisions"]] == [True, False]
    assert made["model"] == "digits:1"
    served = change(traffic={"2": 100}).json()
    assert [entry["is_shadow"] for entry in served["revisions"]] == [False, False]
    assert served["model"] == "digits:2"
    Revision.objects.update(verified_at=timezone.now())
    shadowed = change(shadow=1).json()
    assert [entry["is_shadow"] for entry in shadowed["revisions"]] == [False, True]
    ended = change(shadow=None).json()
    assert not any(entry["is_shadow"] for entry in ended["revisions"])


def test_a_shadow_that_ends_does_not_take_over(change: Any) -> None:
    change(model="digits:2", shadow=True)
    answer = change(shadow=None)
    assert weights(answer) == {1: 100, 2: 0}
    assert answer.json()["model"] == "digits:1"


def test_a_shadow_that_makes_room_for_another_does_not_take_over(change: Any) -> None:
    change(model="digits:2", shadow=True)
    Revision.objects.update(verified_at=timezone.now())
    answer = change(model="digits:2", shadow=True)
    assert [entry["is_shadow"] for entry in answer.json()["revisions"]] == [True, False, False]
    assert weights(answer) == {1: 100, 2: 0, 3: None}
    assert answer.json()["model"] == "digits:1"


def test_a_shadow_that_ends_leaves_shares_as_they_are(change: Any) -> None:
    change(model="digits:2", weight=50)
    Revision.objects.update(verified_at=timezone.now())
    change(model="digits:2", shadow=True)
    Revision.objects.update(verified_at=timezone.now())
    assert weights(change(shadow=None)) == {1: 50, 2: 50, 3: 0}


def test_a_shadow_that_ends_after_a_failed_rollout_leaves_the_one_that_serves(change: Any) -> None:
    change(model="digits:2")
    Revision.objects.filter(number=2).update(failure="It broke.")
    change(model="digits:2", shadow=True)
    answer = change(shadow=None)
    assert weights(answer) == {1: 100, 2: 0, 3: 0}
    assert answer.json()["model"] == "digits:1"


def test_the_one_that_answers_while_another_has_failed_cannot_be_a_shadow(change: Any) -> None:
    change(model="digits:2")
    Revision.objects.filter(number=2).update(failure="It broke.")
    answer = change(shadow=1)
    assert answer.status_code == 400
    assert "Revision 1 receives traffic" in answer.content.decode()


def test_a_rollback_deploys_the_earlier_configuration_anew(
    client: Client, bob: User, change: Any
) -> None:
    change(model="digits:2")
    Revision.objects.update(verified_at=timezone.now())
    answer = send(client, "POST", "/digits/rollback", bob)
    assert answer.status_code == 202, answer.content
    assert [entry["model"] for entry in answer.json()["revisions"]] == [
        "digits:1",
        "digits:2",
        "digits:1",
    ]
    entry = AuditEntry.objects.get(action="service.roll_back")
    assert (entry.actor, entry.data["since"], entry.data["back_to"]) == (bob, 2, 1)
    again = send(client, "POST", "/digits/rollback", bob, {"revision": 2})
    assert again.json()["revisions"][0]["model"] == "digits:2"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (None, "No earlier revision of this service has ever served"),
        ({"revision": 1}, "Revision 1 is already the current one"),
        ({"revision": 9}, "There is no revision 9; the newest is 1"),
        ({"revision": "x"}, "Use a whole number"),
        ({"version": 1}, "did you mean revision?"),
    ],
)
def test_a_rollback_to_nothing_is_refused_with_the_reason(
    client: Client, bob: User, change: Any, body: Any, words: str
) -> None:
    answer = send(client, "POST", "/digits/rollback", bob, body)
    assert answer.status_code == 400
    assert words in answer.json()["detail"]


def test_terms_are_kept_with_their_usual_values_and_emptied_by_null(change: Any) -> None:
    smoke_test = {"instances": [[1.0, 2.0]]}
    shown = change(
        autoscale={"max_replicas": 4, "idle_seconds": 600},
        rollback={"error_rate": 0.05},
        sticky_by="X-User",
        smoke_test_request=smoke_test,
    ).json()
    assert shown["autoscale"] == {
        "min_replicas": 1,
        "max_replicas": 4,
        "target_utilization": 70,
        "requests_per_replica": 1,
        "cool_down_seconds": 300,
        "idle_seconds": 600,
    }
    assert shown["rollback"] == {"error_rate": 0.05, "p95_ms": None, "min_requests": 20}
    assert (shown["sticky_by"], shown["smoke_test_request"]) == ("x-user", smoke_test)
    assert AuditEntry.objects.filter(action="service.set_options").exists()
    empty = change(autoscale=None, rollback=None, sticky_by="", smoke_test_request=None).json()
    assert [
        empty[name] for name in ("autoscale", "rollback", "sticky_by", "smoke_test_request")
    ] == [
        {},
        {},
        "",
        None,
    ]


def test_azures_names_for_autoscaling_are_known(change: Any) -> None:
    shown = change(autoscale_enabled=True, autoscale_max_replicas=3).json()
    assert shown["autoscale"]["max_replicas"] == 3
    assert change(autoscale_enabled=False).json()["autoscale"] == {}


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"traffic": {"1": 90}}, "traffic", "should sum to 100; they sum to 90"),
        ({"traffic": {"1": 50, "7": 50}}, "traffic.7", "There is no revision 7"),
        ({"traffic": {"1": 120, "2": -20}}, "traffic.1", "at most 100"),
        ({"traffic": {"one": 100}}, "traffic.one", "Name revisions by their numbers"),
        ({"traffic": [100]}, "traffic", "Use a JSON object"),
        ({"traffic": {"1": 100}, "model": "digits:2"}, "traffic", "Use weight"),
        ({"weight": 10}, "weight", "set model or resources too"),
        ({"shadow": True}, "shadow", "set model or resources too"),
        ({"model": "digits:2", "shadow": True, "weight": 3}, "weight", "so it has no weight"),
        ({"shadow": 1}, "shadow", "cannot be a shadow as well"),
        ({"shadow": 4}, "shadow", "There is no revision 4"),
        ({"autoscale": {"min_replicas": 0}}, "autoscale.min_replicas", "at least 1"),
        (
            {"autoscale": {"min_replicas": 4, "max_replicas": 2}},
            "autoscale.max_replicas",
            "at least min_replicas, which is 4",
        ),
        ({"autoscale": {"idle_seconds": 1}}, "autoscale.idle_seconds", "at least 30"),
        ({"autoscale": {"max_replica": 3}}, "autoscale.max_replica", "did you mean max_replicas?"),
        ({"autoscale_max_replicas": 99}, "autoscale.max_replicas", "at most 32"),
        ({"rollback": {"min_requests": 5}}, "rollback.error_rate", "or both"),
        ({"rollback": {"error_rate": 5}}, "rollback.error_rate", "at most 1; it is 5"),
        ({"sticky_by": "no header"}, "sticky_by", "the name of a header"),
        ({"smoke_test_request": {"rows": 1}}, "smoke_test_request", "with instances or inputs"),
        ({"smoke_test_request": "x"}, "smoke_test_request", "Use a JSON object"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field_and_changes_nothing(
    change: Any, changes: dict[str, Any], field: str, words: str
) -> None:
    before = list(Service.objects.values()), list(Revision.objects.values())
    answer = change(**changes)
    assert answer.status_code == 400
    errors = {error["field"]: error["message"] for error in answer.json()["errors"]}
    assert words in errors[field]
    assert (list(Service.objects.values()), list(Revision.objects.values())) == before


def test_replicas_are_not_set_by_hand_while_they_follow_the_requests(change: Any) -> None:
    change(autoscale={})
    assert change(replicas=3).status_code == 200
    change(autoscale={"max_replicas": 5})
    answer = change(replicas=2)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "replicas"


def test_a_percentage_needs_a_revision_that_serves(change: Any) -> None:
    Revision.objects.update(verified_at=None)
    answer = change(model="digits:2", weight=10)
    assert answer.status_code == 400
    assert "leave out the weight" in answer.json()["detail"]


def test_only_members_steer(client: Client, vera: User, charlie: User, change: Any) -> None:
    for by, status in ((vera, 403), (charlie, 404)):
        assert send(client, "POST", "/digits/rollback", by).status_code == status
        traffic = {"traffic": {"1": 100}}
        assert send(client, "PATCH", "/digits", by, traffic).status_code == status
