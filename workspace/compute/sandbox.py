"""A program that takes away its own rights, and then becomes another program.

Started as `python -I -S sandbox.py SETTINGS COMMAND...`, SETTINGS being JSON as
`workspace.compute.confinement.Confinement` has it. It imports nothing of the checkout.

Two means are used, each where the kernel has it. In a mount namespace, folders are covered by
empty ones and others cannot be written; Landlock leaves nothing but what is listed. Without
Landlock, what must be confined sees all but its own folders read-only.
"""

import ctypes
import json
import os
import resource
import signal
import stat
import sys
from collections.abc import Iterable
from typing import Any

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
MS_RELATIME, ST_RELATIME = 1 << 21, 4096
# Flags of a mount that a user namespace may not clear, the same numbers in statvfs and mount.
LOCKED_FLAGS = 2 | 4 | 8 | 1024 | 2048
SET_DEATH_SIGNAL, DROP_CAPABILITY, SET_NO_NEW_PRIVILEGES = 1, 24, 38
# Those that containers have: chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap,
# net_bind_service, net_raw, sys_chroot, audit_write.
KEPT_CAPABILITIES = {0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 29}
# System calls have these numbers on all architectures.
MOUNT_SETATTR, CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 442, 444, 445, 446
AT_FDCWD, AT_RECURSIVE, READ_ONLY_ATTRIBUTE = -100, 0x8000, 1
LIST_ACCESS = 1 << 3
READ_ACCESS = LIST_ACCESS | 1 << 0 | 1 << 2  # execute, read files
FILE_ACCESS = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14  # what a rule for a single file may name
SCOPE_SOCKETS_AND_SIGNALS = 3
UNCONFINED = 97  # the exit code where a required confinement cannot be had

_libc = ctypes.CDLL(None, use_errno=True)


class Missing(Exception):
    """The kernel does not let this process confine itself; the text says why."""


