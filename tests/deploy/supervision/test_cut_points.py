"""Whoever deploys, or the supervisor, is killed at any point of a service's life: it goes on."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import transaction

from deploy.models import Replica, ReplicaState, Service, ServiceState
from deploy.rollout.traffic_policy import update
from deploy.services import delete, deploy
from deploy.supervision import replicas
from deploy.supervision.health_checks import Health, HealthCheck
from deploy.supervision.reconciler import ServiceReconciler
from deploy.supervision.smoke_test import SmokeTestResult
from models.models import ModelVersion
from runs.ingest import process_reports
from runs.models import Process, ProcessGroup
from runs.states import ProcessState
from tests.cut_points import CutPoints, Killed, every_cut
from tests.deploy.conftest import RegisterModel
from tests.fakes import FakeBackend
from tests.runs.supervision.supervised_runs import build_environments, end, serve_targets_with
from workspace.models import ComputeTarget, Team

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MOST_TICKS = 30
BROKEN = "the weights are damaged"


class HealthCheckerOfFakes:
    """Finds every replica ready at once, but those of versions that cannot be loaded."""

    def __init__(self) -> None:
        self.is_smoke_testing = lambda replica: False
        self.forget = self.forget_smoke_test = lambda replica: None

    def ask(self, replica: int, address: str, model: str, *, every: float) -> HealthCheck:
        version = Replica.objects.get(pk=replica).revision.model_version
        if "broken" in version.tags:
            return HealthCheck(Health.CANNOT_LOAD, BROKEN)
        return HealthCheck(Health.READY)

    def smoke_test(self, *of: object) -> SmokeTestResult:
        return SmokeTestResult()


@dataclass
class Stage:
    """A target of fakes, and a team that deploys there."""

    team: Team
    by: User
    target: ComputeTarget
    backend: FakeBackend
    versions: list[ModelVersion]
    broken: ModelVersion

    @property
    def service(self) -> Service:
        return Service.objects.get()

    def deploy(self) -> None:
        deploy(
            team=self.team,
            by=self.by,
            name="digits",
            version=self.versions[0],
            target=self.target,
        )

    def act_of_runners(self) -> None:
        """Do what builders and runners do next."""
        build_environments()
        for process in Process.objects.select_related("group"):
            if process.name not in self.backend.alive.get(process.group.label, ()):
                continue
            if process.state == ProcessState.CREATED:
                process_reports.process_ready(process, node="here")
                process_reports.process_started(process)
            elif process.group.stop_requested_at:
                end(process, 143)
                self.backend.alive[process.group.label].clear()

    def crash(self) -> None:
        """Have the program of one replica end by itself."""
        process = Process.objects.get()
        end(process, 9)
        self.backend.end(process.group.label, process.name, 9)


@dataclass(frozen=True)
class Life:
    """What is done to a service of one replica, when that has been done, and how it ends.

    `serving`: how many replicas are ready by revision; `replicas`: how many there ever were.
    """

    act: Callable[[Stage], object]
    is_done: Callable[[Stage], bool]
    state: ServiceState
    serving: dict[int, int]
    replicas: int
    reason: str = ""
    at_least: int = 10


def has_two_revisions(stage: Stage) -> bool:
    return stage.service.revisions.count() == 2


LIVES = {
    "rolls out": Life(
        lambda stage: update(service=stage.service, by=stage.by, version=stage.versions[1]),
        has_two_revisions,
        ServiceState.HEALTHY,
        {2: 1},
        2,
    ),
    "fails": Life(
        lambda stage: update(service=stage.service, by=stage.by, version=stage.broken),
        has_two_revisions,
        ServiceState.UNHEALTHY,
        {1: 1},
        2,
        "Revision 2 failed; the previous revision still serves.",
    ),
    "loses a replica": Life(
        Stage.crash,
        lambda stage: bool(stage.backend.ended),
        ServiceState.HEALTHY,
        {1: 1},
        2,
    ),
    "is deleted": Life(
        lambda stage: delete(service=stage.service, by=stage.by),
        lambda stage: stage.service.deleted_at is not None,
        ServiceState.STOPPED,
        {},
        1,
    ),
}
DEPLOYED = Life(
    Stage.deploy, lambda stage: Service.objects.exists(), ServiceState.HEALTHY, {1: 1}, 1
)


@pytest.fixture
def stage(
    team: Team,
    bob: User,
    target: ComputeTarget,
    register: RegisterModel,
    monkeypatch: pytest.MonkeyPatch,
) -> Stage:
    backend = FakeBackend()
    serve_targets_with(backend, monkeypatch)
    for module in (
        "deploy.services",
        "deploy.supervision.launch",
        "deploy.supervision.environments",
    ):
        monkeypatch.setattr(f"{module}.backend_for", lambda target: backend)
    monkeypatch.setattr("workspace.environments.services.backend_of", lambda environment: backend)
    monkeypatch.setattr("deploy.supervision.reconciler.enqueue_build", lambda environment: None)
    monkeypatch.setattr(replicas, "HealthChecker", HealthCheckerOfFakes)
    monkeypatch.setattr(replicas, "LOOK_EVERY_SECONDS", 0)
    monkeypatch.setattr(replicas, "DRAIN", timedelta(0))
    monkeypatch.setattr("deploy.supervision.service_state.MAX_BACKOFF", timedelta(0))
    broken = register()
    ModelVersion.objects.filter(pk=broken.pk).update(tags={"broken": "yes"})
    return Stage(team, bob, target, backend, [register(), register()], broken)


def go_through(stage: Stage, life: Life, points: CutPoints) -> None:
    """Ask for something until it is done, and let the supervisor bring it about."""
    while not life.is_done(stage):
        try:
            with points.watched(stage.backend):
                life.act(stage)
        except Killed:
            continue
    supervisor = ServiceReconciler()
    for _ in range(MOST_TICKS):
        try:
            with points.watched(stage.backend):
                supervisor.tick()
        except Killed:
            supervisor = ServiceReconciler()
        stage.act_of_runners()
        if has_come_about(stage, life):
            return


def has_come_about(stage: Stage, life: Life) -> bool:
    return stage.service.state == life.state and serving(stage) == life.serving and is_tidy(stage)


def serving(stage: Stage) -> dict[int, int]:
    """Count the replicas that are ready by their revision."""
    found: dict[int, int] = {}
    for replica in Replica.objects.filter(state=ReplicaState.READY).select_related("revision"):
        found[replica.revision.number] = found.get(replica.revision.number, 0) + 1
    return found


def is_tidy(stage: Stage) -> bool:
    """Tell whether the target has what is ready, and nothing else."""
    groups = set(ProcessGroup.objects.filter(removed_at=None).values_list("label", flat=True))
    ready = set(
        Replica.objects.filter(state=ReplicaState.READY).values_list("group__label", flat=True)
    )
    living = {label for label, names in stage.backend.alive.items() if names}
    return groups == ready == living


def check_every_cut(stage: Stage, life: Life) -> None:
    before = deepcopy(vars(stage.backend))
    for points in every_cut(at_least=life.at_least):
        with transaction.atomic():
            go_through(stage, life, points)
            said = f"killed at {points.where}"
            service = stage.service
            assert (service.state, serving(stage)) == (life.state, life.serving), said
            assert service.state_reason.startswith(life.reason), said
            assert is_tidy(stage), said
            assert Replica.objects.count() == life.replicas, said
            transaction.set_rollback(True)
        vars(stage.backend).update(deepcopy(before))


def test_a_deployment_that_is_cut_at_any_point_serves_in_the_end(stage: Stage) -> None:
    check_every_cut(stage, DEPLOYED)


@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES)
def test_a_service_whose_supervisor_is_killed_at_any_point_ends_as_was_asked(
    stage: Stage, life: Life
) -> None:
    go_through(stage, DEPLOYED, CutPoints(0))
    assert stage.service.state == ServiceState.HEALTHY, stage.service.state_reason
    check_every_cut(stage, life)
