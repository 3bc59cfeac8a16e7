"""Trials of compute targets: asked for by people, made by a worker, told by way of the broker."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import django_rq
from django.conf import settings
from django.contrib.auth.models import User
from redis.exceptions import RedisError

from workspace.audit import audit
from workspace.compute.abilities import RunsConnectionTests
from workspace.compute.base import BackendError
from workspace.compute.connection_test import ConnectionStep, ServerAddress, StepOutcome
from workspace.models import ComputeTarget
from workspace.platform import broker
from workspace.platform.errors import DomainError, Unavailable
from workspace.targets.backends import backend_for
from workspace.targets.pools import refresh_pool
from workspace.targets.states import poll_targets

CONNECTION_TEST_JOB = "workspace.targets.connection_test.connection_test_job"
CONNECTION_TEST_TIMEOUT_SECONDS = 900
KEPT_SECONDS = 24 * 3600
LOST_AFTER_SECONDS = 200.0
LOOK_EVERY_SECONDS = 0.05


@dataclass(frozen=True)
class ConnectionTest:
    """How far a connection test is: `at` is when that was written, in seconds of the clock."""

    at: float
    is_over: bool
    steps: tuple[ConnectionStep, ...] = ()

    @property
    def is_lost(self) -> bool:
        """Return whether the worker that made it is gone."""
        return not self.is_over and time.time() - self.at > LOST_AFTER_SECONDS

    @property
    def is_running(self) -> bool:
        return not (self.is_over or self.is_lost)

    @property
    def works(self) -> bool:
        return self.is_over and all(step.outcome != StepOutcome.FAILED for step in self.steps)


def request_connection_test(target: ComputeTarget, *, by: User) -> ConnectionTest:
    """Have a worker try a target now, unless one does already."""
    known = latest_connection_test(target)
    if known and known.is_running:
        return known
    asked = ConnectionTest(time.time(), is_over=False)
    try:
        _keep(target, asked)
        django_rq.get_queue().enqueue(
            CONNECTION_TEST_JOB,
            target.pk,
            job_timeout=CONNECTION_TEST_TIMEOUT_SECONDS,
            at_front=True,
        )
    except RedisError as error:
        raise Unavailable(
            "Valkey is unreachable, so the connection can't be tested now. Try again later."
        ) from error
    audit(team=target.team, actor=by, action="target.test", subject=target.name)
    return asked


def wait_for_connection_test(target: ComputeTarget, seconds: float) -> ConnectionTest | None:
    """Return the latest connection test once it is over, or as far as it came in a time."""
    until = time.monotonic() + seconds
    while True:
        found = latest_connection_test(target)
        if found is None or found.is_over or time.monotonic() >= until:
            return found
        time.sleep(LOOK_EVERY_SECONDS)


def latest_connection_test(target: ComputeTarget) -> ConnectionTest | None:
    """Return the latest connection test so far; none is kept for longer than a day."""
    row = broker.load_json(_key(target))
    if row is None:
        return None
    steps = tuple(
        ConnectionStep(**{**one, "outcome": StepOutcome(one["outcome"])}) for one in row["steps"]
    )
    return ConnectionTest(row["at"], row["is_over"], steps)


def connection_test_job(target_id: int) -> None:
    """Try a target, unless it was removed since."""
    target = ComputeTarget.objects.filter(pk=target_id).first()
    if target is not None:
        run_connection_test(target)


def run_connection_test(target: ComputeTarget) -> ConnectionTest:
    """Try a target from its first step to its last, and let everybody see how far it is."""
    steps: tuple[ConnectionStep, ...] = ()
    try:
        for taken in _steps_of(target):
            steps = tuple(taken)
            _keep(target, ConnectionTest(time.time(), is_over=False, steps=steps))
        if all(step.outcome != StepOutcome.FAILED for step in steps):
            refresh_pool(target)
            poll_targets([target])
    except (BackendError, DomainError) as error:
        steps = (*steps, ConnectionStep("Ready for use", StepOutcome.FAILED, str(error)))
    except Exception as error:
        steps = (
            *steps,
            ConnectionStep("Test completes", StepOutcome.FAILED, repr(error)),
        )
        raise
    finally:
        made = ConnectionTest(time.time(), is_over=True, steps=steps)
        _keep(target, made)
    return made


def _steps_of(target: ComputeTarget) -> Iterator[list[ConnectionStep]]:
    backend = backend_for(target)
    if not isinstance(backend, RunsConnectionTests):
        return
    bundle = settings.TRAINYARD_CA_BUNDLE
    server = ServerAddress(
        url=target.web_url or settings.TRAINYARD_URL,
        ca_bundle=Path(bundle).read_text() if bundle else "",
    )
    yield from backend.connection_test(server)


def _keep(target: ComputeTarget, connection_test: ConnectionTest) -> None:
    broker.store_json(_key(target), asdict(connection_test), KEPT_SECONDS)


def _key(target: ComputeTarget) -> str:
    return f"trainyard:connection-test:{target.pk}"
