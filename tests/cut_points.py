"""The points at which a process may be killed: before each durable write, and around each call.

They are found by counting while the product's own code runs, so a new write is a new point: rows
by Django's wrapper of statements, files by Python's audit events. What comes after a write is the
point before the next one, or the end. Nothing that the killed process would do afterwards changes
anything: its `finally` may write no more.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from typing import Any

from django.conf import settings
from django.db import connection

from workspace.platform.leases import WRITES, Lease

FILE_EVENTS = {
    "open",
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.symlink",
    "os.truncate",
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CALLS_OF_A_TARGET = ("start", "stop", "kill", "recover_outputs", "remove", "remove_checkpoints")


class Killed(BaseException):
    """The process was killed."""


class CutPoints:
    """Counts the points that are passed, and kills at one of them; `where` says which it was."""

    def __init__(self, cut_at: int) -> None:
        self._left = cut_at
        self._is_dead = False
        self.where = "nowhere"

    @property
    def has_cut(self) -> bool:
        return self._left <= 0

    @contextmanager
    def watched(self, backend: object = None) -> Iterator[None]:
        """Be one process, whose writes and calls of a target are points. Raises Killed at one."""
        global _running
        names = CALLS_OF_A_TARGET if backend else ()
        for name in names:
            setattr(backend, name, self.around(name, getattr(backend, name)))
        _install_audit_hook()
        self._is_dead, _running = False, self
        try:
            with connection.execute_wrapper(self._before_statement):
                yield
        finally:
            _running = None
            for name in names:
                delattr(backend, name)

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a call with a point before it and one after it."""

        def cut(*arguments: Any, **named: Any) -> Any:
            self.reach(f"before {name}")
            result = call(*arguments, **named)
            self.reach(f"after {name}")
            return result

        return cut

    def reach(self, where: str) -> None:
        """Pass a point, and die if it is the one; who is dead goes nowhere."""
        if not self._is_dead:
            self._left -= 1
            self._is_dead = self._left == 0
            self.where = where if self._is_dead else self.where
        if self._is_dead:
            raise Killed

    def _before_statement(
        self, execute: Any, sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        if sql.startswith(WRITES) and Lease._meta.db_table not in sql:
            self.reach(sql[:80])
        return execute(sql, params, many, context)


def every_cut(*, at_least: int) -> Iterator[CutPoints]:
    """Yield the points of one life after another, each killed one point later, the last nowhere."""
    for number in count(1):
        points = CutPoints(number)
        yield points
        if not points.has_cut:
            break
    assert number > at_least, f"only {number - 1} points were found"


_running: CutPoints | None = None


@cache
def _install_audit_hook() -> None:
    """See every write of a file from now on; Python lets nobody take such a hook away again."""
    main = threading.get_ident()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if _running is None or event not in FILE_EVENTS or threading.get_ident() != main:
            return
        path = arguments[0]
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITING):
            return
        if _is_ours(path):
            _running.reach(f"{event} {path}")

    sys.addaudithook(hook)


def _is_ours(path: object) -> bool:
    """Return whether a path is in the home, or relative to a folder that is being removed."""
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    text = os.fsdecode(path)
    return not text.startswith("/") or text.startswith(f"{settings.TRAINYARD_HOME}/")
