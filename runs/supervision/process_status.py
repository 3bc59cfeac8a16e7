"""The state of a group's processes: the reports of its runners joined with its target's view."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from django.db.models import QuerySet

from runs.models import Process, ProcessGroup
from runs.states import ProcessState
from runs.supervision.decisions import ProcessView, needs_status_check
from workspace.compute.base import Backend, ProcessStatus, ProcessStatusState, TargetUnreachable
from workspace.platform.clock import steady
from workspace.targets.reachability import Reachability


@dataclass(frozen=True)
class LiveGroup:
    """A group whose processes are all alive or have reported their end."""

    group: ProcessGroup
    processes: Sequence[ProcessView]


def live_groups(
    groups: QuerySet[ProcessGroup], reachability: Reachability, is_due: Callable[[str], bool]
) -> dict[int, LiveGroup]:
    """Return those of some groups that live by their ids, in as many queries for all as for one.

    The targets of those that are due are asked first and the reports are read after that, so that
    no process is taken for dead whose report arrived before its end. Left out is a group that
    needs more than a look: its target does not respond or fails, or shows a process as dead that
    has not sent everything.
    """
    by_pk = {group.pk: group for group in groups.select_related("target")}
    shown: dict[int, dict[str, ProcessStatus] | None] = {}
    for pk, group in by_pk.items():
        with suppress(Exception):  # whoever looks at it alone hears of that
            try:
                backend = reachability.backend(group.target)
                shown[pk] = _shown(backend, group) if is_due(group.label) else None
            except TargetUnreachable as error:
                reachability.mark_unreachable(group.target, error)
    reported: defaultdict[int, list[Process]] = defaultdict(list)
    for process in Process.objects.filter(group__in=groups):
        reported[process.group_id].append(process)
    found: dict[int, LiveGroup] = {}
    for pk, statuses in shown.items():
        with suppress(Exception):
            views = _views_unless_dead(reported[pk], statuses)
            if views is not None:
                found[pk] = LiveGroup(by_pk[pk], views)
    return found


def _views_unless_dead(
    processes: Sequence[Process], shown: Mapping[str, ProcessStatus] | None
) -> list[ProcessView] | None:
    views = [_view_of(one, status=(shown or {}).get(one.name)) for one in processes]
    needs_more = needs_status_check(views) if shown is None else _not_alive(processes, shown)
    return None if needs_more else views


def reported_views(group: ProcessGroup) -> list[ProcessView]:
    """Return the processes of a group as their runners reported them.

    Their times are those of `clock.steady`, so that no step of the clock tells on them.
    """
    return [_view_of(process) for process in Process.objects.filter(group=group)]


def process_views(group: ProcessGroup, backend: Backend) -> list[ProcessView]:
    """Return what the runners reported and the target shows; recover the outputs of dead ones."""
    shown = _shown(backend, group)
    processes = list(Process.objects.filter(group=group))
    not_alive = _not_alive(processes, shown)
    leaving: set[str] = set()
    if not_alive:
        leaving = set(backend.recover_outputs(group.label, not_alive))
        processes = list(Process.objects.filter(group=group))
    return [
        _view_of(
            process,
            is_alive=process.name in leaving or process.name not in not_alive,
            is_shipping=process.name in leaving,
            status=shown.get(process.name),
        )
        for process in processes
    ]


def _shown(backend: Backend, group: ProcessGroup) -> dict[str, ProcessStatus]:
    return {status.name: status for status in backend.observe(group.label)}


def _not_alive(processes: Iterable[Process], shown: Mapping[str, ProcessStatus]) -> list[str]:
    """Name the processes that the target does not show alive and that have not sent everything."""
    return [
        process.name
        for process in processes
        if process.collected_at is None
        and (process.name not in shown or shown[process.name].state != ProcessStatusState.ALIVE)
    ]


def _view_of(
    process: Process,
    *,
    is_alive: bool = True,
    is_shipping: bool = False,
    status: ProcessStatus | None = None,
) -> ProcessView:
    return ProcessView(
        role=process.role,
        index=process.index,
        state=ProcessState(process.state),
        exit_code=process.exit_code,
        reason=process.exit_reason,
        out_of_memory=process.out_of_memory,
        exited_at=process.exited_at and steady(process.exited_at),
        is_alive=is_alive,
        is_shipping=is_shipping,
        backend_reason=status.reason if status else "",
        heartbeat_at=process.heartbeat_at and steady(process.heartbeat_at),
        published_ports=status.published_ports if status else (),
    )
