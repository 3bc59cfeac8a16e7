"""Admins order the queue of their target."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from runs.models import Run
from runs.scheduling.queue_order import move_before, move_first, move_last, queue_of
from runs.states import RunStatus
from tests.factories import bearer, make_run, make_target, make_team, make_user
from workspace.models import ComputeTarget, TargetGrant, Team
from workspace.platform.errors import Conflict, Forbidden, Invalid

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


@pytest.fixture
def target(team: Team) -> ComputeTarget:
    return make_target(team, "gpu")


def numbers(target: ComputeTarget) -> list[int]:
    return [queued.run.number for queued in queue_of(target)]


def test_runs_wait_by_priority_then_in_order_of_arrival(team: Team, target: ComputeTarget):
    for priority in (0, 5, 0):
        make_run(team, target=target, priority=priority)
    make_run(team, target=target, status=RunStatus.RUNNING)
    assert [(queued.place, queued.run.number) for queued in queue_of(target)] == [
        (1, 2),
        (2, 1),
        (3, 3),
    ]


def test_an_admin_puts_a_run_first(team: Team, alice: User, target: ComputeTarget):
    runs = [make_run(team, target=target, priority=priority) for priority in (5, 0, 0)]
    move_first(runs[2], by=alice)
    assert numbers(target) == [3, 1, 2]
    assert runs[2].priority == 5


def test_an_admin_puts_a_run_before_another(team: Team, alice: User, target: ComputeTarget):
    runs = [make_run(team, target=target) for _ in range(4)]
    move_before(runs[3], runs[1], by=alice)
    assert numbers(target) == [1, 4, 2, 3]


def test_an_admin_puts_a_run_last(team: Team, alice: User, target: ComputeTarget):
    runs = [make_run(team, target=target, priority=priority) for priority in (0, 0, -1)]
    move_last(runs[0], by=alice)
    assert numbers(target) == [2, 3, 1]


def test_runs_may_be_moved_as_often_as_one_likes(team: Team, alice: User, target: ComputeTarget):
    runs = [make_run(team, target=target) for _ in range(3)]
    for turn in range(120):
        move_before(runs[2 - turn % 2], runs[1 + turn % 2], by=alice)
    assert sorted(numbers(target)) == [1, 2, 3]
    assert numbers(target)[0] == 1


def test_who_comes_later_waits_behind_those_that_were_moved(
    team: Team, alice: User, target: ComputeTarget
):
    runs = [make_run(team, target=target) for _ in range(2)]
    move_first(runs[1], by=alice)
    make_run(team, target=target)
    assert numbers(target) == [2, 1, 3]


def test_a_move_is_told_in_the_timeline(
    client: Client, team: Team, alice: User, target: ComputeTarget
):
    make_run(team, target=target)
    second = make_run(team, target=target)
    move_first(second, by=alice)
    client.force_login(alice)
    page = client.get(f"/t/{team.slug}/runs/{second.number}/timeline/").content.decode()
    assert "alice moved the run to position 1 of the queue." in page


def test_only_admins_of_the_targets_team_order_its_queue(
    team: Team, bob: User, target: ComputeTarget
):
    with pytest.raises(Forbidden, match="only its admins order the queue"):
        move_first(make_run(team, target=target), by=bob)
    carol = make_user("carol")
    others = make_team("others", admin=carol)
    TargetGrant.objects.create(target=target, team=others)
    with pytest.raises(Forbidden):
        move_first(make_run(others, target=target), by=carol)


def test_a_run_that_started_is_moved_no_more(team: Team, alice: User, target: ComputeTarget):
    run = make_run(team, target=target, status=RunStatus.RUNNING)
    with pytest.raises(Conflict, match="does not wait any more: it is Running"):
        move_first(run, by=alice)


def test_a_run_goes_only_before_one_that_waits_on_the_same_target(
    team: Team, alice: User, target: ComputeTarget
):
    run, elsewhere = make_run(team, target=target), make_run(team, target=make_target(team, "cpu"))
    with pytest.raises(Invalid, match="does not wait on gpu"):
        move_before(run, elsewhere, by=alice)


def test_runs_are_moved_over_rest(client: Client, team: Team, alice: User, target: ComputeTarget):
    for _ in range(3):
        make_run(team, target=target)
    address = f"/api/v1/teams/{team.slug}/runs/3/move"
    answer = client.post(
        address, {"before": 2}, content_type="application/json", headers=bearer(alice)
    )
    assert answer.status_code == 200
    assert numbers(target) == [1, 3, 2]
    client.post(
        address, {"position": "first"}, content_type="application/json", headers=bearer(alice)
    )
    assert numbers(target) == [3, 1, 2]
    unclear = client.post(address, {}, content_type="application/json", headers=bearer(alice))
    assert unclear.json()["errors"] == [
        {"field": "before", "message": "Set either before or position."}
    ]


def test_the_queue_is_told_over_rest_without_the_affairs_of_other_teams(
    client: Client, team: Team, alice: User, target: ComputeTarget
):
    carol = make_user("carol")
    others = make_team("others", member=carol)
    TargetGrant.objects.create(target=target, team=others)
    make_run(team, target=target, wait_reason="Needs 2 GPUs.")
    make_run(others, target=target, wait_reason="Needs 1 GPU.")
    shown = client.get("/api/v1/teams/others/targets/gpu/queue", headers=bearer(carol)).json()
    assert shown == [
        {"place": 1, "team": team.slug, "run": None, "priority": 0, "wait_reason": ""},
        {"place": 2, "team": "others", "run": 1, "priority": 0, "wait_reason": "Needs 1 GPU."},
    ]
    shown = client.get(f"/api/v1/teams/{team.slug}/targets/gpu/queue", headers=bearer(alice)).json()
    assert [row["wait_reason"] for row in shown] == ["Needs 2 GPUs.", "Needs 1 GPU."]


def test_an_admin_moves_runs_on_the_targets_page(
    client: Client, team: Team, alice: User, bob: User, target: ComputeTarget
):
    runs: list[Run] = [make_run(team, target=target) for _ in range(3)]
    page = f"/t/{team.slug}/targets/gpu/"
    client.force_login(alice)
    assert "Move up" in client.get(page).content.decode()
    client.post(f"{page}queue/{runs[2].pk}/move/", {"to": "up"})
    assert numbers(target) == [1, 3, 2]
    client.post(f"{page}queue/{runs[0].pk}/move/", {"to": "down"})
    assert numbers(target) == [3, 1, 2]
    client.post(f"{page}queue/{runs[1].pk}/move/", {"to": "first"})
    assert numbers(target) == [2, 3, 1]
    client.force_login(bob)
    assert "Move up" not in client.get(page).content.decode()
    assert client.post(f"{page}queue/{runs[0].pk}/move/", {"to": "first"}).status_code == 403
