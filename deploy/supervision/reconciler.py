"""Look, decide, act: what brings every service nearer to what is wanted of it.

As with runs, a tick may be cut short at any line. What lives is found again by its label, so after
a restart of everything replicas that still run are kept, and those that do not are replaced.
"""

import logging
import time
from collections.abc import Sequence

from django.db import transaction

from deploy.models import Replica, ReplicaState, Revision, Service
from deploy.rollout.auto_rollback import roll_back_if_failing
from deploy.rollout.autoscaling import autoscale
from deploy.rollout.revisions import rollout_plan, verify_ready_revisions
from deploy.selectors import living_replicas, revisions_of
from deploy.services import holds_any_model, isolation_problem
from deploy.supervision import launch
from deploy.supervision.environments import environment_for
from deploy.supervision.replicas import ReplicaSupervisor
from deploy.supervision.service_state import MAX_BACKOFF
from deploy.supervision.snapshot import (
    ServiceSnapshot,
    StartBlocker,
    first_line,
    snapshots_of,
    unsettled_services,
)
from models.savedmodel.scan import is_confined
from models.scans import request_scan
from runs.events import group_of_service, nudge_on_commit
from workspace.compute.base import BackendError, TargetUnreachable
from workspace.environments.services import enqueue_build
from workspace.models import Environment, EnvironmentState
from workspace.platform.clock import has_come
from workspace.platform.errors import Invalid, NotFound
from workspace.targets.reachability import Reachability

LINES_SHOWN = 30
BROKEN_AGAIN_SECONDS = 1.0
log = logging.getLogger(__name__)


class ServiceReconciler:
    """Moves services along. What it remembers between ticks only saves looking too often."""

    def __init__(self, reachability: Reachability | None = None) -> None:
        self._reach = reachability or Reachability()
        self._keeper = ReplicaSupervisor(self._reach)
        self._not_before: dict[int, float] = {}

    def tick(self) -> None:
        """Take every service as far as it can go now; one that trips harms no other."""
        self._keeper.look()
        for snapshot in snapshots_of(unsettled_services()):
            if self._not_before.get(snapshot.service.pk, 0.0) <= time.monotonic():
                self._advance(snapshot)

    def _advance(self, snapshot: ServiceSnapshot) -> None:
        service = snapshot.service
        try:
            for replica in snapshot.replicas:
                if replica.group and replica.group.removed_at:  # its target was given up
                    self._keeper.advance(replica)
            self._reach.backend(service.target)
            hindrance = self._look_after_all(snapshot)
            if snapshot.is_settled(hindrance):
                return
            hindrance = self._bring_about(service, hindrance)
        except BackendError as error:
            if isinstance(error, TargetUnreachable):
                self._reach.mark_unreachable(service.target, error)
            hindrance = StartBlocker(problem=str(error))
            self._not_before[service.pk] = time.monotonic() + BROKEN_AGAIN_SECONDS
            log.warning("Service %s of %s: %s", service.name, service.team.slug, error)
        except Exception:
            self._fail(service)
            return
        try:
            _write_state(service, hindrance)
        except Exception:
            self._fail(service)

    def _fail(self, service: Service) -> None:
        """Log the exception that is being handled, and leave its service alone for a moment."""
        self._not_before[service.pk] = time.monotonic() + BROKEN_AGAIN_SECONDS
        log.exception("Reconciling service %s of %s failed", service.name, service.team.slug)

    def _look_after_all(self, snapshot: ServiceSnapshot) -> StartBlocker:
        living = [replica for replica in snapshot.replicas if replica.ended_at is None]
        troubles = [self._look_after(replica) for replica in living]
        return StartBlocker(problem=next(filter(None, troubles), ""))

    def _bring_about(self, service: Service, trouble: StartBlocker) -> StartBlocker:
        """Start what is missing, stop what is too much."""
        if not service.is_wanted:
            for replica in _active_replicas(service):
                self._keeper.stop(replica)
            return trouble
        verify_ready_revisions(service)
        wanted = rollout_plan(service)
        if roll_back_if_failing(service, wanted) or autoscale(service, wanted):
            wanted = rollout_plan(service)
        if wanted.ends_split:
            Revision.objects.filter(service=service).update(weight=None)
        running = {view.pk for view in wanted.running}
        for replica in _active_replicas(service):
            if replica.revision_id not in running:
                self._keeper.stop(replica)
        hindrances = [
            self._see_to_count(revision)
            for revision in revisions_of(service).filter(pk__in=running)
        ]
        return next((one for one in hindrances if one != StartBlocker()), trouble)

    def _look_after(self, replica: Replica) -> str:
        """Advance a replica; return what is wrong with it, which keeps no other from its turn."""
        try:
            self._keeper.advance(replica)
        except TargetUnreachable:
            raise
        except BackendError as error:
            log.warning("Replica %s: %s", replica.name, error)
            return f"{replica.name}: {error}"
        except Exception:
            log.exception("Looking after replica %s failed", replica.name)
            return f"{replica.name} could not be looked after; the log of the supervisor says why."
        return ""

    def _see_to_count(self, revision: Revision) -> StartBlocker:
        there = [
            replica
            for replica in _active_replicas(revision.service)
            if replica.revision_id == revision.pk
        ]
        for replica in _surplus(there, revision.replica_count):
            self._keeper.stop(replica)
        return self._start_missing(revision, there)

    def _start_missing(self, revision: Revision, there: Sequence[Replica]) -> StartBlocker:
        # One that failed is replaced once it is tidied away, when what it did is known.
        failed = living_replicas(revision.service).filter(revision=revision, has_failed=True)
        missing = revision.replica_count - len(there) - failed.count()
        if missing <= 0 or revision.failure:
            return StartBlocker()
        if revision.retry_at and not has_come(revision.retry_at, at_most=MAX_BACKOFF):
            return StartBlocker(
                problem=f"{_last_failure(revision)}. The next replica starts shortly."
            )
        try:
            return self._start_some(revision, missing)
        except (Invalid, NotFound) as error:
            # Only a user can fix this: another model, or its files put back.
            _give_up(revision, error.message)
        return StartBlocker()

    def _start_some(self, revision: Revision, missing: int) -> StartBlocker:
        blocker = _isolation_blocker(revision)
        if blocker != StartBlocker():
            return blocker
        environment = environment_for(revision)
        if environment.state == EnvironmentState.FAILED:
            _give_up(revision, _environment_failure(environment))
        elif environment.state == EnvironmentState.READY:
            for _ in range(missing):
                self._keeper.start(launch.create_replica(revision, environment))
        else:
            enqueue_build(environment)
            return StartBlocker(preparing="The model's environment is being built.")
        return StartBlocker()


