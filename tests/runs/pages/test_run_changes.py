"""Naming, archiving and deleting a run on its pages."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from runs.models import Run
from runs.states import RunStatus
from tests.factories import make_run
from workspace.models import Team

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(team: Team, bob: User) -> Run:
    return make_run(team, bob, status=RunStatus.COMPLETED)


@pytest.fixture
def page(client: Client, bob: User) -> Client:
    client.force_login(bob)
    return client


def address(run: Run, action: str) -> str:
    return f"/t/default/runs/{run.number}/{action}/"


def test_a_run_is_named_and_tagged_and_the_list_shows_it(page: Client, run: Run) -> None:
    given = {"name": "Wider", "description": "Twice\nthe units", "tags": "data: mnist\nlr: 1e-3"}
    answer = page.post(address(run, "change"), given, follow=True)
    shown = answer.content.decode()
    assert f"Run {run.number}: Wider" in shown
    assert "Twice<br>the units" in shown
    rows = page.get("/t/default/runs/?tag=data:mnist").content.decode()
    assert "Wider" in rows
    assert "lr: 1e-3" in rows
    page.post(address(run, "change"), {"name": "Wider", "tags": "lr: 1e-3"})
    run.refresh_from_db()
    assert run.tags == {"lr": "1e-3"}


def test_what_is_wrong_stands_beside_its_field_and_what_was_typed_stays(
    page: Client, run: Run
) -> None:
    answer = page.post(address(run, "change"), {"name": "x" * 251, "tags": ": nameless"})
    assert answer.status_code == 422
    shown = answer.content.decode()
    assert "Use at most 250 characters" in shown
    assert "Use names of 1 to 256 characters." in shown
    assert ": nameless" in shown
    run.refresh_from_db()
    assert run.name == ""


def test_an_archived_run_leaves_the_list_which_says_so(page: Client, run: Run) -> None:
    page.post(address(run, "archive"), {"archived": "true"})
    shown = page.get("/t/default/runs/").content.decode()
    assert "Archived runs are left out" in shown
    assert f"#{run.number}" in page.get("/t/default/runs/?archived=true").content.decode()
    page.post(address(run, "archive"), {"archived": "false"})
    assert f"#{run.number}" in page.get("/t/default/runs/").content.decode()


def test_a_run_is_deleted_after_a_question(page: Client, run: Run) -> None:
    shown = page.get(address(run, "configuration")).content.decode()
    assert f'data-confirm-title="Delete run {run.number}?"' in shown
    answer = page.post(address(run, "delete"), follow=True)
    assert f"Deleted run {run.number}." in answer.content.decode()
    assert page.get(address(run, "configuration")).status_code == 404


def test_a_run_that_goes_on_is_not_deleted(page: Client, team: Team, bob: User) -> None:
    run = make_run(team, bob, status=RunStatus.RUNNING)
    assert "Delete run" not in page.get(address(run, "configuration")).content.decode()
    answer = page.post(address(run, "delete"), follow=True)
    assert "cancel it first" in answer.content.decode()


def test_a_viewer_sees_it_and_changes_nothing(client: Client, run: Run, vera: User) -> None:
    client.force_login(vera)
    Run.objects.filter(pk=run.pk).update(name="Wider", tags={"data": "mnist"})
    shown = client.get(address(run, "configuration")).content.decode()
    assert "data: mnist" in shown
    assert "Change name" not in shown
    assert client.post(address(run, "change"), {"name": "mine"}).status_code == 403


def test_many_runs_are_changed_at_once_and_what_one_refuses_harms_no_other(
    page: Client, team: Team, bob: User
) -> None:
    over = [make_run(team, bob, status=RunStatus.FAILED) for _ in range(2)]
    live = make_run(team, bob, status=RunStatus.RUNNING)
    numbers = [run.number for run in (*over, live)]

    def act(action: str, **more: str) -> str:
        given = {"run": numbers, "action": action, "query": "q=train", **more}
        answer = page.post("/t/default/runs/many/", given, follow=True)
        assert answer.redirect_chain == [("/t/default/runs/?q=train", 302)]
        return str(answer.content.decode())

    assert "Tagged #3, #2, #1." in act("tag", tag="sweep: first")
    assert {tuple(run.tags.items()) for run in Run.objects.all()} == {(("sweep", "first"),)}
    shown = act("cancel")
    assert "Canceling #3." in shown
    assert "Run 1 has already ended" in shown
    shown = act("delete")
    assert "Deleted #2, #1." in shown
    assert "Run 3 is Running: cancel it first." in shown
    assert "Archived #3." in act("archive")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "Choose what to do"),
        ({"action": "dance"}, "Choose what to do"),
        ({"action": "tag", "tag": ": x"}, "Use names of 1 to 256 characters."),
        ({"action": "tag", "tag": " "}, "Enter a tag, as name: value."),
    ],
)
def test_what_is_no_action_for_many_is_said_and_changes_nothing(
    page: Client, run: Run, given: dict[str, str], said: str
) -> None:
    answer = page.post("/t/default/runs/many/", {"run": [run.number, "x"], **given}, follow=True)
    assert said in answer.content.decode()
    run.refresh_from_db()
    assert (run.tags, run.archived_at) == ({}, None)
