"""Nothing that is asked again and again takes longer because more was run before.

Work is counted, not timed: queries, and on SQLite the steps of its virtual machine as well.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from deploy.gateway.prometheus import ready_replicas
from deploy.models import Replica, ReplicaState, Revision, Service, ServiceState
from deploy.supervision.reconciler import ServiceReconciler
from models.imports.execution import recover_abandoned
from runs.metrics.ingestion import request_unread_metrics_again
from runs.models import Process, ProcessGroup, Run
from runs.states import ProcessState, RunStatus
from runs.supervision.reconciler import RunReconciler
from tests.deploy.conftest import RegisterModel
from tests.factories import bearer, make_environment, make_run
from workspace.environments.selectors import environments_of
from workspace.environments.services import requeue_abandoned_builds
from workspace.models import ComputeTarget, Environment, Team

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]
FEW, MANY = 200, 2000
STEPS = 100
_labels = count()


class Work:
    queries = 0
    steps = 0


@contextmanager
def counted() -> Iterator[Work]:
    work = Work()

    def step() -> None:
        work.steps += STEPS

    connection.ensure_connection()
    if connection.vendor == "sqlite":
        connection.connection.set_progress_handler(step, STEPS)
    try:
        with CaptureQueriesContext(connection) as captured:
            yield work
    finally:
        if connection.vendor == "sqlite":
            connection.connection.set_progress_handler(None, 0)
    work.queries = len(captured)


class History:
    """A team whose one environment had ever more runs and replicas, all over by now."""

    def __init__(self, team: Team, target: ComputeTarget, revision: Revision) -> None:
        self.team = team
        self.target = target
        self.revision = revision
        self.environment = make_environment()
        self.living = make_run(
            team, status=RunStatus.RUNNING, environment=self.environment, target=target
        )

    def add(self, number: int) -> None:
        at = timezone.now() - timedelta(days=40)
        runs = [
            Run(
                team=self.team,
                number=next(_labels) + 1000,
                experiment=self.living.experiment,
                snapshot=self.living.snapshot,
                target=self.target,
                environment=self.environment,
                config=self.living.config,
                status=RunStatus.COMPLETED,
                end_reason="completed",
                ended_at=at,
            )
            for _ in range(number)
        ]
        Run.objects.bulk_create(runs)
        groups = [
            ProcessGroup(
                label=f"past-{next(_labels)}",
                team=self.team,
                target=self.target,
                environment=self.environment,
                run=run,
                is_fenced=True,
                removed_at=at,
            )
            for run in [*runs, *[None] * number]
        ]
        ProcessGroup.objects.bulk_create(groups)
        Process.objects.bulk_create(
            Process(
                group=group,
                role="worker",
                index=0,
                state=ProcessState.EXITED,
                collected_at=at,
                token_digest=group.label,
            )
            for group in groups
        )
        Replica.objects.bulk_create(
            Replica(
                revision=self.revision,
                number=next(_labels),
                group=group,
                state=ReplicaState.ENDED,
                ended_at=at,
            )
            for group in groups[number:]
        )


@pytest.fixture
def history(team: Team, target: ComputeTarget, register: RegisterModel) -> History:
    service = Service.objects.create(
        team=team, name="digits", target=target, state=ServiceState.STOPPED
    )
    service.is_wanted = False
    service.save()
    revision = Revision.objects.create(service=service, number=1, model_version=register())
    Replica.objects.create(revision=revision, number=0, state=ReplicaState.UNHEALTHY)
    return History(team, target, revision)


Question = Callable[[], object]


@pytest.fixture(
    params=[
        "page of environments",
        "environments by REST",
        "page of the service",
        "tick over runs",
        "tick over services",
        "other steps of a tick",
        "metrics for Prometheus",
    ]
)
def question(request: pytest.FixtureRequest, client: Client, alice: User, team: Team) -> Question:
    token = bearer(alice)
    client.force_login(alice)

    def page(path: str) -> Question:
        def get() -> None:
            assert client.get(path).status_code == 200

        return get

    def rest() -> None:
        found = client.get("/api/v1/teams/default/environments", headers=token)
        assert found.status_code == 200

    def other_steps() -> None:
        requeue_abandoned_builds()
        recover_abandoned()
        request_unread_metrics_again()

    questions: dict[str, Question] = {
        "page of environments": page(reverse("workspace:environments", args=["default"])),
        "environments by REST": rest,
        "page of the service": page(reverse("deploy:service", args=["default", "digits"])),
        "tick over runs": lambda: RunReconciler().tick(),
        "tick over services": lambda: ServiceReconciler().tick(),
        "other steps of a tick": other_steps,
        "metrics for Prometheus": ready_replicas,
    }
    return questions[request.param]


def test_ten_times_the_history_is_no_more_work(history: History, question: Question) -> None:
    history.add(FEW)
    question()  # what is read once only
    with counted() as few:
        question()
    history.add(MANY - FEW)
    with counted() as many:
        question()
    assert many.queries <= few.queries
    assert many.steps <= 1.5 * few.steps + 50 * STEPS


def test_what_uses_an_environment_is_counted_across_teams(history: History) -> None:
    history.add(FEW)
    [found] = environments_of(history.team)
    assert found == Environment.objects.get(pk=history.environment.pk)
    assert found.uses == 1  # type: ignore[attr-defined]
