"""The workspace over REST: who may call it, what it answers, and the one form of its errors."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.factories import bearer, make_run, make_target, make_team, make_token
from workspace.compute.base import BackendError, Gpu, Node
from workspace.models import ComputeTarget, Scope, Team

TARGETS = "/api/v1/teams/default/targets"


class OneNode:
    def check(self) -> list[Node]:
        return [Node("here", 8, 10**9, (Gpu(0, "GPU-0", "H200", 10**11),))]


class TargetUnreachable:
    def check(self) -> list[Node]:
        raise BackendError("The engine does not answer.")


@pytest.fixture(autouse=True)
def one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workspace.targets.states.backend_for", lambda target: OneNode())


def send(client: Client, method: str, address: str, body: object, user: User) -> Any:
    return client.generic(
        method, address, json.dumps(body), "application/json", headers=bearer(user)
    )


def assert_problem(answer: Any, status: int, *fields: str) -> Mapping[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: Mapping[str, Any] = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "errors"}
    assert problem["status"] == status
    assert [error["field"] for error in problem["errors"]] == list(fields)
    assert all(error["message"] for error in problem["errors"])
    return problem


def test_without_a_token_the_answer_says_how_to_log_in(client: Client, db: None) -> None:
    answer = client.get("/api/v1/teams")
    assert "Authorization: Bearer" in assert_problem(answer, 401)["detail"]
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert_problem(client.post(TARGETS, {}, "application/json"), 401)


@pytest.mark.parametrize("header", ["Bearer ty_wrong", "Bearer", "Basic YTpi", "Bearer \u20ac"])
def test_a_wrong_token_is_refused(client: Client, db: None, header: str) -> None:
    assert_problem(client.get("/api/v1/teams", headers={"Authorization": header}), 401)


def test_an_expired_token_and_one_of_an_inactive_user_are_refused(
    client: Client, alice: User, bob: User
) -> None:
    expired = make_token(alice, days=-1)
    of_bob = make_token(bob)
    bob.is_active = False
    bob.save()
    for token in (expired, of_bob):
        answer = client.get("/api/v1/teams", headers={"Authorization": f"Bearer {token}"})
        assert_problem(answer, 401)


def test_a_caller_sees_their_teams_with_their_role(client: Client, bob: User) -> None:
    make_team("others")
    answer = client.get("/api/v1/teams", headers=bearer(bob, Scope.READ))
    assert answer.json() == [{"slug": "default", "name": "Default", "role": "member"}]


@pytest.mark.usefixtures("root")
def test_a_page_calls_the_api_with_its_session_and_csrf_token(alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    assert client.get("/api/v1/teams").status_code == 200
    body = {"name": "second"}
    assert_problem(client.post(TARGETS, body, "application/json"), 403)
    token = client.get("/account/").context["csrf_token"]
    answer = client.post(TARGETS, body, "application/json", headers={"X-CSRFToken": str(token)})
    assert answer.status_code == 201


def test_a_scope_that_is_too_small_is_refused_by_name(client: Client, alice: User) -> None:
    headers = bearer(alice, Scope.WRITE)
    assert client.get(TARGETS, headers=headers).status_code == 200
    answer = client.post(TARGETS, {"name": "second"}, "application/json", headers=headers)
    assert "scope admin" in assert_problem(answer, 403)["detail"]


@pytest.mark.parametrize("body", ["{}", "not json", '{"name": "x"}'])
def test_a_stranger_hears_nothing_of_a_team_however_they_ask(
    client: Client, team: Team, charlie: User, body: str
) -> None:
    headers = bearer(charlie)
    assert_problem(client.get(TARGETS, headers=headers), 404)
    assert_problem(client.post(TARGETS, body, "application/json", headers=headers), 404)
    assert_problem(client.get("/api/v1/teams/no%00ne/targets", headers=headers), 404)


def test_a_name_with_a_nul_is_not_found(client: Client, alice: User) -> None:
    assert_problem(send(client, "DELETE", f"{TARGETS}/a%00b", None, alice), 404)


def test_a_question_with_a_nul_is_refused(client: Client, alice: User) -> None:
    answer = client.get("/api/v1/teams/default/runs?q=a%00b", headers=bearer(alice))
    assert "NUL" in assert_problem(answer, 400)["detail"]


@pytest.mark.usefixtures("root")
def test_an_admin_makes_changes_and_deletes_a_target(client: Client, alice: User) -> None:
    made = send(client, "POST", TARGETS, {"name": "second", "max_processes": 8}, alice)
    assert made.status_code == 201
    shown = made.json()
    assert (shown["name"], shown["kind"], shown["owner"]) == ("second", "local", "default")
    assert (shown["is_paused"], shown["allow_shared"], shown["max_processes"]) == (False, False, 8)
    assert shown["problem"] == ""
    assert shown["nodes"] == [
        {
            "name": "here",
            "healthy": True,
            "message": "",
            "engine_version": "",
            "cpus": 8.0,
            "memory_bytes": 10**9,
            "gpus": [
                {
                    "index": 0,
                    "uuid": "GPU-0",
                    "model": "H200",
                    "memory_bytes": 10**11,
                    "driver": "",
                }
            ],
        }
    ]
    changed = send(client, "PATCH", f"{TARGETS}/second", {"is_paused": True}, alice)
    assert (changed.json()["is_paused"], changed.json()["max_processes"]) == (True, 8)
    assert send(client, "DELETE", f"{TARGETS}/second", None, alice).status_code == 204
    assert client.get(TARGETS, headers=bearer(alice)).json() == []
    assert_problem(send(client, "PATCH", f"{TARGETS}/second", {}, alice), 404)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["name"]),
        ({"name": "Not A Name"}, ["name"]),
        ({"name": "a", "kind": "cloud"}, ["kind"]),
        ({"name": "a", "max_processes": 0}, ["max_processes"]),
        ({"name": "a", "max_processes": "many", "speed": 9}, ["max_processes", "speed"]),
    ],
)
def test_every_error_of_a_target_is_told_at_once_with_its_field(
    client: Client, alice: User, body: object, fields: list[str]
) -> None:
    assert_problem(send(client, "POST", TARGETS, body, alice), 400, *fields)
    assert not ComputeTarget.objects.exists()


def test_a_body_that_is_not_json_is_refused(client: Client, alice: User) -> None:
    answer = client.post(TARGETS, "{", "application/json", headers=bearer(alice))
    assert_problem(answer, 400, "body")


@pytest.mark.usefixtures("root")
def test_two_targets_of_a_team_never_share_a_name(client: Client, alice: User, team: Team) -> None:
    make_target(team, "second")
    assert_problem(send(client, "POST", TARGETS, {"name": "second"}, alice), 409, "name")
    make_target(make_team("others"), "third")
    assert send(client, "POST", TARGETS, {"name": "third"}, alice).status_code == 201


@pytest.mark.usefixtures("root")
def test_a_target_in_use_is_not_deleted(client: Client, alice: User, team: Team) -> None:
    run = make_run(team, target=make_target(team, "second"))
    assert_problem(send(client, "DELETE", f"{TARGETS}/second", None, alice), 409)
    run.ended_at = run.created_at
    run.save()
    assert send(client, "DELETE", f"{TARGETS}/second", None, alice).status_code == 204
    run.refresh_from_db()
    assert run.compute_target.name == "second"
    assert send(client, "POST", TARGETS, {"name": "second"}, alice).status_code == 201


def test_a_target_that_cannot_be_asked_says_why(
    client: Client, alice: User, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_target(team)
    monkeypatch.setattr("workspace.targets.states.backend_for", lambda target: TargetUnreachable())
    listed = client.get(TARGETS, headers=bearer(alice)).json()
    assert (listed[0]["problem"], listed[0]["nodes"]) == ("The engine does not answer.", [])


@pytest.mark.usefixtures("root")
def test_a_local_target_is_off_for_several_users_until_an_admin_allows_it(
    client: Client, alice: User, team: Team
) -> None:
    make_target(team, allow_shared=False)
    headers = bearer(alice)
    assert client.get(TARGETS, headers=headers).json()[0]["problem"] == ""
    User.objects.create_user("dora")
    assert "more than one user" in client.get(TARGETS, headers=headers).json()[0]["problem"]
    send(client, "PATCH", f"{TARGETS}/local", {"allow_shared": True}, alice)
    assert client.get(TARGETS, headers=headers).json()[0]["problem"] == ""


def test_an_unknown_address_of_the_api_is_a_problem_too(client: Client, alice: User) -> None:
    assert_problem(client.get("/api/v1/nothing", headers=bearer(alice)), 404)


def test_the_api_describes_itself(client: Client, db: None) -> None:
    schema = client.get("/api/v1/openapi.json").json()
    assert "/api/v1/teams/{slug}/targets" in schema["paths"]
    assert client.get("/api/v1/docs").status_code == 200
