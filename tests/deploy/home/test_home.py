"""A team's home: what runs, waits and fails, what is free, and what needs attention."""

import shutil
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from deploy.models import Revision, Service, ServiceState, Traffic
from models.models import ModelVersion, RegisteredModel
from runs.models import Run
from runs.states import EndReason, RunStatus
from tests.factories import make_environment, make_group, make_run, make_target, make_team
from workspace.accounts.services import invite
from workspace.models import EnvironmentState, Experiment, Role, TargetOffer, Team

pytestmark = pytest.mark.usefixtures("broker")
HOME = "/t/default/"


@pytest.fixture
def page(client: Client, bob: User) -> Client:
    client.force_login(bob)
    return client


def failed_run(team: Team, by: User, message: str = "It broke.", days_ago: int = 0) -> Run:
    return make_run(
        team,
        by,
        RunStatus.FAILED,
        end_reason=EndReason.PROCESS_FAILED,
        end_detail={"message": message},
        ended_at=timezone.now() - timedelta(days=days_ago),
    )


def make_service(team: Team, state: ServiceState = ServiceState.HEALTHY) -> Service:
    model = RegisteredModel.objects.create(team=team, name="digits")
    version = ModelVersion.objects.create(
        model=model, version=1, framework_version="2.21", file_count=1, total_bytes=1
    )
    target = make_target(team, "serving")
    service = Service.objects.create(team=team, name="digits", target=target, state=state)
    Revision.objects.create(service=service, number=1, model_version=version)
    return service


def test_a_new_team_sees_its_next_step_in_place_of_empty_lists(page: Client, team: Team) -> None:
    text = page.get(HOME).text
    assert "Upload and submit" in text
    assert "examples/keras-single" in text
    assert "Nothing is running." not in text


def test_a_new_team_without_targets_says_who_can_add_one(
    page: Client, client: Client, alice: User
) -> None:
    assert "Ask an admin of the team to create one." in page.get(HOME).text
    client.force_login(alice)
    assert "/t/default/new-target/" in client.get(HOME).text


def test_it_shows_what_runs_what_waits_and_why_and_what_failed_and_why(
    page: Client, team: Team, bob: User
) -> None:
    make_run(team, bob, RunStatus.RUNNING, name="the first", starting_at=timezone.now())
    make_run(team, bob, wait_reason="Needs 8 GPUs; 2 of 8 GPUs are free.")
    failed_run(team, bob, "worker-0 exited with code 3.")
    text = page.get(HOME).text
    assert "the first" in text
    assert "Needs 8 GPUs; 2 of 8 GPUs are free." in text
    assert "worker-0 exited with code 3." in text


def test_it_leaves_out_runs_that_are_archived_deleted_long_over_or_of_another_team(
    page: Client, team: Team, bob: User, charlie: User
) -> None:
    now = timezone.now()
    make_run(team, bob, RunStatus.RUNNING, name="archived run", archived_at=now)
    make_run(team, bob, RunStatus.COMPLETED, name="deleted run", deleted_at=now)
    failed_run(team, bob, "Broke long ago.", days_ago=8)
    failed_run(make_team("others", admin=charlie), charlie, "Broke elsewhere.")
    text = page.get(HOME).text
    for absent in ("archived run", "deleted run", "Broke long ago.", "Broke elsewhere."):
        assert absent not in text


def test_the_address_keeps_whose_runs_are_shown(
    page: Client, team: Team, bob: User, alice: User
) -> None:
    make_run(team, bob, RunStatus.RUNNING, name="run of Bob")
    make_run(team, alice, RunStatus.RUNNING, name="run of Alice")
    both, mine = page.get(HOME).text, page.get(f"{HOME}?runs=mine").text
    assert "run of Bob" in both
    assert "run of Alice" in both
    assert "run of Bob" in mine
    assert "run of Alice" not in mine
    assert 'hx-get="?runs=mine"' in mine


def test_the_page_asks_for_its_content_alone(page: Client, team: Team, bob: User) -> None:
    make_run(team, bob, RunStatus.RUNNING)
    part = page.get(HOME, headers={"HX-Request": "true"}).text
    assert "Running" in part
    assert "<html" not in part


