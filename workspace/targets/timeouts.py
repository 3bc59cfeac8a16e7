"""Asking a target for as long as a person waits, and no longer.

A question that nobody waits for any more still takes a thread until its connection gives up. So a
target is asked one thing once at a time, and the targets of a team have their own few threads: who
adds targets that hang keeps no other team's waiting.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import Any, TypeVar

from workspace.compute.base import TargetUnreachable
from workspace.models import ComputeTarget

CALL_TIMEOUT_SECONDS = 3.0
MAX_CALLS_AT_ONCE = 16
T = TypeVar("T")
_Question = tuple[Hashable, "Future[Any]", Callable[[], Any]]


@dataclass
class _Calls:
    """The questions of one group, such as a team: `open_calls` are not over, some wait."""

    open_calls: "dict[Hashable, Future[Any]]" = field(default_factory=dict)
    waiting: list[_Question] = field(default_factory=list)
    running: int = 0


_lock = Lock()
_groups: defaultdict[Hashable, _Calls] = defaultdict(_Calls)


def start_call(question: Callable[[], T], *, group: Hashable, key: Hashable) -> Future[T]:
    """Begin to ask, or join who asks the same: a question of the group with the same key."""
    with _lock:
        calls = _groups[group]
        known = calls.open_calls.get(key)
        if known is not None and not known.done():
            return known
        asked: Future[T] = Future()
        calls.open_calls[key] = asked
        calls.waiting = [one for one in calls.waiting if not one[1].cancelled()]
        calls.waiting.append((key, asked, question))
        _start_waiting(group, calls)
    return asked


def ask_target(target: ComputeTarget, what: str, question: Callable[[], T]) -> Future[T]:
    """Begin to ask a target something, at the address that it has now."""
    reached = (target.address, target.tls_cert, target.encrypted_tls_key, target.is_trusted)
    key = (target.pk, what, reached, tuple(target.nodes))
    return start_call(question, group=("team", target.team_id), key=key)


def call_result(asked: Future[T], seconds: float = CALL_TIMEOUT_SECONDS) -> T:
    """Return the answer, or raise Unreachable when it does not come in time."""
    try:
        return asked.result(max(0.0, seconds))
    except (NotInTime, CancelledError):
        if asked.cancel():
            raise TargetUnreachable(
                "It was not asked: other targets of its team do not respond, or are many."
            ) from None
        raise TargetUnreachable(
            f"It did not respond within {CALL_TIMEOUT_SECONDS:g} seconds."
        ) from None


def _start_waiting(group: Hashable, calls: _Calls) -> None:
    while calls.waiting and calls.running < MAX_CALLS_AT_ONCE:
        key, asked, question = calls.waiting.pop(0)
        if not asked.set_running_or_notify_cancel():
            continue
        calls.running += 1
        arguments = (group, key, asked, question)
        Thread(target=_answer, args=arguments, name="targets", daemon=True).start()


def _answer(group: Hashable, key: Hashable, asked: "Future[T]", question: Callable[[], T]) -> None:
    try:
        answer = question()
    except BaseException as error:  # who waits gets it, whatever it is
        _end(group, key, asked)
        asked.set_exception(error)
    else:
        _end(group, key, asked)
        asked.set_result(answer)


def _end(group: Hashable, key: Hashable, asked: "Future[Any]") -> None:
    """Make room for who waits, and forget the question, so that the next one asks anew."""
    with _lock:
        calls = _groups[group]
        calls.running -= 1
        if calls.open_calls.get(key) is asked:
            del calls.open_calls[key]
        _start_waiting(group, calls)
        if not calls.running:
            del _groups[group]
