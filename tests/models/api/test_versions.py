"""Finding, changing, comparing and deleting versions over REST."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from models.models import ModelVersion
from models.selectors import manifests_in_use
from runs.metrics import store
from runs.metrics.points import Point
from runs.models import MetricSeries
from tests.factories import bearer, make_run
from tests.models.api.test_registration import register
from tests.models.registry import add_revision, make_service, make_version
from tests.models.saved_models import model_files, put_outputs
from workspace.models import AuditEntry, Scope, Team

pytestmark = pytest.mark.slow

MODELS = "/api/v1/teams/default/models"


def call(client: Client, method: str, path: str, by: User, data: object = None) -> Any:
    send = getattr(client, method)
    content = {} if data is None else {"data": json.dumps(data)}
    return send(MODELS + path, content_type="application/json", headers=bearer(by), **content)


def show(client: Client, which: object, by: User) -> Any:
    return call(client, "get", f"/digits/versions/{which}", by)


@pytest.fixture
def two(team: Team, bob: User) -> tuple[ModelVersion, ModelVersion]:
    return make_version(team, bob), make_version(team, bob, framework_version="2.15")


def test_a_version_is_found_by_its_stage_and_by_its_alias(
    client: Client, bob: User, two: object
) -> None:
    changed = call(client, "patch", "/digits/versions/1", bob, {"stage": "production"})
    assert changed.json()["stage"] == "production"
    made = call(client, "put", "/digits/aliases/champion", bob, {"version": 2})
    assert (made.status_code, made.json()["aliases"]) == (201, ["champion"])
    assert show(client, "production", bob).json()["version"] == 1
    assert show(client, "@champion", bob).json()["version"] == 2
    moved = call(client, "put", "/digits/aliases/champion", bob, {"version": 1})
    assert (moved.status_code, moved.json()["version"]) == (200, 1)
    assert show(client, "@champion", bob).json()["version"] == 1
    assert call(client, "delete", "/digits/aliases/champion", bob).status_code == 204
    assert "no alias 'champion'" in show(client, "@champion", bob).json()["detail"]
    assert "no version with the stage staging" in show(client, "staging", bob).json()["detail"]
    assert "use a number, @ALIAS or one of" in show(client, "newest", bob).json()["detail"]
    actions = AuditEntry.objects.order_by("pk").values_list("action", flat=True)
    assert list(actions)[-4:] == [
        "model.change",
        "model.set_alias",
        "model.set_alias",
        "model.remove_alias",
    ]


def test_production_may_archive_what_was_there_before_it(
    client: Client, bob: User, two: object
) -> None:
    call(client, "patch", "/digits/versions/1", bob, {"stage": "production"})
    call(client, "patch", "/digits/versions/2", bob, {"stage": "production"})
    assert show(client, 1, bob).json()["stage"] == "production"
    moving = {"stage": "production", "archive_others": True}
    call(client, "patch", "/digits/versions/2", bob, moving)
    assert show(client, 1, bob).json()["stage"] == "archived"
    assert show(client, 2, bob).json()["stage"] == "production"


def test_tags_change_one_by_one_and_properties_never(client: Client, bob: User, team: Team) -> None:
    make_version(team, bob, tags={"a": "1", "b": "2"}, properties={"data": "v1"})
    changes = {"tags": {"a": None, "c": 3}, "description": "Better."}
    changed = call(client, "patch", "/digits/versions/1", bob, changes).json()
    assert changed["tags"] == {"b": "2", "c": "3"}
    assert (changed["description"], changed["properties"]) == ("Better.", {"data": "v1"})
    refused = call(client, "patch", "/digits/versions/1", bob, {"properties": {"data": "v2"}})
    assert refused.status_code == 400
    assert "set once" in refused.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"stage": "live"}, "stage"),
        ({"archive_others": "yes"}, "archive_others"),
        ({"tags": {"a": [1]}}, "tags.a"),
        ({"tags": {str(n): "x" for n in range(51)}}, "tags"),
        ({"description": 7}, "description"),
        ({"stag": "none"}, "stag"),
        ([1], "body"),
    ],
)
def test_a_change_that_cannot_be_made_names_its_field(
    client: Client, bob: User, two: object, change: object, field: str
) -> None:
    answer = call(client, "patch", "/digits/versions/1", bob, change)
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_an_alias_needs_a_good_name_and_a_version_that_is_there(
    client: Client, bob: User, two: object
) -> None:
    for name, version, field in (
        ("no way", 1, "alias"),
        ("ok", 9, "version"),
        ("ok", None, "version"),
    ):
        answer = call(client, "put", f"/digits/aliases/{name}", bob, {"version": version})
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == field


def test_versions_are_compared_by_signature_metrics_size_and_digest(
    client: Client, bob: User, team: Team
) -> None:
    for version, accuracy in (("2.21.0", 0.91), ("2.15.1", 0.97)):
        run = make_run(team, bob)
        inputs = {"x": (1, [-1, 4])} if version == "2.21.0" else {"x": (1, [-1, 8])}
        put_outputs(run, model_files("outputs/m", version=version, inputs=inputs))
        series = MetricSeries.objects.create(run=run, name="accuracy")
        store.append({series.pk: [Point(1, 0, 0.1), Point(2, 0, accuracy)]})
        register(client, bob, {"run": run.number, "name": "digits", "framework_version": version})
    found = call(client, "get", "/digits/compare?a=1&b=2", bob).json()
    lines = {
        line["name"]: line for part in found.values() if isinstance(part, list) for line in part
    }
    assert lines["accuracy"] == {"name": "accuracy", "a": 0.91, "b": 0.97, "differs": True}
    assert lines["serving_default input x"]["a"] == "float32, any x 4"
    assert lines["serving_default input x"]["b"] == "float32, any x 8"
    assert lines["serving_default output y"]["differs"] is False
    assert lines["framework"]["b"] == "TensorFlow 2.15.1"
    assert lines["digest"]["a"] != lines["digest"]["b"]
    assert lines["saved_model.pb"]["differs"] is True
    assert lines["variables/variables.data-00000-of-00001"]["differs"] is False
    assert call(client, "get", "/digits/compare?a=1&b=9", bob).status_code == 404


def test_models_are_found_by_name_tag_framework_and_stage_page_by_page(
    client: Client, bob: User, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_version(team, bob, "cats", tags={"kind": "image", "it's.1": "x"}, stage="staging")
    make_version(team, bob, "dogs", framework_version="2.15.1", tags={"kind": "sound"})
    make_version(team, bob, "Catalogue")

    def found(query: str) -> list[str]:
        answer = call(client, "get", f"?{query}", bob)
        assert answer.status_code == 200, answer.content
        return sorted(model["name"] for model in answer.json())

    assert found("q=cat") == ["Catalogue", "cats"]
    assert found("tag=kind") == ["cats", "dogs"]
    assert found("tag=kind:%20sound") == ["dogs"]
    assert found("tag=it's.1:x") == ["cats"]
    assert found("framework=2.15") == ["dogs"]
    assert found("stage=staging&q=c") == ["cats"]
    assert found("q=%25_") == []
    assert call(client, "get", "?stage=live", bob).json()["errors"][0]["field"] == "stage"
    assert call(client, "get", "?page=0", bob).json()["errors"][0]["field"] == "page"
    monkeypatch.setattr("models.search.PAGE", 2)
    first = call(client, "get", "", bob)
    assert [model["name"] for model in first.json()] == ["Catalogue", "dogs"]
    second = call(client, "get", f"?page={first['X-Next-Page']}", bob)
    assert [model["name"] for model in second.json()] == ["cats"]
    assert "X-Next-Page" not in second


def test_a_version_that_a_service_uses_is_not_deleted(
    client: Client, bob: User, two: tuple[ModelVersion, ModelVersion]
) -> None:
    old, new = two
    service = make_service(old)
    answer = call(client, "delete", "/digits/versions/1", bob)
    assert answer.status_code == 409
    assert "the service scorer makes use of it" in answer.json()["detail"]
    assert call(client, "delete", "/digits", bob).status_code == 409
    assert ModelVersion.objects.filter(deleted_at=None).count() == 2
    add_revision(service, new)
    assert call(client, "delete", "/digits/versions/1", bob).status_code == 204
    service.deleted_at = timezone.now()
    service.save()
    assert call(client, "delete", "/digits/versions/2", bob).status_code == 204


@pytest.mark.parametrize("how", [{"weight": 10}, {"is_shadow": True}])
def test_a_version_with_a_share_of_the_traffic_is_not_deleted(
    client: Client, bob: User, two: tuple[ModelVersion, ModelVersion], how: dict[str, Any]
) -> None:
    service = make_service(two[0])
    add_revision(service, two[1])
    service.revisions.filter(number=1).update(**how)
    assert call(client, "delete", "/digits/versions/1", bob).status_code == 409


def test_a_deleted_version_is_gone_with_its_files_and_its_number_is_not_used_again(
    client: Client, bob: User, team: Team, two: tuple[ModelVersion, ModelVersion]
) -> None:
    call(client, "put", "/digits/aliases/champion", bob, {"version": 2})
    assert call(client, "delete", "/digits/versions/2", bob).status_code == 204
    assert show(client, 2, bob).status_code == 404
    assert show(client, "@champion", bob).status_code == 404
    assert manifests_in_use(team) == [two[0].manifest_digest]
    listed = call(client, "get", "", bob).json()
    assert [(model["name"], model["latest_version"]) for model in listed] == [("digits", 1)]
    assert make_version(team, bob).version == 3
    assert call(client, "delete", "/digits", bob).status_code == 204
    assert call(client, "get", "/digits", bob).status_code == 404
    assert manifests_in_use(team) == []
    assert make_version(team, bob).version == 4


def test_only_members_change_and_delete(
    client: Client, bob: User, vera: User, charlie: User, two: object
) -> None:
    calls = [
        ("patch", "/digits/versions/1", {"stage": "staging"}),
        ("delete", "/digits/versions/1", None),
        ("delete", "/digits", None),
        ("put", "/digits/aliases/a", {"version": 1}),
        ("delete", "/digits/aliases/a", None),
    ]
    for method, path, data in calls:
        assert call(client, method, path, vera, data).status_code == 403
        assert call(client, method, path, charlie, data).status_code == 404
        sent = {} if data is None else {"data": json.dumps(data)}
        answer = getattr(client, method)(
            MODELS + path,
            content_type="application/json",
            headers=bearer(bob, Scope.READ),
            **sent,
        )
        assert answer.status_code == 403
    assert call(client, "get", "/digits/compare?a=1&b=2", vera).status_code == 200
