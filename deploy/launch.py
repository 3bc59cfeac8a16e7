"""Turn a revision into rows and plans: its environment, a replica with its one process."""

import math
from typing import Any

from django.conf import settings
from django.db import transaction

from deploy.configuration import Resources, curated_version
from deploy.models import REPLICA_ROLE, Replica, Revision
from models.models import ModelVersion
from models.selectors import lost_files
from runs.capacity import place_for_service
from runs.events import group_of_service
from runs.models import Process, ProcessGroup
from runs.process_tokens import process_token
from runs.queue_terms import Share
from workspace.compute.base import GroupPlan, ProcessPlan
from workspace.compute.registry import backend_for
from workspace.environments import EnvironmentSpec, get_or_create, serving_packages
from workspace.errors import NotFound
from workspace.models import Environment
from workspace.tokens import digest_of

GRACE_SECONDS = 15
ANSWER_MILLISECONDS = 60_000
# The model is unpacked below the working directory, whose path only the process itself knows.
SHELL = 'exec python -m deploy.modelserver --model_base_path="$PWD/model" "$@"'


def environment_for(revision: Revision) -> Environment:
    """Give the environment of a revision, choosing it the first time."""
    spec = serving_spec(revision.model_version, gpu=bool(revision.resources.get("gpu")))
    environment = get_or_create(revision.service.target, spec)
    if revision.environment_id != environment.pk:
        revision.environment = environment
        revision.save(update_fields=["environment"])
    return environment


def serving_spec(version: ModelVersion, *, gpu: bool) -> EnvironmentSpec:
    """Give what the model server of a version runs in."""
    release = curated_version(version)
    return EnvironmentSpec.of(release, gpu=gpu, packages=serving_packages(release))


def create_replica(revision: Revision, environment: Environment) -> Replica:
    """Write a revision's next replica, with its group, process, address and command.

    Raises NotFound when files of the model are gone: a replica could only wait for them.
    """
    lost = lost_files(revision.model_version)
    if lost:
        raise NotFound(f"{lost[0]} of {revision.model_version} is gone from the storage.")
    service = revision.service
    newest = Replica.objects.filter(revision__service=service).order_by("-number").first()
    number = newest.number + 1 if newest else 0
    label = f"service-{service.pk}-{number}"
    resources = Resources(**revision.resources)
    place = place_for_service(
        service.target,
        Share(resources.cpu or 0.0, resources.memory_bytes or 0, resources.gpu or 0, 1),
    )
    bare = GroupPlan(
        label,
        environment.reference,
        (ProcessPlan(REPLICA_ROLE, number, {}, ports=1, node=place.node),),
    )
    name = bare.processes[0].name
    address = backend_for(service.target).addresses(bare)[name][0]
    with transaction.atomic():
        group = ProcessGroup.objects.create(
            label=label,
            channel=group_of_service(service.pk),
            team=service.team,
            target=service.target,
            environment=environment,
            grace_seconds=GRACE_SECONDS,
        )
        Process.objects.create(
            group=group,
            role=REPLICA_ROLE,
            index=number,
            address=address,
            node=place.node,
            launch=_launch(revision, resources, address),
            cpus=resources.cpu,
            memory_bytes=resources.memory_bytes,
            gpus=list(place.gpus),
            token_digest=digest_of(process_token(label, name)),
        )
        return Replica.objects.create(
            revision=revision, number=number, group=group, address=address
        )


def _launch(revision: Revision, resources: Resources, address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    flags = [
        f"--host={host}",
        f"--rest_api_port={port}",
        f"--model_name={revision.model_version.model.name}",
        "--max_num_load_retries=0",
        "--file_system_poll_wait_seconds=0",
        f"--rest_api_timeout_in_ms={ANSWER_MILLISECONDS}",
    ]
    environment = {"PYTHONPATH": str(settings.BASE_DIR), "PYTHONSAFEPATH": "1"}
    if resources.cpu:
        threads = max(1, math.ceil(resources.cpu))
        flags.append(f"--tensorflow_session_parallelism={threads}")
        environment["OMP_NUM_THREADS"] = str(threads)
    if not resources.gpu:
        environment["CUDA_VISIBLE_DEVICES"] = "-1"
    return {
        "command": ["sh", "-c", SHELL, "modelserver", *flags],
        "environment": environment,
        "source": "model",
        "outputs": False,
    }
