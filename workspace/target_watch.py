"""Looking at every engine again and again, so that pages can tell at once what it has."""

import logging
import threading

from django.db import DatabaseError, close_old_connections, connection

from workspace.compute.base import BackendError
from workspace.errors import DomainError
from workspace.models import ComputeTarget, TargetKind
from workspace.pools import settle_pool
from workspace.target_states import look_at

LOOK_EVERY_SECONDS = 5.0
log = logging.getLogger(__name__)


class TargetWatch(threading.Thread):
    """A thread of the supervisor, which alone may be able to reach an engine."""

    def __init__(self) -> None:
        super().__init__(name="target-watch", daemon=True)
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_SECONDS):
            try:
                close_old_connections()
                look_around()
            except DatabaseError as error:
                log.warning("The database did not answer: %s", error)
        connection.close()

    def stop(self) -> None:
        self._stopping.set()
        if self.is_alive():
            self.join(1)


def look_around() -> None:
    """Look at all engines, and learn which machines the new ones are."""
    usable = []
    for target in ComputeTarget.objects.exclude(kind=TargetKind.LOCAL):
        try:
            settle_pool(target)
        except BackendError as error:
            log.debug("Target %s: %s", target, error)
        except DomainError as error:
            log.warning("Target %s cannot be asked: %s", target, error)
            continue
        usable.append(target)
    look_at(usable)