def _isolation_blocker(revision: Revision) -> StartBlocker:
    """Return why a model may not run on its target now; scans are the work of others.

    An admin can lift it, so the revision is not given up.
    """
    version, target = revision.model_version, revision.service.target
    if holds_any_model(target):
        return StartBlocker()
    if version.scan is None:
        launch.check_files(revision)
        request_scan(version)
        return StartBlocker(preparing="The model is being scanned.")
    if not is_confined(version.scan):
        return StartBlocker(problem=isolation_problem(version, target))
    return StartBlocker()


def _active_replicas(service: Service) -> list[Replica]:
    """Return the living replicas that are not being stopped."""
    return [
        replica for replica in living_replicas(service) if replica.state != ReplicaState.STOPPING
    ]


def _surplus(replicas: Sequence[Replica], wanted: int) -> list[Replica]:
    """Return those to stop of too many: the ones that are not ready first, then the newest."""
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
    """Return which replica of a revision ended last by itself, and the first line of why."""
    failed = revision.replicas.filter(has_failed=True).order_by("-number").first()
    return f"{failed.name} {first_line(failed.reason)}" if failed else "A replica ended"


def _write_state(service: Service, hindrance: StartBlocker) -> None:
    """Store the state that follows from what is there now, if it is another one."""
    [snapshot] = snapshots_of(Service.objects.filter(pk=service.pk))
    state, reason = snapshot.state(hindrance)
    if (state, reason) == (snapshot.service.state, snapshot.service.state_reason):
        return
    with transaction.atomic():
        Service.objects.filter(pk=service.pk).update(state=state, state_reason=reason)
        nudge_on_commit(group_of_service(service.pk), "event")
    log.info("Service %s of %s is %s. %s", service.name, service.team.slug, state, reason)
