"""What /proc tells of processes: who descends from whom, what they use, and who carries a mark."""

from __future__ import annotations

import os
import signal

FIRST_IN_CONTAINER = 1
OOM_COUNTS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ProcessStat:
    """One reading of /proc/PID/stat.

    A process whose main thread has ended is no zombie while another thread lives: it computes, and
    holds its memory, files and locks.
    """

    __slots__ = ("cpu_seconds", "group", "is_zombie", "parent", "pid", "resident", "started")

    def __init__(self, pid: int, line: bytes) -> None:
        fields = line[line.rindex(b")") + 2 :].split()
        self.pid = pid
        self.is_zombie = fields[0] in (b"Z", b"X") and int(fields[17]) <= 1
        self.parent = int(fields[1])
        self.group = int(fields[2])
        self.cpu_seconds = sum(map(int, fields[11:15])) / _TICKS_PER_SECOND
        self.started = int(fields[19])
        self.resident = int(fields[21]) * _PAGE_BYTES


def status_of(pid: int) -> ProcessStat | None:
    """Read one process, or give None when there is none."""
    content = _read(f"/proc/{pid}/stat")
    return ProcessStat(pid, content) if content else None


def descendants(root: int) -> list[ProcessStat]:
    """List all that descend from a process, itself left out, parents before children."""
    children: dict[int, list[ProcessStat]] = {}
    for pid in _pids():
        status = status_of(pid)
        if status is not None:
            children.setdefault(status.parent, []).append(status)
    found: list[ProcessStat] = []
    pending = [root]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += [status.pid for status in below]
    return found


def processes_with_variable(mark: bytes) -> list[ProcessStat]:
    """List the processes that were started with an environment variable that starts as `mark`."""
    found = []
    own = os.getpid()
    for pid in _pids():
        if pid != own and _carries(pid, mark):
            status = status_of(pid)
            if status is not None and not status.is_zombie:
                found.append(status)
    return found


def processes_with_mount(place: str) -> list[ProcessStat]:
    """List the processes that see something mounted on a path on which we see nothing.

    A confined program sees its folder so, and all that it started, whatever became of them since.
    """
    mark = _as_mount_point(os.path.realpath(place))
    if _sees_mount(os.getpid(), mark):
        return []
    found = [status_of(pid) for pid in _pids() if _sees_mount(pid, mark)]
    return [status for status in found if status is not None and not status.is_zombie]


def send_signal(status: ProcessStat, number: int) -> None:
    """Signal the very process that was read, never one that has its number since."""
    try:
        descriptor = os.pidfd_open(status.pid)
    except ProcessLookupError:
        return
    try:
        now = status_of(status.pid)
        if now is not None and now.started == status.started:
            signal.pidfd_send_signal(descriptor, number)
    except (ProcessLookupError, PermissionError):
        return
    finally:
        os.close(descriptor)


def memory_of(processes: list[ProcessStat]) -> int:
    """Return the bytes that processes hold together and cannot be taken from them.

    Pages that several of them share count once; mapped files don't count.
    """
    if len(processes) == 1:
        return _private_memory(processes[0])
    return sum(_share_of_memory(process) for process in processes)


def oom_kills() -> int:
    """Return how often the kernel has killed for want of memory: in our container, or anywhere."""
    own = container_oom_kills()
    return own if own is not None else _sizes(_read("/proc/vmstat"), (b"oom_kill",), unit=1) or 0


def container_oom_kills() -> int | None:
    """Return how often that was in our container, or None where we are not its first process."""
    if os.getpid() != FIRST_IN_CONTAINER:
        return None
    counts = (_sizes(_read(path), (b"oom_kill",), unit=1) for path in OOM_COUNTS)
    return next((count for count in counts if count is not None), None)


def _private_memory(process: ProcessStat) -> int:
    content = _read_of(process.pid, "status", b"RssAnon:")
    found = _sizes(content, (b"RssAnon:", b"RssShmem:", b"VmSwap:"), unit=1024)
    return process.resident if found is None else found


def _share_of_memory(process: ProcessStat) -> int:
    content = _read_of(process.pid, "smaps_rollup")
    found = _sizes(content, (b"Pss_Anon:", b"Pss_Shmem:", b"SwapPss:"), unit=1024)
    return _private_memory(process) if found is None else found


def _sizes(content: bytes, names: tuple[bytes, ...], *, unit: int) -> int | None:
    """Add up the numbers of some lines, or give None when there is no such line."""
    lines = [line.split() for line in content.splitlines()]
    found = [int(words[1]) for words in lines if words and words[0] in names]
    return sum(found) * unit if found else None


def _carries(pid: int, mark: bytes) -> bool:
    content = _read_of(pid, "environ")
    return content.startswith(mark) or b"\0" + mark in content


def _sees_mount(pid: int, mark: bytes) -> bool:
    lines = _read_of(pid, "mountinfo").splitlines()
    return any(line.split()[4:5] == [mark] for line in lines)


def _as_mount_point(path: str) -> bytes:
    for letter in "\\ \t\n":
        path = path.replace(letter, f"\\{ord(letter):03o}")
    return os.fsencode(path)


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _read_of(pid: int, name: str, holding: bytes = b"") -> bytes:
    """Read a file of a process, from another of its threads where the main one has ended."""
    content = _read(f"/proc/{pid}/{name}")
    if content and holding in content:
        return content
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return b""
    others = (_read(f"/proc/{pid}/task/{thread}/{name}") for thread in threads)
    return next((content for content in others if content and holding in content), b"")


def _read(path: str) -> bytes:
    """Return a file's content, or nothing where the process is gone or not ours to look at."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        content = b""
        while chunk := os.read(descriptor, 65536):
            content += chunk
        return content
    except OSError:
        return b""
    finally:
        os.close(descriptor)
