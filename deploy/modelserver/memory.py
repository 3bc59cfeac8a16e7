"""How much memory this process may still take."""

import os
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

CGROUPS = Path("/sys/fs/cgroup")
OWN_LIMIT = "TRAINYARD_MEMORY_BYTES"


def memory_left() -> int | None:
    """Return the bytes left on the machine, in this container or to this process, the fewest."""
    known = [_left_on_machine(), _left_to_process(), *_left_in_cgroups()]
    return min((left for left in known if left is not None), default=None)


class VariableMemory:
    """What the variables of all models take.

    TensorFlow keeps the memory of models that have gone and gives it to the next ones, so the
    most that was ever taken at once is room too.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._taken = 0
        self._peak = 0

    def take(self, size: int) -> None:
        with self._lock:
            self._taken += size
            self._peak = max(self._peak, self._taken)

    def give_back(self, size: int) -> None:
        with self._lock:
            self._taken -= size

    def room(self) -> int | None:
        """Return the bytes that may still be taken, where that is known."""
        left = memory_left()
        return None if left is None else left + self._peak - self._taken


VARIABLE_MEMORY = VariableMemory()


def format_bytes(size: int) -> str:
    """Write a size for people."""
    return f"{size / 10**9:.1f} GB" if size >= 10**8 else f"{size / 10**6:.1f} MB"


def _left_on_machine() -> int | None:
    return _entry(Path("/proc/meminfo"), "MemAvailable:", 1024)


def _left_to_process() -> int | None:
    """Return what is left of the limit that whoever started this process holds it to."""
    most = os.environ.get(OWN_LIMIT, "")
    used = _entry(Path("/proc/self/status"), "RssAnon:", 1024) if most.isdigit() else None
    return None if used is None else max(0, int(most) - used)


def _left_in_cgroups() -> Iterator[int | None]:
    """Look at every group that this process is in; a file cache that can go counts as left."""
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = CGROUPS / "memory" if controllers else CGROUPS
        limit, usage, cache = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            if controllers
            else ("memory.max", "memory.current", "inactive_file")
        )
        # Inside a container the path may be the host's; the root is then the container's own.
        group = root / path.lstrip("/")
        for folder in (group, *group.parents) if group.is_dir() else (root,):
            most, used = _number(folder / limit), _number(folder / usage)
            if most is not None and used is not None:
                yield most - used + (_entry(folder / "memory.stat", cache, 1) or 0)
            if folder == root:
                break


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdigit() else None


def _entry(path: Path, key: str, unit: int) -> int | None:
    for line in _read(path).splitlines():
        name, _, rest = line.replace("\t", " ").partition(" ")
        if name == key:
            return int(rest.split()[0]) * unit
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
