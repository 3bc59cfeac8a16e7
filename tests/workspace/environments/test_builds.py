"""How environments are asked for, built once, taken up again, and removed."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from redis import Redis

from runs.models import ProcessGroup
from tests.factories import make_environment, make_group, make_run
from tests.waiting import wait_for
from workspace.compute.access import ImageLogin
from workspace.compute.base import EnvironmentBuildFailed, TargetUnreachable
from workspace.compute.environment_spec import EnvironmentSpec
from workspace.compute.local import virtualenvs
from workspace.environments import jobs, services
from workspace.environments.services import (
    decrypted_login,
    encrypted_login,
    enqueue_build,
    get_or_create,
    login_fingerprint,
)
from workspace.models import ComputeTarget, Environment, EnvironmentState, Team
from workspace.platform import background_jobs
from workspace.platform.errors import Conflict
from workspace.targets.backends import backend_of

SPEC = EnvironmentSpec.of("2.21")
LOCAL = ComputeTarget(name="local", kind="local")


def with_files(environment: Environment, home: Path) -> Environment:
    python = home / environment.reference.partition("@")[0] / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    return environment


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave TensorFlow out of what is built."""
    packages = property(lambda spec: list(spec.packages))
    monkeypatch.setattr(EnvironmentSpec, "requirements", packages)


@pytest.mark.django_db
def test_equal_specifications_share_one_environment(team: Team) -> None:
    first = get_or_create(LOCAL, SPEC, team)
    assert first.state == EnvironmentState.PENDING
    assert get_or_create(LOCAL, EnvironmentSpec.of("2.21"), team) == first


@pytest.mark.django_db
@pytest.mark.parametrize(("seconds", "state"), [(90, "pending"), (5, "failed")])
def test_a_failed_environment_is_tried_again_after_a_while(
    team: Team, seconds: int, state: str
) -> None:
    get_or_create(LOCAL, SPEC, team)
    Environment.objects.update(
        state=EnvironmentState.FAILED, built_at=timezone.now() - timedelta(seconds=seconds)
    )
    assert get_or_create(LOCAL, SPEC, team).state == state


@pytest.mark.django_db
def test_teams_share_no_environment_where_there_are_no_containers(team: Team) -> None:
    other = Team.objects.create(name="Others", slug="others")
    assert get_or_create(LOCAL, SPEC, team) != get_or_create(LOCAL, SPEC, other)


@pytest.mark.django_db
def test_an_environment_whose_files_are_gone_is_built_again(team: Team, home: Path) -> None:
    environment = make_environment(digest=SPEC.digest(f"local {team.pk}"))
    assert get_or_create(LOCAL, SPEC, team).state == EnvironmentState.PENDING
    Environment.objects.update(state=EnvironmentState.READY, reference=environment.reference)
    with_files(environment, home)
    assert get_or_create(LOCAL, SPEC, team).state == EnvironmentState.READY


@pytest.mark.django_db(transaction=True)
def test_asking_often_queues_one_build(team: Team, broker: Redis) -> None:
    environment = get_or_create(LOCAL, SPEC, team)
    for _ in range(3):
        enqueue_build(environment)
    assert broker.llen("rq:queue:builds") == 1


@pytest.mark.django_db(transaction=True)
def test_a_build_is_asked_for_again_when_its_worker_died_as_it_took_it(
    team: Team, broker: Redis
) -> None:
    environment = get_or_create(LOCAL, SPEC, team)
    enqueue_build(environment)
    broker.lpop("rq:queue:builds")
    enqueue_build(environment)
    assert broker.llen("rq:queue:builds") == 1