def main(settings: dict[str, Any], command: list[str]) -> None:
    if settings["dies_with_parent"]:
        _libc.prctl(SET_DEATH_SIGNAL, signal.SIGKILL)
    if settings["without_network"]:
        _try_to("The network cannot be isolated", _leave_network)
    is_read_only = settings["is_required"] and not (settings["readable"] and _has_landlock())
    is_covered = _try_to(
        "Folders cannot be covered", lambda: _cover(settings, is_read_only=is_read_only)
    )
    is_listed = bool(settings["readable"]) and _try_to(
        "Landlock cannot be used", lambda: _restrict(settings)
    )
    if settings["is_required"] and not (is_listed or (is_covered and is_read_only)):
        print(
            "The files of the installation cannot be kept from this program: the kernel has"
            " neither Landlock nor mount namespaces for this user. Use a target with containers.",
            file=sys.stderr,
        )
        sys.exit(UNCONFINED)
    for name, value in settings["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))
    os.execv(command[0], command)  # noqa: S606 - that is its purpose


def _try_to(words: str, act: Any) -> bool:
    try:
        act()
    except (Missing, OSError) as error:
        print(f"{words} on this machine: {error}.", file=sys.stderr, flush=True)
        return False
    return True


def _checked(result: int, words: str) -> int:
    if result < 0:
        raise Missing(f"{words}: {os.strerror(ctypes.get_errno())}")
    return result


def _unshare(kinds: int) -> None:
    """Enter namespaces of our own; those who are not root need one of users around them."""
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        _checked(_libc.unshare(kinds), "unshare")
        return
    _checked(_libc.unshare(kinds | CLONE_NEWUSER), "unshare")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _leave_network() -> None:
    _unshare(CLONE_NEWNET)


def _cover(settings: dict[str, Any], *, is_read_only: bool) -> None:
    """Cover folders by empty ones, but for what is kept in them; protect others from writing.

    Where all `is_read_only`, nothing but what is writable may be written.
    """
    hidden = _outermost(
        os.path.realpath(path) for path in settings["hidden"] if os.path.isdir(path)
    )
    kept = [path for path in settings["kept"] if os.path.exists(path)]
    protected = sorted({path for path in settings["protected"] if os.path.exists(path)})
    if not hidden and not protected and not is_read_only:
        return
    work = os.getcwd()
    _unshare(CLONE_NEWNS)
    _mount("none", "/", MS_REC | MS_PRIVATE)
    try:
        _mount_all(hidden, kept, protected)
        if is_read_only:
            _protect_all_but([path for path in settings["writable"] if os.path.isdir(path)])
        os.chdir(work)  # the way up from the old one leads to what was covered
    except (Missing, OSError) as error:
        # By now what the program needs may be covered too.
        print(f"The files of the installation cannot be covered: {error}.", file=sys.stderr)
        sys.exit(UNCONFINED)
    if os.geteuid() == 0:
        _drop_capabilities()


def _mount_all(hidden: list[str], kept: list[str], protected: list[str]) -> None:
    # Opened before anything is covered, so that each can still be reached afterwards.
    opened = {path: os.open(path, os.O_PATH) for path in [*kept, *protected]}
    for path in hidden:
        _mount("tmpfs", path, 0, "tmpfs", b"size=1m,mode=755")
    for path in [*protected, *kept]:
        _make_place(path, is_folder=stat.S_ISDIR(os.fstat(opened[path]).st_mode))
        _mount(f"/proc/self/fd/{opened[path]}", path, MS_BIND | MS_REC)
    for path in [*hidden, *protected]:
        _mount("none", path, MS_REMOUNT | MS_BIND | MS_RDONLY | _flags_of(path))
    for number in opened.values():
        os.close(number)


def _protect_all_but(writable: list[str]) -> None:
    """Make every mount read-only but those of some folders; devices can be written all the same."""
    folders = [path for path in writable if not path.startswith("/proc/")]
    for path in folders:
        _mount(path, path, MS_BIND | MS_REC)
    _set_read_only("/", is_set=True)
    for path in folders:
        _set_read_only(path, is_set=False)


def _set_read_only(path: str, *, is_set: bool) -> None:
    changes = (READ_ONLY_ATTRIBUTE, 0) if is_set else (0, READ_ONLY_ATTRIBUTE)
    attributes = (ctypes.c_uint64 * 4)(*changes)
    words = (AT_FDCWD, os.fsencode(path), AT_RECURSIVE, attributes, ctypes.c_size_t(32))
    _checked(_libc.syscall(MOUNT_SETATTR, *words), f"read-only {path}")


def _outermost(paths: Iterable[str]) -> list[str]:
    """Leave out what lies below another: once that is covered, there is nothing of it to cover."""
    found: list[str] = []
    for path in sorted(set(paths)):
        if not any(path.startswith(f"{above.rstrip('/')}/") for above in found):
            found.append(path)
    return found


def _make_place(path: str, *, is_folder: bool) -> None:
    """Make what is mounted upon, where a cover took it away."""
    if os.path.exists(path):
        return
    os.makedirs(path if is_folder else os.path.dirname(path), exist_ok=True)
    if not is_folder:
        open(path, "x").close()


def _flags_of(path: str) -> int:
    flags = os.statvfs(path).f_flag
    return flags & LOCKED_FLAGS | (MS_RELATIME if flags & ST_RELATIME else 0)


def _mount(source: str, path: str, flags: int, kind: str = "", data: bytes | None = None) -> None:
    done = _libc.mount(
        os.fsencode(source), os.fsencode(path), kind.encode() or None, ctypes.c_ulong(flags), data
    )
    _checked(done, f"mount {path}")


def _drop_capabilities() -> None:
    """Keep root from undoing it: from mounting, tracing and raw disks' drivers."""
    for number in range(64):
        if number not in KEPT_CAPABILITIES:
            _libc.prctl(DROP_CAPABILITY, number, 0, 0, 0)


def _has_landlock() -> bool:
    return int(_libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1)) >= 0


def _restrict(settings: dict[str, Any]) -> None:
    """Leave this process and what it starts nothing but the files below these paths."""
    version = _checked(_libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1), "Landlock")
    everything = (1 << 13) - 1
    for since, access in ((2, 1 << 13), (3, 1 << 14)):
        if version >= since:
            everything |= access
    scoped = SCOPE_SOCKETS_AND_SIGNALS if version >= 6 else 0
    attributes = (ctypes.c_uint64 * 3)(everything, 0, scoped)
    size = ctypes.c_size_t(24 if version >= 6 else 8)
    ruleset = _checked(_libc.syscall(CREATE_RULESET, attributes, size, 0), "Landlock")
    given = (("listable", LIST_ACCESS), ("readable", READ_ACCESS), ("writable", everything))
    for name, access in given:
        for path in settings[name]:
            _allow(ruleset, path, access)
    _libc.prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _checked(_libc.syscall(RESTRICT_SELF, ruleset, 0), "Landlock")
    os.close(ruleset)


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        opened = os.open(path, os.O_PATH)
    except OSError:
        return  # what is not there needs no rule
    if not stat.S_ISDIR(os.fstat(opened).st_mode):
        access &= FILE_ACCESS
    rule = access.to_bytes(8, sys.byteorder) + opened.to_bytes(4, sys.byteorder)  # packed
    _checked(_libc.syscall(ADD_RULE, ruleset, 1, rule, 0), f"a rule for {path}")
    os.close(opened)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2:])
