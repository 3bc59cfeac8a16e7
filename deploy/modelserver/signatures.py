"""A model's signatures as the rest of the server sees them: names, types and a call."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from time import perf_counter
from typing import Protocol

from .batching.queue import BatchQueue
from .errors import ServingError, invalid
from .tensors.arrays import Array

Call = Callable[[list[Array]], list[Array]]


class BoundedCall(Protocol):
    """A call that computes some outputs only, within a time limit (0: none; None: the usual)."""

    def __call__(
        self, feeds: list[Array], outputs: Sequence[str], timeout_ms: int | None, /
    ) -> list[Array]: ...


DEFAULT_SIGNATURE = "serving_default"

QUICK_SECONDS = 0.0003
SLOW_SECONDS = 0.020
WINDOW = 32


class RunTimeTracker:
    """Tells whether runs are so short that handing them to a thread costs more than it saves.

    The fastest run of a window counts, since threads that wait for each other look slow; one
    really slow run sends the following ones back to the threads.
    """

    __slots__ = ("_best", "_runs", "is_short")

    def __init__(self) -> None:
        self.is_short = False
        self._best = inf
        self._runs = 0

    def record(self, seconds: float) -> None:
        if seconds > SLOW_SECONDS:
            self.is_short = False
            self._best, self._runs = inf, 0
            return
        self._best = min(self._best, seconds)
        self._runs += 1
        if self._runs == WINDOW:
            self.is_short = self._best < QUICK_SECONDS
            self._best, self._runs = inf, 0


@dataclass(frozen=True, slots=True)
class Signature:
    """A named way to call a model: inputs and outputs by name, types as TensorFlow spells them.

    `method` is the one that requests are held to; empty where any will do. Where there is a
    `queue`, runs wait in it for others to share a batch with.
    """

    name: str
    inputs: Mapping[str, str]
    outputs: tuple[str, ...]
    call: BoundedCall
    inline_call: Call | None = None
    method: str = ""
    queue: BatchQueue | None = None
    run_times: RunTimeTracker = field(default_factory=RunTimeTracker, compare=False)

    @property
    def runs_inline(self) -> bool:
        """Whether a run may hold up the event loop: it has been short, and can't but end."""
        return self.inline_call is not None and self.queue is None and self.run_times.is_short

    @property
    def is_batched(self) -> bool:
        return self.queue is not None

    def run(
        self,
        tensors: Mapping[str, Array],
        *,
        inline: bool = False,
        outputs: Sequence[str] | None = None,
        timeout_ms: int | None = None,
    ) -> dict[str, Array]:
        """Feed every input and return the outputs asked for, by default all.

        In place means on the caller's thread alone, which saves waking others up, gives up the
        time limit and computes every output.
        """
        feeds = [tensors[name] for name in self.inputs]
        names = self.outputs if outputs is None else outputs
        if self.queue is not None:
            results = dict(zip(self.outputs, self.queue.run(feeds, timeout_ms), strict=True))
            return {name: results[name] for name in names}
        started = perf_counter()
        if inline and self.inline_call and outputs is None:
            computed = self.inline_call(feeds)
        else:
            computed = self.call(feeds, names, timeout_ms)
        self.run_times.record(perf_counter() - started)
        return dict(zip(names, computed, strict=True))

    def submit(
        self,
        tensors: Mapping[str, Array],
        done: Callable[[dict[str, Array] | ServingError], None],
        timeout_ms: int | None = None,
    ) -> None:
        """Run in a batch without waiting for it; `done` is called on another thread."""
        if self.queue is None:
            raise RuntimeError(f"signature {self.name} is not batched")

        def ran(outcome: list[Array] | ServingError) -> None:
            if isinstance(outcome, ServingError):
                done(outcome)
            else:
                done(dict(zip(self.outputs, outcome, strict=True)))

        self.queue.submit([tensors[name] for name in self.inputs], ran, timeout_ms)


def find_signature(signatures: Mapping[str, Signature], asked: str) -> Signature:
    """Return the signature a request names, the default one for an empty name."""
    name = asked or DEFAULT_SIGNATURE
    signature = signatures.get(name)
    if signature is None:
        raise invalid(f'Serving signature name: "{name}" not found in signature def')
    if not signature.inputs:
        raise invalid(f"Failed to get input map for signature: {asked or 'DEFAULT'}")
    return signature