@pytest.mark.django_db(transaction=True)
def test_a_broker_that_is_away_harms_nothing(
    team: Team, settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.RQ_QUEUES = {"builds": {"URL": "unix:///nonexistent/valkey.sock"}}
    enqueue_build(get_or_create(LOCAL, SPEC, team))
    assert "the broker is unreachable" in caplog.text


@pytest.mark.django_db(transaction=True)
@pytest.mark.processes
def test_a_build_makes_a_virtualenv_and_tells_what_is_in_it(
    team: Team, home: Path, small: None
) -> None:
    environment = get_or_create(LOCAL, EnvironmentSpec.of("2.21", packages=["six==1.17.0"]), team)
    jobs.build_environment(environment.pk)
    environment.refresh_from_db()
    assert environment.state == EnvironmentState.READY, environment.error
    assert environment.packages == {"six": "1.17.0"}
    assert environment.size_bytes > 10_000
    assert backend_of(environment).has_environment(environment.reference)
    assert b"six==1.17.0" in services.log_path(environment).read_bytes()
    assert not list((home / "environments").glob(".building-*"))


@pytest.mark.django_db(transaction=True)
@pytest.mark.processes
def test_a_failed_build_tells_in_the_resolvers_words(team: Team, home: Path, small: None) -> None:
    environment = get_or_create(LOCAL, EnvironmentSpec.of("2.21", packages=["six==99.0"]), team)
    jobs.build_environment(environment.pk)
    environment.refresh_from_db()
    assert environment.state == EnvironmentState.FAILED
    assert "six==99.0" in environment.error
    assert "No solution found" in environment.error
    assert not (home / "environments" / environment.digest).exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.processes
def test_a_python_that_is_nowhere_is_named(
    team: Team, home: Path, small: None, monkeypatch
) -> None:
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    environment = get_or_create(LOCAL, EnvironmentSpec.of("2.21", python="3.7"), team)
    jobs.build_environment(environment.pk)
    environment.refresh_from_db()
    assert environment.state == EnvironmentState.FAILED
    assert (
        "Python 3.7 was not found on this machine and could not be downloaded" in environment.error
    )


@pytest.mark.django_db(transaction=True)
def test_one_of_two_workers_builds(team: Team, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Path] = []

    def build(folder: Path, spec: EnvironmentSpec, log: object) -> None:
        built.append(folder)
        jobs.build_environment(environment.pk)
        raise EnvironmentBuildFailed("enough")

    monkeypatch.setattr(virtualenvs, "build", build)
    environment = get_or_create(LOCAL, SPEC, team)
    jobs.build_environment(environment.pk)
    assert len(built) == 1


@pytest.mark.django_db(transaction=True)
def test_a_build_that_trips_is_no_endless_building(
    team: Team, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trip(folder: Path, spec: EnvironmentSpec, log: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(virtualenvs, "build", trip)
    environment = get_or_create(LOCAL, SPEC, team)
    jobs.build_environment(environment.pk)
    environment.refresh_from_db()
    assert environment.state == EnvironmentState.FAILED
    assert "No space left on device" in environment.error


@pytest.mark.django_db
@pytest.mark.parametrize(("timeout", "state"), [(0, "pending"), (15, "building")])
def test_a_build_whose_worker_is_gone_is_taken_up_again(
    timeout: int, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = make_environment(EnvironmentState.BUILDING, heartbeat_at=timezone.now())
    monkeypatch.setattr(background_jobs, "HEARTBEAT_TIMEOUT", timedelta(seconds=timeout))
    services.requeue_abandoned_builds()
    environment.refresh_from_db()
    assert environment.state == state


@pytest.mark.django_db
def test_an_environment_in_use_stays(team: Team, home: Path) -> None:
    environment = with_files(make_environment(), home)
    run = make_run(team, environment=environment)
    with pytest.raises(Conflict):
        services.remove_environment(environment)
    type(run).objects.update(ended_at=timezone.now())
    group = make_group(run)
    with pytest.raises(Conflict):
        services.remove_environment(environment)
    ProcessGroup.objects.filter(pk=group.pk).update(removed_at=timezone.now())
    services.remove_environment(environment)
    assert not Environment.objects.exists()
    assert not backend_of(environment).has_environment(environment.reference)


@pytest.mark.django_db
def test_a_failed_environment_is_built_again_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = make_environment(EnvironmentState.FAILED, error="no")
    services.retry_build(environment)
    assert environment.state == EnvironmentState.PENDING
    assert not environment.error


@pytest.mark.django_db
def test_a_build_is_given_up_when_all_who_waited_gave_up(team: Team) -> None:
    environment = make_environment(EnvironmentState.BUILDING)
    first, second = make_run(team, environment=environment), make_run(team, environment=environment)
    assert not services.is_build_abandoned(environment)
    type(first).objects.filter(pk=first.pk).update(cancel_requested_at=timezone.now())
    assert not services.is_build_abandoned(environment)
    type(second).objects.filter(pk=second.pk).update(cancel_requested_at=timezone.now())
    assert services.is_build_abandoned(environment)
    Environment.objects.update(last_used_at=timezone.now())
    assert not services.is_build_abandoned(environment)


@pytest.mark.django_db(transaction=True)
def test_canceling_the_last_run_that_waits_stops_the_build(
    home: Path, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background_jobs, "HEARTBEAT_SECONDS", 0.05)
    ended: list[bool] = []

    def build(folder: Path, spec: EnvironmentSpec, log: Callable[[bytes], object]) -> None:
        run = make_run(team, environment=environment)
        log(b"Installing.\n")
        type(run).objects.filter(pk=run.pk).update(cancel_requested_at=timezone.now())
        try:
            wait_for(lambda: log(b""), "the end of the build")
        finally:
            ended.append(True)

    monkeypatch.setattr(virtualenvs, "build", build)
    environment = get_or_create(LOCAL, SPEC, team)
    jobs.build_environment(environment.pk)
    environment.refresh_from_db()
    assert ended
    assert environment.state == EnvironmentState.PENDING
    assert "nothing waits" in services.log_path(environment).read_text()


@pytest.mark.django_db(transaction=True)
def test_a_target_that_does_not_answer_is_no_failed_build(
    team: Team, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(*args: object) -> None:
        raise TargetUnreachable("The engine does not answer.")

    monkeypatch.setattr(virtualenvs, "build", build)
    environment = get_or_create(LOCAL, SPEC, team)
    jobs.build_environment(environment.pk)
    environment.refresh_from_db()
    assert environment.state == EnvironmentState.PENDING
    assert environment.error == "The engine does not answer."


def test_logins_of_images_are_told_apart_and_not_told() -> None:
    first, second = ImageLogin("ana", "open"), ImageLogin("ana", "sesame")
    assert login_fingerprint(first) != login_fingerprint(second)
    assert login_fingerprint(first) == login_fingerprint(ImageLogin("ana", "open"))
    assert login_fingerprint(None) == ""
    assert decrypted_login(encrypted_login(first)) == first
    assert "ana" not in encrypted_login(first)
    spec = EnvironmentSpec.of("2.21", image="mine:1")
    marked = EnvironmentSpec.of("2.21", image="mine:1", image_login=login_fingerprint(first))
    assert spec.digest("pool") != marked.digest("pool")
