"""What there is to see of a group: what its runners reported joined with what its target shows."""

from runs.decisions import Seen
from runs.models import Process, ProcessGroup
from runs.states import ProcessState
from workspace.compute.base import Backend, SightingState


def reported(group: ProcessGroup) -> list[Seen]:
    """Give what the runners of a group reported."""
    return [_as_seen(process) for process in Process.objects.filter(group=group)]


def look(group: ProcessGroup, backend: Backend) -> list[Seen]:
    """Give what the runners reported and the target shows; have what dead ones left shipped."""
    shown = {sighting.name: sighting for sighting in backend.observe(group.label)}
    not_alive = [
        process.name
        for process in group.processes.all()
        if process.collected_at is None
        and (process.name not in shown or shown[process.name].state != SightingState.ALIVE)
    ]
    leaving = set(backend.salvage(group.label, not_alive)) if not_alive else set()
    return [
        _as_seen(
            process,
            is_alive=process.name in leaving or process.name not in not_alive,
            is_leaving=process.name in leaving,
            trace=shown[process.name].reason if process.name in shown else "",
        )
        for process in Process.objects.filter(group=group)
    ]


def _as_seen(
    process: Process, *, is_alive: bool = True, is_leaving: bool = False, trace: str = ""
) -> Seen:
    return Seen(
        role=process.role,
        index=process.index,
        state=ProcessState(process.state),
        exit_code=process.exit_code,
        reason=process.exit_reason,
        out_of_memory=process.out_of_memory,
        exited_at=process.exited_at,
        is_alive=is_alive,
        is_leaving=is_leaving,
        trace=trace,
        heard_at=process.heartbeat_at,
    )
