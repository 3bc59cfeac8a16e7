"""Tracked runs: what a program elsewhere reports over REST, and their parents and children."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from runs.deletion import finish_deletion
from runs.live.consumers import RunFeedSource
from runs.live.feeds import EVERYTHING
from runs.models import Run
from runs.scheduling.queue_order import queue_of
from runs.supervision.reconciler import RunReconciler
from runs.tracking import MAX_DEPTH
from tests.factories import bearer, make_run, make_team, make_user
from tests.fakes import FakeBackend
from workspace.models import ComputeTarget, Team

pytestmark = pytest.mark.django_db
RUNS = "/api/v1/teams/default/runs"
JSON = "application/json"


class Tracker:
    """A program with an API token, which reports its runs."""

    def __init__(self, client: Client, user: User) -> None:
        self._client, self._headers = client, bearer(user)

    def post(self, key: str = "", **given: Any) -> Any:
        headers = {**self._headers, **({"Idempotency-Key": key} if key else {})}
        return self._client.post(
            RUNS, {"experiment": "digits", **given}, content_type=JSON, headers=headers
        )

    def start(self, **given: Any) -> int:
        answer = self.post(**given)
        assert answer.status_code == 201, answer.json()
        return int(answer.json()["number"])

    def change(self, number: int, **change: Any) -> Any:
        return self._client.patch(
            f"{RUNS}/{number}", change, content_type=JSON, headers=self._headers
        )

    def get(self, path: str = "", **query: Any) -> Any:
        return self._client.get(f"{RUNS}{path}", query, headers=self._headers).json()

    def show(self, number: int) -> Any:
        return self.get(f"/{number}")

    def cancel(self, number: int) -> Any:
        return self._client.post(f"{RUNS}/{number}/cancel", headers=self._headers)

    def delete(self, number: int) -> Any:
        return self._client.delete(f"{RUNS}/{number}", headers=self._headers)


@pytest.fixture
def tracker(client: Client, bob: User) -> Tracker:
    return Tracker(client, bob)


def test_a_run_without_a_source_runs_until_it_is_ended(tracker: Tracker, team: Team) -> None:
    answer = tracker.post(name="laptop", description="By hand.", tags={"data": "mnist"})
    assert answer.status_code == 201
    shown = answer.json()
    assert (shown["status"], shown["name"], shown["experiment"]) == ("Running", "laptop", "digits")
    assert (shown["compute_target"], shown["snapshot"], shown["config"]) == (None, None, {})
    assert (shown["description"], shown["tags"]) == ("By hand.", {"data": "mnist"})
    assert shown["processes"] == []
    assert [phase["name"] for phase in shown["phases"]] == ["Running"]
    ended = tracker.change(shown["number"], status="Completed").json()
    assert (ended["status"], ended["end_reason"]) == ("Completed", "reported_completed")
    assert ended["ended_at"]


def test_a_failure_is_told_with_its_error(tracker: Tracker) -> None:
    number = tracker.start()
    ended = tracker.change(number, status="Failed", error="NaN in the loss.").json()
    assert (ended["status"], ended["end_reason"]) == ("Failed", "reported_failed")
    assert ended["end_detail"]["message"] == "NaN in the loss."


def test_a_run_that_ended_is_not_ended_otherwise(tracker: Tracker) -> None:
    number = tracker.start()
    tracker.change(number, status="Completed")
    assert tracker.change(number, status="Completed").status_code == 200
    refused = tracker.change(number, status="Failed", name="kept out")
    assert refused.status_code == 409
    assert "already ended: Completed" in refused.json()["detail"]
    assert tracker.show(number)["name"] == ""
    assert tracker.change(number, tags={"checked": "yes"}).json()["tags"] == {"checked": "yes"}


def test_the_status_of_a_run_with_processes_cannot_be_set(
    tracker: Tracker, team: Team, bob: User
) -> None:
    run = make_run(team, bob)
    refused = tracker.change(run.number, status="Completed")
    assert refused.status_code == 409
    assert "Cancel the run" in refused.json()["detail"]


def test_every_error_of_a_tracked_run_is_named(tracker: Tracker) -> None:
    answer = tracker.post(experiment=" ", tags=[], parent=0, entry_script="train.py")
    assert answer.status_code == 400
    assert {error["field"] for error in answer.json()["errors"]} == {
        "experiment",
        "tags",
        "parent",
        "entry_script",
    }
    assert tracker.post(parent=10**30).status_code == 400
    assert tracker.post(parent=99).json()["errors"][0]["field"] == "parent"
    number = tracker.start()
    for change in (
        {"status": "Running"},
        {"error": "lost"},
        {"status": "Completed", "error": "no"},
    ):
        assert tracker.change(number, **change).status_code == 400
    assert tracker.show(number)["status"] == "Running"


def test_a_multipart_request_names_the_parts_that_are_missing(client: Client, bob: User) -> None:
    answer = client.post(RUNS, {"force": "true"}, headers=bearer(bob))
    assert answer.status_code == 400
    assert {error["field"] for error in answer.json()["errors"]} == {"source", "config"}


def test_viewers_make_no_tracked_run(client: Client, vera: User) -> None:
    assert Tracker(client, vera).post().status_code == 403


def test_the_same_key_makes_one_run(tracker: Tracker) -> None:
    first, again = tracker.post("once").json(), tracker.post("once").json()
    assert first["number"] == again["number"]
    assert tracker.post("twice").json()["number"] == first["number"] + 1
    other = tracker.post("once", experiment="letters")
    assert other.status_code == 409
    assert "Use a new key" in other.json()["detail"]


def test_cancel_ends_a_tracked_run_at_once(tracker: Tracker) -> None:
    number = tracker.start()
    canceled = tracker.cancel(number)
    assert canceled.status_code == 202
    assert canceled.json()["status"] == "Canceled"
    assert tracker.cancel(number).status_code == 409


def test_watchers_are_told_how_a_tracked_run_goes(tracker: Tracker) -> None:
    number = tracker.start()
    source = RunFeedSource(Run.objects.get(number=number).pk)
    (running,) = source.messages(EVERYTHING)
    assert running.to_json()["status"] == "Running"
    tracker.change(number, status="Failed", error="NaN in the loss.")
    (failed,) = source.messages(EVERYTHING)
    assert failed.to_json()["status"] == "Failed"
    assert failed.to_json()["end_detail"]["message"] == "NaN in the loss."
    assert set(source.logs()) <= {"build"}


def test_the_supervisor_leaves_tracked_runs_alone(
    tracker: Tracker, backend: FakeBackend, team: Team, bob: User
) -> None:
    number = tracker.start()
    RunReconciler().tick()
    assert tracker.show(number)["status"] == "Running"
    target = ComputeTarget.objects.create(team=team, name="local", kind="local")
    assert queue_of(target) == []


def test_a_tracked_run_waits_in_no_queue(tracker: Tracker, client: Client, bob: User) -> None:
    number = tracker.start()
    moved = client.post(
        f"{RUNS}/{number}/move", {"position": "first"}, content_type=JSON, headers=bearer(bob)
    )
    assert moved.status_code == 409


def test_a_tracked_run_is_deleted_and_its_children_stay(tracker: Tracker) -> None:
    parent = tracker.start()
    child = tracker.start(parent=parent)
    assert tracker.delete(parent).status_code == 409
    tracker.change(parent, status="Completed")
    run = Run.objects.get(number=parent)
    assert tracker.delete(parent).status_code == 204
    assert tracker.show(child)["parent"] is None
    finish_deletion(run.pk)
    assert not Run.objects.filter(pk=run.pk).exists()
    assert tracker.show(child)["parent"] is None


def test_children_name_their_parent_and_are_counted(tracker: Tracker) -> None:
    parent = tracker.start()
    children = [tracker.start(parent=parent) for _ in range(2)]
    assert tracker.show(children[0])["parent"] == parent
    assert tracker.show(parent)["children"] == 2
    listed = tracker.get(parent=parent)["runs"]
    assert [(run["number"], run["parent"]) for run in listed] == [
        (children[1], parent),
        (children[0], parent),
    ]
    assert tracker.get(parent=children[0])["runs"] == []
    assert tracker.get(parent="x")["errors"][0]["field"] == "parent"
    tracker.change(children[0], status="Completed")
    tracker.delete(children[0])
    assert tracker.show(parent)["children"] == 1


def test_a_parent_is_a_run_of_the_team(tracker: Tracker) -> None:
    others = make_run(make_team(), make_user(), number=77)
    refused = tracker.post(parent=others.number)
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["field"] == "parent"


def test_chains_of_parents_have_an_end(tracker: Tracker) -> None:
    number = tracker.start()
    for _ in range(MAX_DEPTH - 1):
        number = tracker.start(parent=number)
    refused = tracker.post(parent=number)
    assert refused.status_code == 400
    assert f"{MAX_DEPTH} runs deep" in refused.json()["detail"]


@pytest.mark.parametrize(
    "page", ["metrics/", "outputs/", "configuration/", "children/", "timeline/", "head/"]
)
def test_the_pages_of_a_tracked_run(tracker: Tracker, client: Client, bob: User, page: str) -> None:
    parent = tracker.start(name="the parent")
    child = tracker.start(name="the child", parent=parent)
    tracker.change(child, status="Failed", error="NaN in the loss.")
    client.force_login(bob)
    for number in (parent, child):
        answer = client.get(f"/t/default/runs/{number}/{page}")
        assert answer.status_code == 200
    text = answer.content.decode()
    assert f'href="/t/default/runs/{parent}/children/"' in text
    assert "NaN in the loss." in text
    assert "Submit again" not in text
    if page == "children/":
        shown = client.get(f"/t/default/runs/{parent}/children/").content.decode()
        assert "the child" in shown


@pytest.mark.parametrize("page", ["usage/", "code/"])
def test_a_tracked_run_has_no_pages_of_processes(
    tracker: Tracker, client: Client, bob: User, page: str
) -> None:
    number = tracker.start()
    client.force_login(bob)
    assert client.get(f"/t/default/runs/{number}/{page}").status_code == 404
    assert client.get(f"/t/default/runs/new/?from={number}").status_code == 404


def test_lists_and_the_page_of_a_run_lead_to_metrics(
    tracker: Tracker, client: Client, bob: User
) -> None:
    number = tracker.start(name="laptop")
    client.force_login(bob)
    assert "laptop" in client.get("/t/default/runs/").content.decode()
    opened = client.get(f"/t/default/runs/{number}/")
    assert opened["Location"] == f"/t/default/runs/{number}/metrics/"
    client.post(f"/t/default/runs/{number}/cancel/")
    assert tracker.show(number)["status"] == "Canceled"
