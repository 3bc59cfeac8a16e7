"""Looking at every engine again and again, so that pages can tell at once what it has."""

import logging
import threading

from django.db import DatabaseError, close_old_connections, connection

from workspace.models import ComputeTarget
from workspace.targets.pools import learn_pools
from workspace.targets.states import poll_targets

LOOK_EVERY_SECONDS = 5.0
log = logging.getLogger(__name__)


class TargetPoller(threading.Thread):
    """A thread of the supervisor, which alone may be able to reach an engine."""

    def __init__(self) -> None:
        super().__init__(name="target-watch", daemon=True)
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_SECONDS):
            try:
                close_old_connections()
                poll_all_targets()
            except DatabaseError as error:
                log.warning("The database did not answer: %s", error)
            except Exception:
                log.exception("Polling the targets failed")
        connection.close()

    def stop(self) -> None:
        self._stopping.set()
        if self.is_alive():
            self.join(1)


def poll_all_targets() -> None:
    """Look at all engines, and learn which machines the new ones are."""
    engines = [
        target for target in ComputeTarget.objects.all() if not target.kind_info.is_this_machine
    ]
    learn_pools(engines)
    poll_targets(engines)
