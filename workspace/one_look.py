"""What is looked at once for a while: twenty runs that start together need one look."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_seen: ContextVar[dict[Hashable, str] | None] = ContextVar("seen", default=None)


@contextmanager
def one_look() -> Iterator[None]:
    """Remember what is found until the block ends."""
    before = _seen.set({})
    try:
        yield
    finally:
        _seen.reset(before)


def found(what: Hashable, look: Callable[[], str]) -> str:
    """Return what was found before in the same block, or look; outside of one, always look."""
    seen = _seen.get()
    if seen is None:
        return look()
    if what not in seen:
        seen[what] = look()
    return seen[what]
