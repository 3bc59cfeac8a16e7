"""Services with what they have now, read in as many queries for all of them as for one."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet

from deploy.models import Replica, ReplicaState, Revision, Service, ServiceState, Traffic
from deploy.rollout.auto_rollback import last_minutes_of, reason_to_roll_back
from deploy.rollout.autoscaling import ServiceLoad, loads_of, replicas_to_set
from deploy.rollout.plan import RevisionView, RolloutPlan, plan_rollout
from deploy.rollout.revisions import revision_view
from deploy.selectors import replicas_with_models
from deploy.supervision.service_state import ServiceView, state_of
from workspace.platform.clock import steady_now

COLUMNS_OF_REVISIONS = (
    "service",
    "number",
    "replica_count",
    "weight",
    "is_shadow",
    "verified_at",
    "failure",
)


@dataclass(frozen=True)
class StartBlocker:
    """Why what is missing cannot be started yet: it is being made ready, or something is wrong."""

    preparing: str = ""
    problem: str = ""


@dataclass(frozen=True)
class ServiceSnapshot:
    """A service, its revisions and the replicas that lived when they were read, the newest first.

    `load` and `last_minutes` are what autoscaling and automatic rollback go by. What is written
    into these replicas shows here; what is written elsewhere does not.
    """

    service: Service
    revisions: Sequence[Revision]
    replicas: Sequence[Replica]
    load: ServiceLoad
    last_minutes: Mapping[int, Sequence[Traffic]]

    def state(self, hindrance: StartBlocker) -> tuple[ServiceState, str]:
        """Return the state that follows from what is there now, and its reason."""
        return state_of(self._view(hindrance))

    def is_settled(self, hindrance: StartBlocker) -> bool:
        """Return whether there is nothing to start, to stop, to decide or to tell."""
        service = self.service
        if self.state(hindrance) != (service.state, service.state_reason):
            return False
        active = self._active
        if not service.is_wanted:
            return not active
        plan = self._plan
        if (
            plan.ends_split
            or any(_is_newly_ready(view) for view in plan.running)
            or reason_to_roll_back(service, plan, self.last_minutes)
            or replicas_to_set(service, plan, self.load, self._verified_at)
        ):
            return False
        active_of = Counter(replica.revision_id for replica in active)
        failed_of = Counter(one.revision_id for one in self._living if one.has_failed)
        return active_of.keys() <= {view.pk for view in plan.running} and all(
            active_of[view.pk] <= view.wanted
            and (view.has_failed or active_of[view.pk] + failed_of[view.pk] >= view.wanted)
            for view in plan.running
        )

    @property
    def _living(self) -> list[Replica]:
        return [replica for replica in self.replicas if replica.ended_at is None]

    @property
    def _active(self) -> list[Replica]:
        return [replica for replica in self._living if replica.state != ReplicaState.STOPPING]

    @property
    def _verified_at(self) -> datetime | None:
        return max((one.verified_at for one in self.revisions if one.verified_at), default=None)

    @property
    def _plan(self) -> RolloutPlan:
        ready = Counter(
            replica.revision_id for replica in self.replicas if replica.state == ReplicaState.READY
        )
        return plan_rollout(
            [revision_view(one, ready[one.pk]) for one in self.revisions],
            now=steady_now(),
            keeps_previous=bool(self.service.rollback),
        )

    def _view(self, hindrance: StartBlocker) -> ServiceView:
        plan = self._plan
        replicas = self._living
        asked = {view.pk for view in plan.asked}
        mine = [replica for replica in replicas if replica.revision_id in asked]
        older = {view.pk for view in plan.running if not view.is_shadow} - asked
        failed = next((view for view in plan.asked if view.has_failed), plan.target)
        return ServiceView(
            is_wanted=self.service.is_wanted,
            wanted=sum(view.wanted for view in plan.asked),
            ready=sum(min(view.ready, view.wanted) for view in plan.asked),
            previous_ready=sum(
                replica.state == ReplicaState.READY and replica.revision_id in older
                for replica in replicas
            ),
            previous_is_scaled_to_zero=any(
                view.is_servable and not view.wanted for view in plan.running if view.pk in older
            ),
            unhealthy=sum(replica.state == ReplicaState.UNHEALTHY for replica in mine),
            living=len(replicas),
            was=ServiceState(self.service.state),
            revision=failed.number,
            preparing=hindrance.preparing,
            failure=next(one.failure for one in self.revisions if one.pk == failed.pk),
            problem=hindrance.problem or _troubles(mine),
        )


def snapshots_of(services: QuerySet[Service]) -> list[ServiceSnapshot]:
    revisions: defaultdict[int, list[Revision]] = defaultdict(list)
    for revision in (
        Revision.objects.filter(service__in=services)
        .only(*COLUMNS_OF_REVISIONS)
        .order_by("-number")
    ):
        revisions[revision.service_id].append(revision)
    replicas: defaultdict[int, list[Replica]] = defaultdict(list)
    living = Replica.objects.filter(revision__service__in=services, ended_at=None)
    for replica in replicas_with_models(living):
        replicas[replica.revision.service_id].append(replica)
    found = list(services.select_related("target", "team"))
    loads, last_minutes = loads_of(found), last_minutes_of(found)
    return [
        ServiceSnapshot(
            service,
            revisions[service.pk],
            replicas[service.pk],
            loads.get(service.pk, ServiceLoad()),
            last_minutes,
        )
        for service in found
    ]


def unsettled_services() -> QuerySet[Service]:
    """Return the services that are to have replicas, or that have not come to rest yet."""
    with_replicas = Replica.objects.filter(ended_at=None).values("revision__service")
    return Service.objects.filter(
        Q(is_wanted=True) | ~Q(state=ServiceState.STOPPED) | Q(pk__in=with_replicas)
    )


def first_line(text: str) -> str:
    return text.partition("\n")[0].rstrip(".")


def _is_newly_ready(view: RevisionView) -> bool:
    """Return whether a revision has all of its replicas for the first time."""
    return view.verified_at is None and not view.has_failed and 0 < view.wanted <= view.ready


def _troubles(replicas: Sequence[Replica]) -> str:
    """Return what is wrong with living replicas, each in a sentence."""
    return " ".join(
        f"{replica.name} {first_line(replica.reason)}." for replica in replicas if replica.reason
    )
