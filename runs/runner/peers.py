"""The other processes of a group, as this one finds them."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

PAUSE_SECONDS = 0.05
PATIENCE_SECONDS = 60.0
NOT_FOUND = 255


def unknown_of(hosts: Sequence[str]) -> list[str]:
    """Give the names that are still not known; a network of many machines learns them by and by."""
    unknown = list(hosts)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        unknown = [host for host in unknown if not _is_known(host)]
        if not unknown or time.monotonic() > deadline:
            return unknown
        time.sleep(PAUSE_SECONDS)


def _is_known(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
