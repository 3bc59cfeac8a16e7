"""Trials of compute targets: asked for by people, made by a worker, told by way of the broker."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import django_rq
from django.conf import settings
from django.contrib.auth.models import User
from redis.exceptions import RedisError

from workspace import broker
from workspace.compute.base import BackendError
from workspace.compute.docker_trial import Surroundings, try_engine
from workspace.compute.local_trial import try_machine
from workspace.compute.registry import access_to, backend_for
from workspace.compute.trial import Outcome, Step
from workspace.errors import DomainError, Unavailable
from workspace.models import ComputeTarget, TargetKind
from workspace.pools import learn_pool
from workspace.services import audit
from workspace.target_states import look_at

TRIAL_JOB = "workspace.jobs_targets.try_target"
TRIAL_SECONDS = 900
KEPT_SECONDS = 24 * 3600
SILENT_SECONDS = 200.0
LOOK_EVERY_SECONDS = 0.05


@dataclass(frozen=True)
class Trial:
    """How far a trial is: `at` is when that was written, in seconds of the clock."""

    at: float
    is_over: bool
    steps: tuple[Step, ...] = ()

    @property
    def is_lost(self) -> bool:
        """Tell whether the worker that made it is gone."""
        return not self.is_over and time.time() - self.at > SILENT_SECONDS

    @property
    def goes_on(self) -> bool:
        return not (self.is_over or self.is_lost)

    @property
    def works(self) -> bool:
        return self.is_over and all(step.outcome != Outcome.FAILED for step in self.steps)


def request_trial(target: ComputeTarget, *, by: User) -> Trial:
    """Have a worker try a target now, unless one does already."""
    known = last_trial(target)
    if known and known.goes_on:
        return known
    asked = Trial(time.time(), is_over=False)
    try:
        _keep(target, asked)
        django_rq.get_queue().enqueue(
            TRIAL_JOB, target.pk, job_timeout=TRIAL_SECONDS, at_front=True
        )
    except RedisError as error:
        raise Unavailable("The broker is away, so nothing can be tried now.") from error
    audit(team=target.team, actor=by, action="target.test", subject=target.name)
    return asked


def trial_within(target: ComputeTarget, seconds: float) -> Trial | None:
    """Give the latest trial of a target as soon as it is over, or as far as it came in a time."""
    until = time.monotonic() + seconds
    while True:
        found = last_trial(target)
        if found is None or found.is_over or time.monotonic() >= until:
            return found
        time.sleep(LOOK_EVERY_SECONDS)


def last_trial(target: ComputeTarget) -> Trial | None:
    """Give the latest trial of a target, as far as it is; none is kept for longer than a day."""
    try:
        with broker.asked() as asked:
            kept = asked.get(_key(target))
    except RedisError:
        return None
    if kept is None:
        return None
    row = json.loads(kept)
    steps = tuple(Step(**{**one, "outcome": Outcome(one["outcome"])}) for one in row["steps"])
    return Trial(row["at"], row["is_over"], steps)


def make_trial(target: ComputeTarget) -> Trial:
    """Try a target from its first step to its last, and let everybody see how far it is."""
    steps: tuple[Step, ...] = ()
    try:
        for taken in _steps_of(target):
            steps = tuple(taken)
            _keep(target, Trial(time.time(), is_over=False, steps=steps))
        if all(step.outcome != Outcome.FAILED for step in steps):
            learn_pool(target)
            look_at([target])
    except (BackendError, DomainError) as error:
        steps = (*steps, Step("The target can be used", Outcome.FAILED, str(error)))
    except Exception as error:
        steps = (*steps, Step("The trial goes to its end", Outcome.FAILED, repr(error)))
        raise
    finally:
        made = Trial(time.time(), is_over=True, steps=steps)
        _keep(target, made)
    return made


def _steps_of(target: ComputeTarget) -> Iterator[list[Step]]:
    if target.kind == TargetKind.LOCAL:
        yield from try_machine(str(settings.TRAINYARD_HOME))
        return
    bundle = settings.TRAINYARD_CA_BUNDLE
    around = Surroundings(
        url=target.web_url or settings.TRAINYARD_URL,
        ca_bundle=Path(bundle).read_text() if bundle else "",
    )
    yield from try_engine(
        access_to(target),
        backend_for(target),
        around,
        is_swarm=target.kind == TargetKind.SWARM,
    )


def _keep(target: ComputeTarget, trial: Trial) -> None:
    broker.connection().set(_key(target), json.dumps(asdict(trial)), ex=KEPT_SECONDS)


def _key(target: ComputeTarget) -> str:
    return f"trainyard:trial:{target.pk}"
