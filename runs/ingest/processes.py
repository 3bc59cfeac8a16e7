"""What a runner asks and tells about its process: what to start, how it goes, how it ended."""

import asyncio
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.utils import timezone

from runner.constants import (
    HEARTBEAT_SECONDS,
    LARGEST_EXIT_CODE,
    LOGS_DIRECTORY,
    MAX_REASON_CHARACTERS,
    PROTOCOL,
    is_exit_code,
)
from runs.ingest import checkpoints, process_reports
from runs.ingest.http import RunnerRequest, RunnerRequestRefused
from runs.ingest.state import IngestState
from runs.launch.process_secrets import with_keys
from runs.launch.run_secrets import mask_for, secrets_for_runner
from runs.logs.log_file import folder_of
from runs.logs.merged import MergedLog
from runs.metrics import usage
from runs.models import Process
from runs.source.durable import sync_filesystem
from workspace.compute.program_text import clean_text
from workspace.platform.database_threads import run_in_database_thread, run_in_sync_thread

BARRIER_CHECK = 0.05
MAX_NODE_CHARACTERS = 100


async def spec(request: RunnerRequest, here: IngestState) -> dict[str, Any]:
    return await run_in_database_thread(_spec, request.principal.process_id)


async def ready(request: RunnerRequest, here: IngestState) -> dict[str, Any]:
    host = (await request.json()).get("host")
    node = clean_text(host, MAX_NODE_CHARACTERS) if isinstance(host, str) else ""
    go = await run_in_database_thread(_ready, request.principal.process_id, node)
    here.tokens.forget_flags()
    here.nudge(request.principal, "process")
    flags = await here.tokens.flags(request.principal)
    return {"go": go, "stop": flags is not None and flags.should_stop}


async def heartbeat(request: RunnerRequest, here: IngestState) -> dict[str, Any]:
    body = await request.json()
    is_waiting = body.get("state") == "ready"
    flags = await here.tokens.flags(request.principal, BARRIER_CHECK if is_waiting else 1.0)
    if here.is_heartbeat_write_due(request.principal):
        sample = usage.read(body.get("usage"))
        await run_in_database_thread(_store_heartbeat, request.principal.process_id, sample)
        if sample is not None:
            here.nudge(request.principal, "usage")
    if flags is None:
        raise RunnerRequestRefused(HTTPStatus.UNAUTHORIZED, "This process group was removed.")
    return {
        "go": flags.is_barrier_open,
        "stop": flags.should_stop,
        "grace_seconds": flags.grace_seconds,
    }


async def started(request: RunnerRequest, here: IngestState) -> dict[str, Any]:
    await request.json()
    await run_in_database_thread(_started, request.principal.process_id)
    return {}


async def exited(request: RunnerRequest, here: IngestState) -> dict[str, Any]:
    body = await request.json()
    exit_code, reason = body.get("exit_code"), body.get("reason")
    if not is_exit_code(exit_code):
        raise RunnerRequestRefused(
            HTTPStatus.BAD_REQUEST,
            f"exit_code should be a whole number from 0 to {LARGEST_EXIT_CODE}.",
        )
    await run_in_database_thread(
        _exited,
        request.principal.process_id,
        exit_code,
        clean_text(reason, MAX_REASON_CHARACTERS) if isinstance(reason, str) else "",
        body.get("out_of_memory") is True,
        body.get("was_stopped") is True,
    )
    return {}


async def collected(request: RunnerRequest, here: IngestState) -> dict[str, Any]:
    await request.json()
    caller = request.principal
    merged = MergedLog(caller.label, caller.names, final={caller.name})
    await asyncio.to_thread(merged.update)
    await run_in_sync_thread(sync_filesystem, folder_of(caller.label))
    await run_in_database_thread(_collected, caller.process_id)
    # SQLite may forget its last transactions in a power cut, and the runner forgets all it has.
    await run_in_sync_thread(sync_filesystem, settings.TRAINYARD_HOME)
    here.log_grew(caller)
    here.forget(caller)
    return {}


def _process(process_id: int) -> Process:
    return Process.objects.select_related("group__run").get(pk=process_id)


def _spec(process_id: int) -> dict[str, Any]:
    process = _process(process_id)
    launch = process.launch
    return {
        "protocol": PROTOCOL,
        "name": process.name,
        "command": launch["command"],
        "environment": launch["environment"],
        "secrets": secrets_for_runner(process.group.encrypted_secrets),
        "mpi": with_keys(launch.get("mpi"), process.group.label, process.name),
        "peers": [_host_of(peer) for peer in process.group.processes.all() if peer.address],
        "head_start_seconds": launch.get("head_start_seconds", 0.0),
        "source": bool(launch.get("source")),
        "checkpoints": checkpoints.checkpoint_spec(process),
        "resume": process.group.run is not None and process.group.run.resumed_from_id is not None,
        "watch": [LOGS_DIRECTORY],
        "outputs": bool(launch.get("outputs")),
        "grace_seconds": process.group.grace_seconds,
        "heartbeat_seconds": HEARTBEAT_SECONDS,
        "memory_bytes": process.memory_bytes,
        "max_file_bytes": settings.TRAINYARD_RUN_MAX_BYTES,
        "server_timeout_seconds": settings.TRAINYARD_SERVER_TIMEOUT_DAYS * 86_400 or None,
    }


def _host_of(process: Process) -> str:
    """Return the name by which others reach a process."""
    return process.address.rpartition(":")[0]


def _ready(process_id: int, node: str) -> bool:
    return process_reports.process_ready(_process(process_id), node=node)


def _store_heartbeat(process_id: int, sample: usage.UsageReading | None) -> None:
    Process.objects.filter(pk=process_id).update(heartbeat_at=timezone.now())
    if sample is not None:
        usage.store_sample(process_id, sample)


def _started(process_id: int) -> None:
    process_reports.process_started(_process(process_id))


def _exited(
    process_id: int, exit_code: int, reason: str, out_of_memory: bool, was_stopped: bool
) -> None:
    process = _process(process_id)
    mask = mask_for(process.group.encrypted_secrets)
    process_reports.process_exited(
        process,
        exit_code=exit_code,
        reason=mask.text(reason) if mask else reason,
        out_of_memory=out_of_memory,
        was_stopped=was_stopped,
    )


def _collected(process_id: int) -> None:
    process_reports.process_collected(_process(process_id))
