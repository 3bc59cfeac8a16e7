"""The page Storage, and the rules for runs in a team's settings."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from deploy.storage.measurement import measure_team
from runs.files.folders import run_folder
from runs.models import Run
from runs.states import RunStatus
from tests.factories import make_run, make_team
from workspace.models import Team

pytestmark = pytest.mark.django_db
LOOK = "?experiment=digits"


@pytest.fixture
def run(team: Team, bob: User) -> Run:
    at = timezone.now() - timedelta(days=2)
    run = make_run(team, bob, status=RunStatus.COMPLETED, ended_at=at, name="<b>wide</b>")
    run_folder(run.pk).mkdir(parents=True)
    (run_folder(run.pk) / "weights").write_bytes(b"w" * 3_000_000)
    return run


@pytest.fixture
def member(client: Client, bob: User) -> Client:
    client.force_login(bob)
    return client


@pytest.fixture
def page(team: Team) -> str:
    return f"/t/{team.slug}/storage/"


def text(client: Client, address: str, status: int = 200) -> str:
    response = client.get(address)
    assert response.status_code == status
    return response.content.decode()


def test_it_shows_what_was_measured(member: Client, team: Team, run: Run, page: str) -> None:
    assert "Not measured yet" in text(member, page)
    measure_team(team.pk)
    shown = text(member, page)
    assert "3.00 MB" in shown
    assert "&lt;b&gt;wide&lt;/b&gt;" in shown


def test_runs_are_shown_before_they_are_deleted(member: Client, run: Run, page: str) -> None:
    assert "Delete 1 run " in text(member, page + LOOK)
    assert Run.objects.filter(deleted_at=None).exists()
    response = member.post(page, {"experiment": "digits"}, follow=True)
    assert "Deleted 1 run." in response.content.decode()
    assert not Run.objects.filter(deleted_at=None).exists()
    assert "No runs match" in text(member, page + LOOK)


def test_an_empty_selection_deletes_nothing_and_says_so(
    member: Client, run: Run, page: str
) -> None:
    response = member.post(page, {"experiment": ""})
    assert response.status_code == 422
    assert "Fill in at least one field" in response.content.decode()
    assert Run.objects.filter(deleted_at=None).exists()
    assert "Enter a whole number" in text(member, page + "?older_than_days=soon", 422)


def test_viewers_see_it_and_change_nothing(run: Run, page: str, client: Client, vera: User) -> None:
    client.force_login(vera)
    assert "Delete runs" not in text(client, page)
    assert client.post(page, {"experiment": "digits"}).status_code == 403
    assert client.post(f"{page}measure/").status_code == 403
    assert client.get(f"/t/{make_team().slug}/storage/").status_code == 404


def test_an_admin_sets_how_long_runs_are_kept(client: Client, team: Team, alice: User) -> None:
    client.force_login(alice)
    given = {"name": "Research", "snapshot_max_mb": 300, "snapshot_max_files": 2000}
    settings = f"/t/{team.slug}/settings/"
    client.post(settings, {**given, "keep_runs_days": "90", "keep_runs_gb": "0.5"})
    team.refresh_from_db()
    assert (team.keep_runs_days, team.keep_runs_bytes) == (90, 500_000_000)
    assert 'value="0.5"' in client.get(settings).content.decode()
    refused = client.post(settings, {**given, "keep_runs_days": "0", "keep_runs_gb": "-1"})
    assert refused.status_code == 422
    assert refused.content.decode().count('class="errors"') == 2
    client.post(settings, given)
    team.refresh_from_db()
    assert (team.keep_runs_days, team.keep_runs_bytes) == (None, None)
