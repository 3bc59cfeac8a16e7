"""Supervise live runs and healthy services on a target that answers at once.

Prints the CPU seconds of a tick, with the health checks that come between it and the one before:
the median and the most; then the most queries that a tick made.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import Process as OtherProcess
from statistics import median
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402 - after Django is set up
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.utils import timezone  # noqa: E402

import runs.launch.plan as launch_plan  # noqa: E402
import workspace.targets.reachability as target_reachability  # noqa: E402
import workspace.targets.states as target_states  # noqa: E402
from deploy.management.commands.supervisor import DUTY, Supervisor  # noqa: E402
from deploy.models import (  # noqa: E402
    REPLICA_ROLE,
    Replica,
    ReplicaState,
    Revision,
    Service,
    ServiceState,
)
from models.models import ModelVersion, RegisteredModel  # noqa: E402
from runs.config import RunConfig  # noqa: E402
from runs.models import Process, ProcessGroup, Run, Snapshot  # noqa: E402
from runs.states import ProcessState, RunStatus  # noqa: E402
from workspace.compute.base import Node, ProcessStatus, ProcessStatusState  # noqa: E402
from workspace.models import ComputeTarget, Environment, Experiment, Team  # noqa: E402
from workspace.platform import leases  # noqa: E402


class AtOnce:
    """A target whose processes are all alive."""

    def check(self) -> Sequence[Node]:
        return [Node("here", cpus=4, memory_bytes=8 * 10**9)]

    def observe(self, label: str) -> Sequence[ProcessStatus]:
        role = REPLICA_ROLE if label.startswith("service-") else "worker"
        return [ProcessStatus(f"{role}-0", ProcessStatusState.ALIVE)]


class AlwaysReady(BaseHTTPRequestHandler):
    """A model server as health checks see it."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@dataclass(frozen=True)
class Place:
    """Where all that is supervised belongs to."""

    team: Team
    user: User
    target: ComputeTarget
    environment: Environment


def make_place() -> Place:
    call_command("migrate", interactive=False, verbosity=0)
    team = Team.objects.create(slug="default", name="Default")
    return Place(
        team,
        User.objects.create_user("ana"),
        ComputeTarget.objects.create(team=team, name="local"),
        Environment.objects.create(digest="0" * 64, kind="local", spec={}, state="ready"),
    )


def add_runs(number: int, place: Place) -> None:
    experiment = Experiment.objects.create(team=place.team, name="digits")
    snapshot = Snapshot.objects.create(
        team=place.team, digest="0" * 64, file_count=1, total_bytes=1
    )
    config = RunConfig(experiment="digits", compute_target="local", entry_script="train.py")
    now = timezone.now()
    live = Run.objects.bulk_create(
        Run(
            team=place.team,
            number=index,
            experiment=experiment,
            snapshot=snapshot,
            target=place.target,
            environment=place.environment,
            created_by=place.user,
            config=config.to_json(),
            status=RunStatus.RUNNING,
            starting_at=now,
            running_at=now,
        )
        for index in range(1, number + 1)
    )
    add_groups("worker", [ProcessGroup(label=f"run-{run.pk}-1", run=run) for run in live], place)


def add_services(number: int, place: Place, model_server: str) -> None:
    model = RegisteredModel.objects.create(team=place.team, name="digits")
    version = ModelVersion.objects.create(
        model=model,
        version=1,
        framework_version="2.21",
        manifest_digest="0" * 64,
        file_count=1,
        total_bytes=1,
    )
    services = Service.objects.bulk_create(
        Service(
            team=place.team,
            name=f"digits-{index}",
            target=place.target,
            state=ServiceState.HEALTHY,
        )
        for index in range(number)
    )
    now = timezone.now()
    revisions = Revision.objects.bulk_create(
        Revision(
            service=service,
            number=1,
            model_version=version,
            environment=place.environment,
            verified_at=now,
            has_answered=True,
        )
        for service in services
    )
    groups = add_groups(
        REPLICA_ROLE, [ProcessGroup(label=f"service-{one.pk}-0") for one in services], place
    )
    Replica.objects.bulk_create(
        Replica(
            revision=revision,
            number=0,
            group=group,
            address=model_server,
            state=ReplicaState.READY,
            ready_at=now,
        )
        for revision, group in zip(revisions, groups, strict=True)
    )


def add_groups(role: str, groups: list[ProcessGroup], place: Place) -> list[ProcessGroup]:
    """Store groups of one process each, which has started."""
    now = timezone.now()
    for group in groups:
        group.team, group.target, group.environment = place.team, place.target, place.environment
        group.barrier_opened_at = now
    stored = ProcessGroup.objects.bulk_create(groups)
    Process.objects.bulk_create(
        Process(
            group=group,
            role=role,
            index=0,
            state=ProcessState.RUNNING,
            token_digest=group.label,
            heartbeat_at=now,
            started_at=now,
        )
        for group in stored
    )
    return stored


def supervise(fence: leases.Fence, ticks: int) -> tuple[list[float], int]:
    """Return the CPU seconds of each tick and of the second before it, and the most queries."""
    supervisor = Supervisor()
    seconds = []
    queries = []

    def count(execute: Callable[..., Any], *arguments: Any) -> Any:
        queries[-1] += 1
        return execute(*arguments)

    with leases.fenced(fence):
        supervisor.tick()
        for _ in range(ticks):
            queries.append(0)
            began = time.process_time()
            time.sleep(1)
            with connection.execute_wrapper(count):
                supervisor.tick()
            seconds.append(time.process_time() - began)
    return seconds, max(queries)


def main(run_count: int, service_count: int, ticks: int) -> None:
    for module in (launch_plan, target_states, target_reachability):
        module.backend_for = lambda target: AtOnce()  # type: ignore[attr-defined]
    server = ThreadingHTTPServer(("127.0.0.1", 0), AlwaysReady)
    OtherProcess(target=server.serve_forever, daemon=True).start()
    place = make_place()
    add_runs(run_count, place)
    add_services(service_count, place, f"127.0.0.1:{server.server_port}")
    fence = leases.take(DUTY, "bench")
    if fence is None:
        sys.exit("Another has the duty of supervising.")
    seconds, queries = supervise(fence, ticks)
    ended = run_count - Run.objects.filter(status=RunStatus.RUNNING).count()
    unwell = service_count - Service.objects.filter(state=ServiceState.HEALTHY).count()
    if ended or unwell:
        sys.exit(f"{ended} runs ended, {unwell} services are not healthy")
    print(median(seconds), max(seconds), queries)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
