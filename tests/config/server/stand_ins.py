"""A launcher whose parts misbehave as told: python -m tests.config.server.stand_ins PART..."""

import os
import signal
import sys
import time
from functools import partial

from config.server.launcher import Launcher
from config.server.processes import ServerPart
from config.server.terminal import Terminal


def sleeps() -> None:
    print("here", flush=True)
    time.sleep(3600)


def ends() -> None:
    print("here", flush=True)


def is_stubborn() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleeps()


def has_a_child() -> None:
    """Leave a child in the part's group, that would outlive it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        print(f"child {os.getpid()} is here", flush=True)
        time.sleep(3600)
    time.sleep(3600)


def goodbye(name: str) -> None:
    """Return when the part was asked to end."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(f"{name} was asked"))
    sleeps()


def floods() -> None:
    """Write more than any buffer holds, then say so in a file."""
    for _ in range(200_000):
        print("x" * 100)
    sys.stdout.flush()
    with open(os.environ["FLOODED"], "w"):
        pass
    time.sleep(3600)


def main(names: list[str]) -> None:
    launcher = Launcher(Terminal(), [])
    for name in names:
        if name.startswith("goodbye"):
            launcher.supervise(
                ServerPart(name, partial(goodbye, name)), stops_last=name.endswith("last")
            )
        else:
            launcher.supervise(ServerPart(name, globals()[name]))
    launcher.watch()
    launcher.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
