"""What the daily maintenance removes, and what it leaves."""

from datetime import timedelta
from pathlib import Path

import django_rq
import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone
from pytest_django import Settings
from redis import Redis
from rq import SimpleWorker

from deploy import maintenance
from deploy.maintenance import request_maintenance, tidy_up
from deploy.models import LoggedRequest, Replica, ReplicaState, Revision, Service, Traffic
from runs.logs.log_file import folder_of
from runs.models import MetricChunk, MetricSeries, ProcessGroup, Run, RunEvent, UsageSample
from runs.states import RunStatus
from tests.deploy.conftest import RegisterModel
from tests.factories import make_environment, make_group, make_run
from workspace import retention
from workspace.models import AuditEntry, ComputeTarget, Environment, Installation, Team
from workspace.platform.broker import JobQueue

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
EACH = 25


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch, broker: Redis) -> None:
    monkeypatch.setattr(retention, "BATCH", 10)


@pytest.fixture(autouse=True)
def _tidied_up_before() -> None:
    Installation.objects.create(identity="this", purged_until=timezone.now())


def days(number: float) -> timedelta:
    return timedelta(days=number)


def ended_run(team: Team, ago: timedelta) -> Run:
    """Return a run that ended a while ago, with all that a run leaves."""
    at = timezone.now() - ago
    run = make_run(team, status=RunStatus.COMPLETED, ended_at=at)
    group = make_group(run)
    ProcessGroup.objects.filter(pk=group.pk).update(removed_at=at)
    folder_of(group.label).mkdir(parents=True)
    (folder_of(group.label) / "worker-0.log").write_text("hello\n")
    series = MetricSeries.objects.create(run=run, name="loss")
    MetricChunk.objects.bulk_create(
        MetricChunk(series=series, count=1, first_step=step, last_step=step, points=bytes(24))
        for step in range(EACH)
    )
    UsageSample.objects.bulk_create(
        UsageSample(process=group.processes.get(), at=at, cpus=1.0, memory_bytes=1)
        for _ in range(EACH)
    )
    RunEvent.objects.bulk_create(
        RunEvent(run=run, seq=seq, type="run.status") for seq in range(EACH)
    )
    return run


def kept_of(run: Run) -> tuple[int, int, int, bool]:
    group = run.attempts.get()
    return (
        MetricChunk.objects.filter(series__run=run).count(),
        UsageSample.objects.filter(process__group=group).count(),
        run.events.count(),
        folder_of(group.label).exists(),
    )


def test_points_events_and_logs_go_once_they_are_old_and_the_run_stays(
    team: Team, settings: Settings
) -> None:
    settings.TRAINYARD_KEEP_METRICS_DAYS = 10
    settings.TRAINYARD_KEEP_EVENTS_DAYS = 20
    settings.TRAINYARD_KEEP_LOGS_DAYS = 30
    runs = [ended_run(team, days(ago)) for ago in (40, 25, 15, 5)]
    going_on = make_run(team, status=RunStatus.RUNNING)
    RunEvent.objects.create(run=going_on, seq=1, type="run.status", at=timezone.now() - days(99))
    tidy_up()
    assert [kept_of(run) for run in runs] == [
        (0, 0, 0, False),
        (0, 0, 0, True),
        (0, 0, EACH, True),
        (EACH, EACH, EACH, True),
    ]
    assert going_on.events.count() == 1
    assert Run.objects.count() == 5


def set_clock(monkeypatch: pytest.MonkeyPatch, ahead: timedelta) -> None:
    wrong = timezone.now() + ahead
    monkeypatch.setattr(timezone, "now", lambda: wrong)


