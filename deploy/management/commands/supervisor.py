"""The loop that closes the gap between what the database wants and what the backends show."""

import logging
import signal
import time
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError, close_old_connections

from deploy.reconciler import ServiceReconciler
from deploy.traffic import drop_old_traffic
from models.selectors import manifests_kept_for
from models.work import clear_benches, recover_abandoned
from runs.reconciler import RunReconciler
from runs.sweeping import sweep_uploads
from workspace import bell, leases
from workspace.environments import recover_stale
from workspace.pruning import enqueue_prune
from workspace.reach import Reach
from workspace.target_watch import TargetWatch

DUTY = "supervisor"
TICK_SECONDS = 1.0
SWEEP_EVERY_SECONDS = 24 * 3600
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
        watch = TargetWatch()
        if not once:
            watch.start()
        reach = Reach()
        runs, services = RunReconciler(reach), ServiceReconciler(reach)
        has_duty = False
        swept_at = float("-inf")
        try:
            while not self.stopping:
                started = time.monotonic()
                try:
                    close_old_connections()
                    held, has_duty = has_duty, leases.take(DUTY, holder)
                    if has_duty != held:
                        log.info(
                            "%s", "On duty." if has_duty else "Standing by: another is on duty."
                        )
                    if has_duty:
                        recover_stale()
                        recover_abandoned()
                        runs.tick()
                        services.tick()
                        if started - swept_at > SWEEP_EVERY_SECONDS:
                            swept_at = started
                            sweep_uploads(also_kept=manifests_kept_for)
                            clear_benches()
                            enqueue_prune()
                            drop_old_traffic()
                except DatabaseError as error:
                    log.warning("The database did not answer: %s", error)
                if once:
                    return
                bell.wait(max(0.05, TICK_SECONDS - (time.monotonic() - started)))
        finally:
            leases.give_back(DUTY, holder)
            watch.stop()

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self.stopping = True
