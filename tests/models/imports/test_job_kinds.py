"""What holds for every kind of job that workers do for a row: builds, imports."""

import io
import time
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest
from django.utils import timezone
from redis import Redis

from models.imports import keras_files
from models.imports.execution import IMPORT, recover_abandoned
from models.imports.jobs import import_keras_file
from models.models import ModelImport
from models.registration import Registration
from tests.factories import make_environment
from tests.waiting import wait_for
from workspace.compute.base import BackendError
from workspace.environments.services import BUILD
from workspace.models import EnvironmentState, Team
from workspace.platform import background_jobs
from workspace.platform.background_jobs import JobFailed, JobKind, JobPostponed, LogWriter, run_job

pytestmark = pytest.mark.django_db(transaction=True)
Row = Any


@pytest.fixture(params=[BUILD, IMPORT], ids=["build", "import"])
def kind(request: pytest.FixtureRequest, home: Path) -> JobKind[Any]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def row(kind: JobKind[Any], team: Team) -> Row:
    if kind is BUILD:
        return make_environment(EnvironmentState.PENDING)
    return ModelImport.objects.create(team=team, number=1, filename="digits.keras", registration={})


def raising(error: Exception) -> Callable[[Row, LogWriter], dict[str, Any]]:
    def work(row: Row, write_log: LogWriter) -> dict[str, Any]:
        raise error

    return work


def test_a_job_runs_once_with_a_log(kind: JobKind[Any], row: Row) -> None:
    seen: list[tuple[str, bool]] = []

    def work(same: Row, write_log: LogWriter) -> dict[str, Any]:
        seen.append((same.state, same.heartbeat_at is not None))
        write_log(b"Working.\n")
        run_job(kind, row.pk, work)
        return {}

    run_job(kind, row.pk, work)
    run_job(kind, row.pk, work)
    row.refresh_from_db()
    assert seen == [(kind.running, True)]
    assert (row.state, row.error, row.heartbeat_at) == (kind.done, "", None)
    assert getattr(row, kind.ended_at) is not None
    assert kind.log_path(row).read_bytes() == b"Working.\n"


@pytest.mark.parametrize(
    ("error", "ends_as", "words"),
    [
        (JobFailed("no TensorFlow reads it"), "failed", "no TensorFlow reads it"),
        (BackendError("no such image"), "failed", "no such image"),
        (OSError("disk full"), "failed", "Unexpected error: disk full"),
        (KeyError(), "failed", "Unexpected error: KeyError"),
        (JobPostponed("the target is unreachable"), "waiting", "the target is unreachable"),
    ],
    ids=["failed", "backend", "unexpected", "wordless", "postponed"],
)
def test_a_job_that_cannot_be_done_says_why(
    kind: JobKind[Any], row: Row, error: Exception, ends_as: str, words: str
) -> None:
    run_job(kind, row.pk, raising(error))
    row.refresh_from_db()
    assert (row.state, row.error) == (getattr(kind, ends_as), words)
    assert row.heartbeat_at is None


class GoOn(Protocol):
    def __call__(self, seconds: int, looks: int = 0) -> None: ...


@pytest.fixture
def go_on(kind: JobKind[Any], monkeypatch: pytest.MonkeyPatch) -> GoOn:
    """Let time pass while a supervisor looks, each second unless said."""
    now = [time.monotonic()]
    monkeypatch.setattr("workspace.platform.clock.time.monotonic", lambda: now[0])

    def pass_by(seconds: int, looks: int = 0) -> None:
        for _ in range(looks or seconds):
            now[0] += seconds / (looks or seconds)
            kind.abandoned()

    return pass_by


