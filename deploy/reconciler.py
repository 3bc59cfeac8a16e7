"""Look, decide, act: what brings every service nearer to what is wanted of it.

As with runs, a tick may be cut short at any line. What lives is found again by its label, so after
a restart of everything replicas that still run are kept, and those that do not are replaced.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from deploy import launch
from deploy.decisions import Seen, state_of
from deploy.environments import environment_for
from deploy.models import Replica, ReplicaState, Revision, Service, ServiceState
from deploy.replicas import ReplicaKeeper
from deploy.revisions import plan_of_service, prove
from deploy.selectors import living_replicas, revisions_of
from deploy.watching import scale, take_back
from runs.events import group_of_service, nudge_on_commit
from workspace.compute.base import BackendError, Unreachable
from workspace.environments import enqueue_build
from workspace.errors import Invalid, NotFound
from workspace.models import Environment, EnvironmentState
from workspace.reach import Reach

LINES_SHOWN = 30
BROKEN_AGAIN_SECONDS = 1.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hindrance:
    """Why what is missing cannot be started yet: it is being made ready, or something is wrong."""

    preparing: str = ""
    trouble: str = ""


class ServiceReconciler:
    """Moves services along. What it remembers between ticks only saves looking too often."""

    def __init__(self, reach: Reach | None = None) -> None:
        self._reach = reach or Reach()
        self._keeper = ReplicaKeeper(self._reach)
        self._not_before: dict[int, float] = {}

    def tick(self) -> None:
        """Take every service as far as it can go now; one that trips harms no other."""
        unsettled = (
            Q(is_wanted=True) | ~Q(state=ServiceState.STOPPED) | Q(pk__in=_services_with_replicas())
        )
        for service in Service.objects.filter(unsettled).select_related("target", "team"):
            if self._not_before.get(service.pk, 0.0) <= time.monotonic():
                self._advance(service)

    def _advance(self, service: Service) -> None:
        try:
            self._reach.backend(service.target)
            hindrance = self._bring_about(service)
        except BackendError as error:
            if isinstance(error, Unreachable):
                self._reach.lost(service.target, error)
            hindrance = Hindrance(trouble=str(error))
            self._not_before[service.pk] = time.monotonic() + BROKEN_AGAIN_SECONDS
            log.warning("Service %s of %s: %s", service.name, service.team.slug, error)
        except Exception:
            self._not_before[service.pk] = time.monotonic() + BROKEN_AGAIN_SECONDS
            log.exception(
                "Service %s of %s could not be taken further", service.name, service.team.slug
            )
            return
        _write_state(service, hindrance)

    def _bring_about(self, service: Service) -> Hindrance:
        """Look after every replica, start what is missing, stop what is too much."""
        for replica in living_replicas(service):
            self._keeper.look_after(replica)
        if not service.is_wanted:
            for replica in _staying(service):
                self._keeper.stop(replica)
            return Hindrance()
        prove(service)
        wanted = plan_of_service(service)
        if take_back(service, wanted) or scale(service, wanted):
            wanted = plan_of_service(service)
        if wanted.ends_split:
            Revision.objects.filter(service=service).update(weight=None)
        running = {standing.pk for standing in wanted.running}
        for replica in _staying(service):
            if replica.revision_id not in running:
                self._keeper.stop(replica)
        hindrances = [
            self._see_to_count(revision)
            for revision in revisions_of(service).filter(pk__in=running)
        ]
        return next((one for one in hindrances if one != Hindrance()), Hindrance())

    def _see_to_count(self, revision: Revision) -> Hindrance:
        there = [
            replica for replica in _staying(revision.service) if replica.revision_id == revision.pk
        ]
        for replica in _surplus(there, revision.replica_count):
            self._keeper.stop(replica)
        return self._start_missing(revision, there)

    def _start_missing(self, revision: Revision, there: Sequence[Replica]) -> Hindrance:
        # One that failed is replaced once it is tidied away, when what it did is known.
        failed = living_replicas(revision.service).filter(revision=revision, has_failed=True)
        missing = revision.replica_count - len(there) - failed.count()
        if missing <= 0 or revision.failure:
            return Hindrance()
        if revision.retry_at and timezone.now() < revision.retry_at:
            return Hindrance(
                trouble=f"{_last_failure(revision)}. The next replica starts in a moment."
            )
        try:
            return self._start_some(revision, missing)
        except (Invalid, NotFound) as error:
            # Only people can mend this: another model, or its files put back.
            _give_up(revision, error.message)
        return Hindrance()

    def _start_some(self, revision: Revision, missing: int) -> Hindrance:
        environment = environment_for(revision)
        if environment.state == EnvironmentState.FAILED:
            _give_up(revision, _environment_failure(environment))
        elif environment.state == EnvironmentState.READY:
            for _ in range(missing):
                self._keeper.start(launch.create_replica(revision, environment))
        else:
            enqueue_build(environment)
            return Hindrance(preparing="The environment of the model's framework is being made.")
        return Hindrance()


def _staying(service: Service) -> list[Replica]:
    """Give the living replicas that are not being stopped."""
    return [
        replica for replica in living_replicas(service) if replica.state != ReplicaState.STOPPING
    ]


def _services_with_replicas() -> object:
    return (
        Replica.objects.exclude(state=ReplicaState.ENDED)
        .values_list("revision__service_id", flat=True)
        .distinct()
    )


def _surplus(replicas: Sequence[Replica], wanted: int) -> list[Replica]:
    """Give those to stop of too many: the ones that are not ready first, then the newest."""
    by_use = sorted(
        replicas, key=lambda replica: (replica.state != ReplicaState.READY, replica.number)
    )
    return by_use[wanted:]


def _give_up(revision: Revision, reason: str) -> None:
    Revision.objects.filter(pk=revision.pk).update(failure=reason)


def _environment_failure(environment: Environment) -> str:
    lines = environment.error.splitlines()[-LINES_SHOWN:]
    return "\n".join(["The environment could not be built.", *lines])


def _last_failure(revision: Revision) -> str:
    """Give which replica of a revision ended last by itself, and the first line of why."""
    failed = revision.replicas.filter(has_failed=True).order_by("-number").first()
    return f"{failed.name} {_first_line(failed.reason)}" if failed else "A replica ended"


def _first_line(text: str) -> str:
    return text.partition("\n")[0].rstrip(".")


def _write_state(service: Service, hindrance: Hindrance) -> None:
    """Store the state that follows from what is there now, if it is another one."""
    service.refresh_from_db(fields=["is_wanted", "state", "state_reason"])
    state, reason = state_of(_seen(service, hindrance))
    if (state, reason) == (service.state, service.state_reason):
        return
    with transaction.atomic():
        Service.objects.filter(pk=service.pk).update(state=state, state_reason=reason)
        nudge_on_commit(group_of_service(service.pk), "event")
    log.info("Service %s of %s is %s. %s", service.name, service.team.slug, state, reason)


def _seen(service: Service, hindrance: Hindrance) -> Seen:
    plan = plan_of_service(service)
    replicas = list(living_replicas(service))
    asked = {standing.pk for standing in plan.asked}
    mine = [replica for replica in replicas if replica.revision_id in asked]
    older = {standing.pk for standing in plan.running if not standing.is_shadow} - asked
    failed = next((standing for standing in plan.asked if standing.has_failed), plan.target)
    return Seen(
        is_wanted=service.is_wanted,
        wanted=sum(standing.wanted for standing in plan.asked),
        ready=sum(min(standing.ready, standing.wanted) for standing in plan.asked),
        ready_of_older=sum(
            replica.state == ReplicaState.READY and replica.revision_id in older
            for replica in replicas
        ),
        is_older_asleep=any(
            standing.is_good and not standing.wanted
            for standing in plan.running
            if standing.pk in older
        ),
        unhealthy=sum(replica.state == ReplicaState.UNHEALTHY for replica in mine),
        living=len(replicas),
        was=ServiceState(service.state),
        revision=failed.number,
        preparing=hindrance.preparing,
        failure=Revision.objects.get(pk=failed.pk).failure,
        trouble=hindrance.trouble or _troubles(mine),
    )


def _troubles(replicas: Sequence[Replica]) -> str:
    """Say what is wrong with living replicas, each in a sentence."""
    return " ".join(
        f"{replica.name} {_first_line(replica.reason)}." for replica in replicas if replica.reason
    )
