"""What a runner asks and tells about its process: what to start, how it goes, how it ended."""

import asyncio
from http import HTTPStatus
from typing import Any

from django.utils import timezone

from runs import checkpoints, reports, usage
from runs.ingest_http import Refused, Request
from runs.ingest_state import State
from runs.logs_merged import MergedLog
from runs.models import Process
from runs.mpi_keys import with_keys
from runs.processes import in_database

PROTOCOL = 1
HEARTBEAT_SECONDS = 1
BARRIER_CHECK = 0.05


async def spec(request: Request, here: State) -> dict[str, Any]:
    return await in_database(_spec, request.caller.process_id)


async def ready(request: Request, here: State) -> dict[str, Any]:
    body = await request.json()
    go = await in_database(_ready, request.caller.process_id, str(body.get("host", ""))[:100])
    here.roll.forget_flags()
    here.nudge(request.caller, "process")
    flags = await here.roll.flags(request.caller)
    return {"go": go, "stop": flags is not None and flags.should_stop}


async def beat(request: Request, here: State) -> dict[str, Any]:
    body = await request.json()
    is_waiting = body.get("state") == "ready"
    flags = await here.roll.flags(request.caller, BARRIER_CHECK if is_waiting else 1.0)
    if here.is_note_due(request.caller):
        sample = usage.read(body.get("usage"))
        await in_database(_note_beat, request.caller.process_id, sample)
        if sample is not None:
            here.nudge(request.caller, "usage")
    if flags is None:
        raise Refused(HTTPStatus.UNAUTHORIZED, "The group of this process is no more.")
    return {"go": flags.may_go, "stop": flags.should_stop, "grace_seconds": flags.grace_seconds}


async def started(request: Request, here: State) -> dict[str, Any]:
    await request.json()
    await in_database(_started, request.caller.process_id)
    return {}


async def exited(request: Request, here: State) -> dict[str, Any]:
    body = await request.json()
    exit_code = body.get("exit_code")
    if not isinstance(exit_code, int) or isinstance(exit_code, bool):
        raise Refused(HTTPStatus.BAD_REQUEST, "exit_code should be a whole number.")
    await in_database(
        _exited,
        request.caller.process_id,
        exit_code,
        str(body.get("reason") or ""),
        body.get("out_of_memory") is True,
        body.get("was_stopped") is True,
    )
    return {}


async def collected(request: Request, here: State) -> dict[str, Any]:
    await request.json()
    caller = request.caller
    merged = MergedLog(caller.label, caller.names, final={caller.name})
    await asyncio.to_thread(merged.catch_up)
    await in_database(_collected, caller.process_id)
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
        "mpi": with_keys(launch.get("mpi"), process.group.label, process.name),
        "peers": [_host_of(peer) for peer in process.group.processes.all() if peer.address],
        "head_start_seconds": launch.get("head_start_seconds", 0.0),
        "source": bool(launch.get("source")),
        "checkpoints": checkpoints.told_of(process),
        "resume": process.group.run is not None and process.group.run.resumed_from_id is not None,
        "watch": ["logs"],
        "outputs": bool(launch.get("outputs")),
        "grace_seconds": process.group.grace_seconds,
        "heartbeat_seconds": HEARTBEAT_SECONDS,
        "memory_bytes": process.memory_bytes,
    }


def _host_of(process: Process) -> str:
    """Give the name by which others reach a process."""
    return process.address.rpartition(":")[0]


def _ready(process_id: int, node: str) -> bool:
    return reports.process_ready(_process(process_id), node=node)


def _note_beat(process_id: int, sample: usage.Sample | None) -> None:
    Process.objects.filter(pk=process_id).update(heartbeat_at=timezone.now())
    if sample is not None:
        usage.keep(process_id, sample)


def _started(process_id: int) -> None:
    reports.process_started(_process(process_id))


def _exited(
    process_id: int, exit_code: int, reason: str, out_of_memory: bool, was_stopped: bool
) -> None:
    reports.process_exited(
        _process(process_id),
        exit_code=exit_code,
        reason=reason,
        out_of_memory=out_of_memory,
        was_stopped=was_stopped,
    )


def _collected(process_id: int) -> None:
    reports.process_collected(_process(process_id))
