"""Supervise many live runs on a target that answers at once; print a tick's CPU s and queries."""

import os
import sys
import time
from collections.abc import Sequence

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402 - after Django is set up
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402
from django.utils import timezone  # noqa: E402

import runs.launch.plan as launch_plan  # noqa: E402
import workspace.targets.reachability as target_reachability  # noqa: E402
import workspace.targets.states as target_states  # noqa: E402
from runs.config import RunConfig  # noqa: E402
from runs.models import Process, ProcessGroup, Run, Snapshot  # noqa: E402
from runs.states import ProcessState, RunStatus  # noqa: E402
from runs.supervision.reconciler import RunReconciler  # noqa: E402
from workspace.compute.base import Node, ProcessStatus, ProcessStatusState  # noqa: E402
from workspace.models import ComputeTarget, Environment, Experiment, Team  # noqa: E402

TICKS = 5


class AtOnce:
    """A target whose processes are all alive."""

    def check(self) -> Sequence[Node]:
        return [Node("here", cpus=4, memory_bytes=8 * 10**9)]

    def observe(self, label: str) -> Sequence[ProcessStatus]:
        return [ProcessStatus("worker-0", ProcessStatusState.ALIVE)]


def fill(number: int) -> None:
    call_command("migrate", interactive=False, verbosity=0)
    team = Team.objects.create(slug="default", name="Default")
    user = User.objects.create_user("ana")
    target = ComputeTarget.objects.create(team=team, name="local")
    experiment = Experiment.objects.create(team=team, name="digits")
    snapshot = Snapshot.objects.create(team=team, digest="0" * 64, file_count=1, total_bytes=1)
    environment = Environment.objects.create(digest="0" * 64, kind="local", spec={}, state="ready")
    config = RunConfig(experiment="digits", compute_target="local", entry_script="train.py")
    now = timezone.now()
    live = Run.objects.bulk_create(
        Run(
            team=team,
            number=index,
            experiment=experiment,
            snapshot=snapshot,
            target=target,
            environment=environment,
            created_by=user,
            config=config.to_json(),
            status=RunStatus.RUNNING,
            starting_at=now,
            running_at=now,
        )
        for index in range(1, number + 1)
    )
    groups = ProcessGroup.objects.bulk_create(
        ProcessGroup(
            label=f"run-{run.pk}-1", team=team, target=target, environment=environment, run=run
        )
        for run in live
    )
    Process.objects.bulk_create(
        Process(
            group=group,
            role="worker",
            index=0,
            state=ProcessState.RUNNING,
            token_digest=group.label,
            heartbeat_at=now,
            started_at=now,
        )
        for group in groups
    )


def main(number: int) -> None:
    for module in (launch_plan, target_states, target_reachability):
        module.backend_for = lambda target: AtOnce()  # type: ignore[attr-defined]
    fill(number)
    reconciler = RunReconciler()
    reconciler.tick()
    with CaptureQueriesContext(connection) as captured:
        reconciler.tick()
    took = []
    for _ in range(TICKS):
        time.sleep(1)
        began = time.process_time()
        reconciler.tick()
        took.append(time.process_time() - began)
    living = Run.objects.filter(status=RunStatus.RUNNING).count()
    if living != number:
        sys.exit(f"{number - living} runs ended")
    print(sorted(took)[TICKS // 2], len(captured))


if __name__ == "__main__":
    main(int(sys.argv[1]))
