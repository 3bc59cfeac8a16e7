"""Turn a revision into rows and plans: a replica with its one process."""

import math
from typing import Any

from django.conf import settings
from django.db import transaction

from deploy.config import ServiceResources
from deploy.models import REPLICA_ROLE, Replica, Revision
from models.selectors import missing_files
from runs.events import group_of_service
from runs.launch.process_secrets import process_token
from runs.models import Process, ProcessGroup
from runs.scheduling.capacity import place_for_service
from runs.scheduling.resources import Resources
from workspace.accounts.tokens import digest_of
from workspace.compute.abilities import BuildsImages
from workspace.compute.base import GroupPlan, ProcessPlan
from workspace.compute.images.layers import MODEL_SERVER
from workspace.models import Environment
from workspace.platform.errors import NotFound
from workspace.targets.backends import backend_for

GRACE_SECONDS = 15
ANSWER_MILLISECONDS = 60_000
PORTS = 2  # REST and gRPC
# The model is unpacked below the working directory, whose path only the process itself knows.
SHELL = 'exec {program} --model_base_path="$PWD/model" "$@"'
LOCAL_MODEL_SERVER = "python -m deploy.modelserver"


def create_replica(revision: Revision, environment: Environment) -> Replica:
    """Write a revision's next replica, with its group, process, address and command.

    Raises NotFound when files of the model are gone: a replica could only wait for them.
    """
    check_files(revision)
    service = revision.service
    newest = Replica.objects.filter(revision__service=service).order_by("-number").first()
    number = newest.number + 1 if newest else 0
    label = f"service-{service.pk}-{number}"
    resources = ServiceResources(**revision.resources)
    place = place_for_service(
        service.target,
        Resources(resources.cpu or 0.0, resources.memory_bytes or 0, resources.gpu or 0, 1),
    )
    bare = GroupPlan(
        label,
        environment.reference,
        (ProcessPlan(REPLICA_ROLE, number, {}, ports=PORTS, node=place.node),),
    )
    name = bare.processes[0].name
    rest, grpc = backend_for(service.target).addresses(bare)[name]
    # Where published ports can be reached from here is seen once the process runs.
    is_reached = not service.target.kind_info.publishes_ports
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
            address=rest,
            node=place.node,
            launch=_launch(revision, resources, rest, grpc),
            cpus=resources.cpu,
            memory_bytes=resources.memory_bytes,
            gpus=list(place.gpus),
            token_digest=digest_of(process_token(label, name)),
        )
        return Replica.objects.create(
            revision=revision,
            number=number,
            group=group,
            address=rest if is_reached else "",
            grpc_address=grpc if is_reached else "",
        )


def check_files(revision: Revision) -> None:
    """Raise NotFound when files of a revision's model are gone."""
    lost = missing_files(revision.model_version)
    if lost:
        raise NotFound(f"{lost[0]} of {revision.model_version} is missing from the storage.")


def _launch(
    revision: Revision, resources: ServiceResources, rest: str, grpc: str
) -> dict[str, Any]:
    host, _, port = rest.rpartition(":")
    flags = [
        f"--rest_api_port={port}",
        f"--port={grpc.rpartition(':')[2]}",
        f"--model_name={revision.model_version.model.name}",
        "--max_num_load_retries=0",
        "--file_system_poll_wait_seconds=0",
        f"--rest_api_timeout_in_ms={ANSWER_MILLISECONDS}",
    ]
    environment = {"PYTHONSAFEPATH": "1"}
    target = revision.service.target
    publishes_ports = target.kind_info.publishes_ports
    if not publishes_ports:
        flags.append(f"--host={host}")
    program = MODEL_SERVER
    if not isinstance(backend_for(target), BuildsImages):
        program = LOCAL_MODEL_SERVER
        environment["PYTHONPATH"] = str(settings.BASE_DIR)
        if resources.memory_bytes:
            environment["TRAINYARD_MEMORY_BYTES"] = str(resources.memory_bytes)
    if resources.cpu:
        threads = max(1, math.ceil(resources.cpu))
        flags.append(f"--tensorflow_session_parallelism={threads}")
        environment["OMP_NUM_THREADS"] = str(threads)
    if not resources.gpu:
        environment["CUDA_VISIBLE_DEVICES"] = "-1"
    return {
        "command": ["sh", "-c", SHELL.format(program=program), "modelserver", *flags],
        "environment": environment,
        "source": "model",
        "outputs": False,
        "published_ports": PORTS if publishes_ports else 0,
    }
