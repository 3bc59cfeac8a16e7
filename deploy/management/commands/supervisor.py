"""The loop that closes the gap between what the database wants and what the backends show."""

import logging
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError, InterfaceError, OperationalError, close_old_connections

from deploy.maintenance import request_maintenance
from deploy.supervision.reconciler import ServiceReconciler
from models.imports.execution import recover_abandoned
from runs.supervision.reconciler import RunReconciler
from workspace.compute.runner_processes import reap
from workspace.environments.services import requeue_abandoned_builds
from workspace.one_look import one_look
from workspace.platform import leases, wakeup
from workspace.platform.clock import Pace, clock_settings
from workspace.status import report_tick
from workspace.targets.poller import TargetPoller
from workspace.targets.reachability import Reachability

DUTY = "supervisor"
TICK_SECONDS = 1.0
MAINTENANCE_CHECK_SECONDS = 60
DATABASE_AWAY = (DatabaseError, InterfaceError)
log = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Start, watch and end runs and services. A second one stands by."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="make one tick and stop")

    def handle(self, *args: Any, once: bool, **options: Any) -> None:
        self.stopping = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        holder = leases.new_holder()
        poller = TargetPoller()
        if not once:
            poller.start()
        supervisor = Supervisor()
        had_duty = False
        try:
            while not self.stopping:
                started = time.monotonic()
                reap()
                clock_settings()  # so that a step of the clock is known from when it was made
                try:
                    close_old_connections()
                    fence = leases.take(DUTY, holder)
                    if bool(fence) != had_duty:
                        had_duty = bool(fence)
                        log.info("%s", "On duty." if fence else "Standing by: another is on duty.")
                    if fence:
                        with leases.fenced(fence):
                            supervisor.tick()
                        report_tick(time.monotonic() - started)
                except leases.LeaseLost as lost:
                    log.warning("%s This tick is left to it.", lost)
                except DATABASE_AWAY as error:
                    log.warning("The database did not answer: %s", error)
                if once:
                    return
                wakeup.wait(max(0.05, TICK_SECONDS - (time.monotonic() - started)))
        finally:
            with suppress(*DATABASE_AWAY):
                leases.release(DUTY, holder)
            poller.stop()

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self.stopping = True


class Supervisor:
    """All that is done in a tick, one thing after the other; the trouble of one ends no other."""

    def __init__(self) -> None:
        reachability = Reachability()
        runs, services = RunReconciler(reachability), ServiceReconciler(reachability)
        self._duties: list[Callable[[], object]] = [
            requeue_abandoned_builds,
            recover_abandoned,
            runs.tick,
            services.tick,
            self._request_maintenance_when_due,
        ]
        self._pace = Pace(MAINTENANCE_CHECK_SECONDS)

    def tick(self) -> None:
        with one_look():
            for duty in self._duties:
                _do(duty)

    def _request_maintenance_when_due(self) -> None:
        if self._pace.is_due("maintenance"):
            request_maintenance()


def _do(duty: Callable[[], object]) -> None:
    """Do one thing of a tick. Raises DatabaseError where the others would fail of it as well."""
    try:
        duty()
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        log.exception("A part of the tick failed; the others go on.")
