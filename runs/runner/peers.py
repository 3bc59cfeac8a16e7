"""The other processes of a group, as this one finds them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence

PAUSE_SECONDS = 0.05
PATIENCE_SECONDS = 60.0


def wait_for_names(hosts: Sequence[str], note: Callable[[str], None]) -> None:
    """Return when every name is known: a network of many machines learns them by and by."""
    unknown = list(hosts)
    noted_at = time.monotonic()
    while True:
        unknown = [host for host in unknown if not _is_known(host)]
        if not unknown:
            return
        if time.monotonic() - noted_at > PATIENCE_SECONDS:
            note(f"still waits for {' and '.join(unknown)} to be known by name on the network")
            noted_at = time.monotonic()
        time.sleep(PAUSE_SECONDS)


def _is_known(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
