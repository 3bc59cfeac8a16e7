"""Asking a target for as long as a person waits, and no longer."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from typing import TypeVar

from workspace.compute.base import Unreachable

PATIENCE_SECONDS = 3.0
T = TypeVar("T")
_askers = ThreadPoolExecutor(max_workers=16, thread_name_prefix="targets")


def ask(question: Callable[[], T]) -> Future[T]:
    """Begin to ask; many targets may be asked at once."""
    return _askers.submit(question)


def answer(asked: Future[T], seconds: float = PATIENCE_SECONDS) -> T:
    """Give the answer, or raise Unreachable when it does not come in time."""
    try:
        return asked.result(max(0.0, seconds))
    except NotInTime:
        raise Unreachable(f"It did not answer within {PATIENCE_SECONDS:g} seconds.") from None