def test_it_shows_services_with_errors_or_that_are_not_healthy(page: Client, team: Team) -> None:
    service = make_service(team)
    assert "No errors in the last hour" in page.get(HOME).text
    revision = service.revisions.get()
    now = timezone.now()
    Traffic.objects.create(revision=revision, at=now, source="a", requests=50, errors=2)
    old = now - timedelta(hours=2)
    Traffic.objects.create(revision=revision, at=old, source="a", requests=9, errors=9)
    assert "2 errors in 50 requests of the last hour" in page.get(HOME).text
    Traffic.objects.all().delete()
    Service.objects.update(state=ServiceState.UNHEALTHY, state_reason="A replica is gone.\nMore")
    text = page.get(HOME).text
    assert "A replica is gone." in text
    assert "More" not in text.partition("A replica is gone.")[2].partition("</section>")[0]


def test_a_service_that_people_stopped_is_no_trouble(page: Client, team: Team) -> None:
    make_service(team, ServiceState.STOPPED)
    Service.objects.update(is_wanted=False)
    assert "No errors in the last hour" in page.get(HOME).text


def test_it_shows_what_needs_attention(page: Client, team: Team, bob: User) -> None:
    now = timezone.now()
    engine = make_target(
        team,
        "engine",
        kind="docker",
        address="unix:///nowhere/docker.sock",
        unreachable_since=now,
        unreachable_reason="It does not answer.",
    )
    make_run(team, bob, RunStatus.RUNNING, target=engine, hung_since=now)
    broken = make_environment(EnvironmentState.FAILED)
    make_run(team, bob, RunStatus.COMPLETED, environment=broken)
    text = page.get(HOME).text
    assert "Compute target engine is unreachable" in text
    assert "It does not answer." in text
    assert "Run #1 makes no progress" in text
    assert f"/t/default/environments/{broken.pk}/" in text


def test_a_disk_that_is_nearly_full_needs_attention(
    page: Client, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "disk is nearly full" not in page.get(HOME).text
    full = SimpleNamespace(total=100 * 10**9, used=99 * 10**9, free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    assert "1.00 GB of 100 GB are free." in page.get(HOME).text


def test_what_only_admins_can_do_is_for_their_attention_alone(
    client: Client, team: Team, alice: User, bob: User, charlie: User
) -> None:
    invite(team=team, role=Role.MEMBER, by=alice)
    others = make_team("others", admin=charlie)
    TargetOffer.objects.create(target=make_target(others, "theirs"), to=team.slug)
    client.force_login(alice)
    text = client.get(HOME).text
    assert "1 invitation is open" in text
    assert "Others offers the compute target theirs" in text
    client.force_login(bob)
    assert "Needs attention" not in client.get(HOME).text


def test_viewers_see_it_without_what_they_cannot_do(
    client: Client, team: Team, bob: User, vera: User
) -> None:
    client.force_login(vera)
    assert "Upload and submit" not in client.get(HOME).text
    make_run(team, bob, RunStatus.RUNNING, name="seen by Vera")
    text = client.get(HOME).text
    assert "seen by Vera" in text
    assert "/runs/new/" not in text


def test_it_is_there_for_the_team_alone(client: Client, team: Team, charlie: User) -> None:
    assert client.get(HOME).headers["Location"].startswith("/login/")
    client.force_login(charlie)
    assert client.get(HOME).status_code == 404


def test_the_start_page_leads_to_the_team_looked_at_last(
    page: Client, team: Team, bob: User
) -> None:
    make_team("another", member=bob)
    page.get("/t/default/runs/")
    assert page.get("/").headers["Location"] == HOME
    page.get("/t/another/runs/")
    assert page.get("/").headers["Location"] == "/t/another/"


def test_more_of_everything_takes_no_more_queries(page: Client, team: Team, bob: User) -> None:
    def add_some() -> None:
        for _ in range(4):
            experiment = Experiment.objects.create(team=team, name=f"e{Experiment.objects.count()}")
            target = make_target(team, f"t{Run.objects.count()}")
            running = make_run(team, bob, RunStatus.RUNNING, experiment=experiment, target=target)
            make_group(running)
            make_run(team, bob, RunStatus.RUNNING, hung_since=timezone.now())
            make_run(team, bob)
            failed_run(team, bob)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert page.get(HOME).status_code == 200
        return len(captured)

    make_service(team)
    add_some()
    queries()  # what is read once only
    few = queries()
    add_some()
    add_some()
    assert queries() <= few <= 30