def test_a_clock_that_is_years_ahead_for_a_moment_deletes_no_history(
    team: Team, service: Service, settings: Settings
) -> None:
    settings.TRAINYARD_KEEP_METRICS_DAYS = 30
    settings.TRAINYARD_KEEP_EVENTS_DAYS = settings.TRAINYARD_KEEP_LOGS_DAYS = 30
    runs = [ended_run(team, days(ago)) for ago in (40, 29.5, 25)]
    AuditEntry.objects.create(team=team, action="a", subject="b")
    Traffic.objects.create(revision=service.revisions.get(), at=timezone.now(), source="a")
    for _ in range(2):
        with pytest.MonkeyPatch.context() as monkeypatch:
            set_clock(monkeypatch, days(3650))
            tidy_up()
    assert [kept_of(run) for run in runs] == [
        (0, 0, 0, False),
        (0, 0, 0, False),
        (EACH, EACH, EACH, True),
    ]
    assert AuditEntry.objects.exists()
    assert Traffic.objects.exists()
    tidy_up()
    assert Installation.objects.filter(purged_until__lte=timezone.now()).exists()
    assert kept_of(runs[2]) == (EACH, EACH, EACH, True)


def test_the_first_maintenance_only_begins_to_count(team: Team, settings: Settings) -> None:
    settings.TRAINYARD_KEEP_EVENTS_DAYS = 10
    Installation.objects.update(purged_until=None)
    run = ended_run(team, days(20))
    with pytest.MonkeyPatch.context() as monkeypatch:
        set_clock(monkeypatch, days(3650))
        tidy_up()
    assert run.events.count() == EACH
    tidy_up()
    assert run.events.count() == 0


def test_zero_days_keep_for_ever(team: Team, settings: Settings) -> None:
    for name in ("METRICS", "EVENTS", "LOGS", "AUDIT", "FAILED_JOBS", "ENVIRONMENTS"):
        setattr(settings, f"TRAINYARD_KEEP_{name}_DAYS", 0)
    run = ended_run(team, days(5000))
    AuditEntry.objects.create(team=team, action="a", subject="b", at=timezone.now() - days(5000))
    tidy_up()
    assert kept_of(run) == (EACH, EACH, EACH, True)
    assert AuditEntry.objects.exists()


def test_audit_entries_and_sessions_go_in_batches(team: Team, settings: Settings) -> None:
    settings.TRAINYARD_KEEP_AUDIT_DAYS = 10
    now = timezone.now()
    AuditEntry.objects.bulk_create(
        AuditEntry(team=team, action="run.submit", subject=str(ago), at=now - days(ago + 0.5))
        for ago in range(40, 0, -1)
    )
    Session.objects.bulk_create(
        Session(session_key=f"key-{ago}", session_data="", expire_date=now - days(ago) + days(10.5))
        for ago in range(40)
    )
    tidy_up()
    assert AuditEntry.objects.count() == 9
    assert Session.objects.count() == 11


def test_unused_environments_of_this_machine_go(team: Team, home: Path, settings: Settings) -> None:
    settings.TRAINYARD_KEEP_ENVIRONMENTS_DAYS = 10
    long_ago = timezone.now() - days(20)
    unused = make_environment(last_used_at=long_ago)
    used = make_environment(last_used_at=long_ago)
    make_run(team, environment=used)
    lately = make_environment(last_used_at=long_ago)
    make_run(team, environment=lately, status=RunStatus.FAILED, ended_at=timezone.now() - days(1))
    elsewhere = make_environment(last_used_at=long_ago, kind="docker")
    (home / unused.reference).mkdir(parents=True)
    tidy_up()
    assert set(Environment.objects.all()) == {used, lately, elsewhere}
    assert not (home / unused.reference).exists()


def test_failed_jobs_go(settings: Settings, broker: Redis) -> None:
    settings.TRAINYARD_KEEP_FAILED_JOBS_DAYS = 10
    queue = django_rq.get_queue(JobQueue.BUILDS)
    old, new = (queue.enqueue("builtins.int", text) for text in ("one", "two"))
    SimpleWorker([queue], connection=queue.connection).work(burst=True)
    old.refresh()
    old.ended_at = timezone.now() - days(11)
    old.save()
    tidy_up()
    assert queue.failed_job_registry.get_job_ids() == [new.id]
    assert queue.fetch_job(old.id) is None


@pytest.fixture
def service(team: Team, target: ComputeTarget, register: RegisterModel) -> Service:
    service = Service.objects.create(team=team, name="digits", target=target)
    Revision.objects.create(service=service, number=1, model_version=register())
    return service


