"""A target whose secrets were encrypted with another SECRET_KEY is in trouble alone."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from redis import Redis

from runs.models import Run
from runs.states import RunStatus
from runs.supervision.reconciler import RunReconciler
from tests.factories import bearer, make_environment, make_group, make_run, make_target
from tests.fakes import FakeBackend
from tests.waiting import wait_for
from workspace.compute.base import Backend, Node
from workspace.models import ComputeTarget, Team
from workspace.targets.poller import poll_all_targets

REASON = "SECRET_KEY has changed"
REMEDY = "Enter the certificates and passwords of the compute target again."


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    """Make every target that can be reached at all a fake one."""
    fake = FakeBackend()
    monkeypatch.setattr("workspace.targets.backends.make_backend", lambda kind, access: fake)
    return fake


@pytest.fixture
def broken(team: Team) -> ComputeTarget:
    return make_target(
        team,
        "broken",
        kind="docker",
        address="tcp://192.0.2.1:2376",
        encrypted_tls_key="of another",
    )


def tick(run: Run) -> Run:
    RunReconciler().tick()
    run.refresh_from_db()
    return run


@pytest.mark.django_db
@pytest.mark.parametrize(
    "status", [RunStatus.QUEUED, RunStatus.PREPARING, RunStatus.RUNNING, RunStatus.FINALIZING]
)
def test_the_supervisor_goes_on_with_all_other_targets(
    team: Team, bob: User, broken: ComputeTarget, fake: Backend, broker: Redis, status: RunStatus
) -> None:
    reason = "completed" if status == RunStatus.FINALIZING else ""
    stuck = make_run(team, bob, status, target=broken, end_reason=reason)
    if status not in {RunStatus.QUEUED, RunStatus.PREPARING}:
        make_group(stuck)
    environment = make_environment()
    well = make_run(team, bob, target=make_target(team, "well"), environment=environment)
    for _ in range(3):  # one learns of it, one asks again, one comes after a restart
        tick(well)
    assert well.status == RunStatus.STARTING
    assert tick(stuck).status == status
    broken.refresh_from_db()
    assert REASON in broken.unreachable_reason


@pytest.mark.django_db
def test_a_run_that_waits_for_it_says_why(
    team: Team, bob: User, broken: ComputeTarget, fake: Backend, broker: Redis
) -> None:
    run = make_run(team, bob, target=broken)
    assert REASON in tick(run).wait_reason


@pytest.mark.django_db
def test_its_page_says_why_and_what_to_do(
    client: Client, team: Team, alice: User, broken: ComputeTarget, broker: Redis
) -> None:
    client.force_login(alice)
    pages = [f"/t/{team.slug}/targets/{broken.name}/{tab}" for tab in ("", "test/", "settings/")]
    for page in pages:
        shown = client.get(page)
        assert shown.status_code == 200
    assert REMEDY in client.get(pages[0]).content.decode()
    answer = client.get(f"/api/v1/teams/{team.slug}/targets/broken", headers=bearer(alice))
    assert REMEDY in answer.json()["problem"]


@pytest.mark.django_db
def test_the_poller_looks_at_the_others(
    team: Team,
    broken: ComputeTarget,
    fake: FakeBackend,
    broker: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = make_target(team, "other", kind="docker", address="tcp://192.0.2.2:2375", pool="known")
    asked: list[str] = []

    def check() -> list[Node]:
        asked.append(other.name)
        return []

    monkeypatch.setattr(fake, "check", check)
    poll_all_targets()
    assert asked == ["other"]


@pytest.mark.django_db
def test_once_the_key_is_given_again_it_answers(
    team: Team, bob: User, broken: ComputeTarget, fake: Backend, broker: Redis
) -> None:
    run = make_run(team, bob, target=broken, environment=make_environment())
    tick(run)
    ComputeTarget.objects.filter(pk=broken.pk).update(encrypted_tls_key="")
    broken.refresh_from_db()
    supervisor = RunReconciler()

    def is_started() -> bool:
        supervisor.tick()
        run.refresh_from_db()
        return run.status == RunStatus.STARTING

    wait_for(is_started, "the run to start")