def test_a_killed_worker_leaves_a_job_that_is_found_abandoned(
    kind: JobKind[Any], row: Row, go_on: GoOn
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_job(kind, row.pk, raising(KeyboardInterrupt()))  # type: ignore[arg-type]
    assert not kind.abandoned()
    go_on(16)
    assert [found.pk for found in kind.abandoned()] == [row.pk]


@pytest.mark.parametrize("step", [timedelta(hours=1), -timedelta(hours=1)], ids=["ahead", "back"])
def test_a_step_of_the_wall_clock_abandons_no_job_and_hides_none(
    kind: JobKind[Any], row: Row, step: timedelta, go_on: GoOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kind.claim(row.pk)
    assert not kind.abandoned()
    kind.model._default_manager.update(heartbeat_at=timezone.now())  # its last, not seen yet
    now = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: now + step)
    assert not kind.abandoned()
    go_on(16)
    assert [found.pk for found in kind.abandoned()] == [row.pk]


def test_jobs_outlast_a_time_in_which_nobody_could_write_or_look(
    kind: JobKind[Any], row: Row, go_on: GoOn
) -> None:
    assert kind.claim(row.pk)
    go_on(3)
    go_on(600, looks=1)
    assert not kind.abandoned()


def test_a_job_is_not_taken_from_a_worker_that_was_heard_of_since(
    kind: JobKind[Any], row: Row, go_on: GoOn
) -> None:
    assert kind.claim(row.pk)
    go_on(16)
    (found,) = kind.abandoned()
    kind.model._default_manager.update(heartbeat_at=timezone.now())
    assert not kind.take_from(found, state=kind.failed)
    row.refresh_from_db()
    assert row.state == kind.running


def test_the_end_of_a_former_attempt_is_dropped(kind: JobKind[Any], row: Row) -> None:
    """A worker that was taken for dead fails late, after another one succeeded."""

    def taken_for_dead() -> None:
        kind.rows(kind.running).update(state=kind.waiting)  # as who looks after the kind does

    def slow(same: Row, write_log: LogWriter) -> dict[str, Any]:
        write_log(b"First.\n")
        taken_for_dead()
        run_job(kind, row.pk, quick)
        write_log(b"Still here.\n")
        raise JobFailed("too late")

    def quick(same: Row, write_log: LogWriter) -> dict[str, Any]:
        write_log(b"Second.\n")
        return {}

    run_job(kind, row.pk, slow)
    row.refresh_from_db()
    assert (row.state, row.error, row.attempt) == (kind.done, "", 2)
    assert kind.log_path(row).read_bytes() == b"Second.\n"


def test_a_former_attempt_that_succeeds_late_is_dropped_while_the_next_one_works(
    kind: JobKind[Any], row: Row
) -> None:
    def first(same: Row, write_log: LogWriter) -> dict[str, Any]:
        kind.rows(kind.running).update(state=kind.waiting)
        assert kind.claim(row.pk) is not None  # by another worker, which goes on
        return {}

    run_job(kind, row.pk, first)
    row.refresh_from_db()
    assert (row.state, row.attempt) == (kind.running, 2)
    assert row.heartbeat_at is not None


def test_a_former_attempt_stops_at_its_next_line_of_log(
    kind: JobKind[Any], row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background_jobs, "HEARTBEAT_SECONDS", 0.05)
    stopped: list[bool] = []

    def work(same: Row, write_log: LogWriter) -> dict[str, Any]:
        kind.rows(kind.running).update(state=kind.waiting)
        try:
            wait_for(lambda: write_log(b""), "the end of the attempt")
        finally:
            stopped.append(True)
        return {}

    run_job(kind, row.pk, work)
    row.refresh_from_db()
    assert stopped
    assert (row.state, row.error) == (kind.waiting, "")


def test_a_job_is_queued_once_until_it_is_taken(
    kind: JobKind[Any], row: Row, broker: Redis
) -> None:
    kind.enqueue(row.pk)
    kind.enqueue(row.pk)
    assert broker.llen(f"rq:queue:{kind.queue}") == 1
    broker.lpop(f"rq:queue:{kind.queue}")
    kind.enqueue(row.pk)
    assert broker.llen(f"rq:queue:{kind.queue}") == 1


@pytest.mark.parametrize("hours", [-1, 0, 1])
def test_a_job_that_the_queue_lost_is_queued_again_whatever_the_clock_says(
    broker: Redis, team: Team, home: Path, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    lost = ModelImport.objects.create(team=team, number=1, filename="a.keras", registration={})
    recover_abandoned()
    queued = f"rq:queue:{IMPORT.queue}"
    assert broker.llen(queued) == 0
    wrong = timezone.now() + timedelta(hours=hours)
    monkeypatch.setattr(timezone, "now", lambda: wrong)
    recover_abandoned()
    assert broker.llen(queued) == 0
    later = time.monotonic() + 16
    monkeypatch.setattr("workspace.platform.clock.time.monotonic", lambda: later)
    recover_abandoned()
    assert broker.lrange(queued, 0, -1) == [f"modelimport-{lost.pk}".encode()]


def test_only_the_first_of_many_lost_jobs_are_queued_again_at_once(
    broker: Redis, team: Team, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.imports.execution.ENQUEUED_AT_ONCE", 2)
    first, second, third = (
        ModelImport.objects.create(team=team, number=number, filename="a.keras", registration={})
        for number in (1, 2, 3)
    )
    monkeypatch.setattr("models.imports.execution.HEARTBEAT_TIMEOUT", timedelta(0))
    queued = f"rq:queue:{IMPORT.queue}"

    def jobs() -> set[bytes | str]:
        recover_abandoned()
        return set(broker.lrange(queued, 0, -1))

    assert jobs() == {f"modelimport-{one.pk}".encode() for one in (first, second)}
    broker.delete(queued)
    ModelImport.objects.filter(pk=first.pk).update(state=IMPORT.done)
    assert jobs() == {f"modelimport-{one.pk}".encode() for one in (second, third)}


@pytest.mark.parametrize("is_abandoned", [True, False], ids=["taken for dead", "alive"])
def test_an_import_that_is_taken_for_dead_registers_nothing(
    home: Path, team: Team, monkeypatch: pytest.MonkeyPatch, is_abandoned: bool
) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("config.json", "{}")
    import_ = keras_files.start_import(
        team=team,
        by=None,
        file=content,
        filename="digits.keras",
        registration=Registration(name="digits"),
        allows_code=False,
    )

    def convert(*args: object) -> dict[str, Any]:
        if is_abandoned:
            with monkeypatch.context() as patched:
                patched.setattr(background_jobs, "HEARTBEAT_TIMEOUT", timedelta(0))
                recover_abandoned()
        return {}

    registered: list[str] = []
    monkeypatch.setattr(keras_files, "run_converter", convert)
    monkeypatch.setattr(
        keras_files, "register_from_folder", lambda **how: registered.append(how["path"])
    )
    import_keras_file(import_.pk)
    assert registered == ([] if is_abandoned else ["digits.keras"])
    import_.refresh_from_db()
    assert import_.state == ("failed" if is_abandoned else "done")