def test_replicas_that_ended_long_ago_go_and_the_newest_stays(
    service: Service, settings: Settings
) -> None:
    settings.TRAINYARD_KEEP_REPLICAS_DAYS = 10
    revision = service.revisions.get()
    Replica.objects.filter(revision=revision).delete()
    ended_at = [timezone.now() - days(ago) for ago in (30, 20, 5, 20)]
    for number, at in enumerate(ended_at):
        group = ProcessGroup.objects.create(
            label=f"service-{service.pk}-{number}",
            team=service.team,
            target=service.target,
            removed_at=at,
        )
        folder_of(group.label).mkdir(parents=True)
        Replica.objects.create(
            revision=revision, number=number, group=group, state=ReplicaState.ENDED, ended_at=at
        )
    tidy_up()
    kept = Replica.objects.order_by("number").values_list("number", flat=True)
    assert list(kept) == [2, 3]
    assert [folder_of(f"service-{service.pk}-{n}").exists() for n in range(4)] == [
        False,
        False,
        True,
        True,
    ]


def ended_replica(service: Service, number: int, *, removed: bool = True) -> None:
    """Store a replica that ended 100 days ago, whose group its target may still have."""
    at = timezone.now() - days(100)
    group = ProcessGroup.objects.create(
        label=f"service-{service.pk}-{number}",
        team=service.team,
        target=service.target,
        removed_at=at if removed else None,
    )
    Replica.objects.create(
        revision=service.revisions.get(),
        number=number,
        group=group,
        state=ReplicaState.ENDED,
        ended_at=at,
    )


def test_a_replica_stays_until_its_group_can_go_as_well(service: Service) -> None:
    for number in range(1, 4):
        ended_replica(service, number, removed=number != 1)
    tidy_up()
    assert set(Replica.objects.values_list("number", flat=True)) == {1, 3}
    ProcessGroup.objects.update(removed_at=timezone.now() - days(99))
    tidy_up()
    assert set(Replica.objects.values_list("number", flat=True)) == {3}
    assert ProcessGroup.objects.count() == 1


def test_replicas_whose_groups_are_gone_go_as_well(service: Service) -> None:
    for number in range(1, 4):
        ended_replica(service, number)
    ProcessGroup.objects.all().delete()
    tidy_up()
    assert set(Replica.objects.values_list("number", flat=True)) == {3}


def test_the_newest_replica_of_each_service_stays(
    service: Service, team: Team, target: ComputeTarget
) -> None:
    other = Service.objects.create(team=team, name="other", target=target)
    version = service.revisions.get().model_version
    Revision.objects.create(service=other, number=1, model_version=version)
    for number in (1, 2, 3):
        ended_replica(service, number)
    ended_replica(other, 1)
    tidy_up()
    kept = Replica.objects.values_list("revision__service__name", "number")
    assert set(kept) == {("digits", 3), ("other", 1)}


def test_logged_requests_of_a_deleted_service_go(service: Service) -> None:
    LoggedRequest.objects.create(
        service=service, revision=service.revisions.get(), status=200, seconds=0.1, request="{}"
    )
    tidy_up()
    assert LoggedRequest.objects.exists()
    Service.objects.update(deleted_at=timezone.now() - days(8))
    tidy_up()
    assert not LoggedRequest.objects.exists()


def test_a_step_that_fails_keeps_no_other_from_its_work(
    team: Team, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[str] = []

    def trip() -> None:
        raise OSError("disk")

    monkeypatch.setattr(maintenance, "STEPS", (trip, lambda: done.append("next")))
    tidy_up()
    assert done == ["next"]
    assert "trip" in caplog.text


def test_it_is_asked_for_once_a_day_however_often_the_supervisor_starts(broker: Redis) -> None:
    for _ in range(3):
        request_maintenance()
    queue = django_rq.get_queue(JobQueue.MAINTENANCE)
    assert [job.func_name for job in queue.jobs] == [maintenance.JOB]
    queue.empty()
    request_maintenance()
    assert queue.count == 0
    broker.delete(maintenance.REQUESTED_KEY)
    request_maintenance()
    assert queue.count == 1
