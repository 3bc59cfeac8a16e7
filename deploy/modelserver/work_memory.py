"""Work that is refused before it costs memory: by what a request becomes, not by what was sent.

A number of JSON takes two bytes on the wire and up to fifty while it is read.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from .errors import Code, ServingError
from .memory import format_bytes, memory_left

# Smaller work is not counted.
COUNTED = 1024 * 1024
# What is free is not given out whole: runs and answers take some as well.
SHARE = 0.75
# While JSON is read: an element, with its place in its list and in the tensor; a list, an object
# and a string, each with an element.
ELEMENT_BYTES = 56
LIST_BYTES = 136
OBJECT_BYTES = 304
STRING_BYTES = 64
# An element of an answer as text, in a list of texts, and in the texts that hold it.
ANSWER_BYTES = 120
# A gRPC message: as bytes, as an object, in its tensors.
MESSAGE_COPIES = 4
# A string of a gRPC message: in the message, as an object, and in TensorFlow.
MESSAGE_STRING_BYTES = 96


class TooLargeForReplica(ServingError):
    """Work for which the replica has too little memory even when nothing else is to be done."""

    def __init__(self, size: int, most: int) -> None:
        super().__init__(
            Code.RESOURCE_EXHAUSTED,
            f"The request would take about {format_bytes(size)} of memory, and this replica has"
            f" {format_bytes(most)} for requests. Send fewer values at a time, or give the service"
            " more memory",
        )

    @property
    def http_status(self) -> int:
        return 413


class WorkMemory:
    """What requests take while they are worked on, against what is free at the moment."""

    def __init__(self, left: Callable[[], int | None] = memory_left) -> None:
        self._left = left
        self._lock = Lock()
        self._held = 0
        self._most = 0

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Count so many bytes in for as long as the block runs; a ServingError refuses them."""
        if size < COUNTED:
            yield
            return
        self._take(size)
        try:
            yield
        finally:
            with self._lock:
                self._held -= size

    def _take(self, size: int) -> None:
        with self._lock:
            left = self._left()
            if left is not None:
                room = int(left * SHARE)
                self._most = max(self._most, room)
                if size > self._most:
                    raise TooLargeForReplica(size, self._most)
                if size > room - self._held:
                    raise ServingError(
                        Code.RESOURCE_EXHAUSTED,
                        f"The request would take about {format_bytes(size)} of memory, which other"
                        " requests have at the moment. Send it again later, or fewer values at a"
                        " time",
                    )
            self._held += size


WORK_MEMORY = WorkMemory()


def parsed_size(body: bytes) -> int:
    """Return what a JSON body takes at most until it is tensors, but for the body itself."""
    return (
        2 * len(body)
        + ELEMENT_BYTES * body.count(b",")
        + LIST_BYTES * body.count(b"[")
        + OBJECT_BYTES * body.count(b"{")
        + STRING_BYTES * (body.count(b'"') // 2)
    )


def message_size(size: int, strings: int) -> int:
    """Return what a gRPC message of so many bytes and strings takes until it is tensors."""
    return MESSAGE_COPIES * size + MESSAGE_STRING_BYTES * strings
