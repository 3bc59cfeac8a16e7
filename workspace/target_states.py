"""What compute targets show of themselves, as the supervisor or we saw it a moment ago.

A page never waits long for an engine: what was seen is kept at the broker, where every part of the
product finds it, also one that cannot reach the engine itself.
"""

import hashlib
import json
import logging
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass

from redis.exceptions import RedisError

from workspace import broker
from workspace.compute.base import BackendError, Gpu, Node, Unreachable
from workspace.compute.registry import backend_for
from workspace.models import ComputeTarget, TargetKind
from workspace.patience import PATIENCE_SECONDS, answer, ask
from workspace.selectors import local_use_problem

FRESH_SECONDS = 12.0
KEPT_SECONDS = 60
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TargetState:
    """A compute target and what its backend says of it now."""

    target: ComputeTarget
    nodes: tuple[Node, ...] = ()
    trouble: str = ""

    @property
    def use_problem(self) -> str:
        return local_use_problem(self.target)

    @property
    def word(self) -> str:
        """Say in one word whether runs start here."""
        if self.target.is_draining:
            return "draining"
        if self.target.is_paused:
            return "paused"
        if self.use_problem:
            return "off"
        if self.target.unreachable_since or not self.nodes:
            return "unreachable"
        return "open"


@dataclass(frozen=True)
class _Sight:
    """What was seen of a target, and when; an error when it could not be asked."""

    at: float
    nodes: tuple[Node, ...] = ()
    error: str = ""

    @property
    def is_fresh(self) -> bool:
        return time.time() - self.at < FRESH_SECONDS


def target_state(target: ComputeTarget) -> TargetState:
    """Give a target's nodes; what it cannot tell is told as `trouble`."""
    try:
        nodes = nodes_of(target)
    except BackendError as error:
        return TargetState(target, trouble=str(error))
    trouble = "; ".join(f"{node.name}: {node.message}" for node in nodes if not node.healthy)
    return TargetState(target, nodes, trouble)


def target_states(targets: Iterable[ComputeTarget]) -> list[TargetState]:
    """Give the states of several targets, asking those not seen lately all at once."""
    listed = list(targets)
    seen = {target.pk: _recall(target) for target in listed}
    look_at(t for t in listed if not (sight := seen[t.pk]) or not sight.is_fresh)
    return [target_state(target) for target in listed]


def nodes_of(target: ComputeTarget) -> tuple[Node, ...]:
    """Give the nodes of a target as seen a moment ago. Raises BackendError, and that soon."""
    if target.kind == TargetKind.LOCAL:
        return tuple(backend_for(target).check())
    seen = _recall(target)
    if seen is None or not seen.is_fresh:
        fresh = _sight_of(ask(backend_for(target).check), PATIENCE_SECONDS)
        # Where only the supervisor reaches the engine, what it saw counts, and not that we cannot.
        if seen is None or seen.error or not fresh.error:
            seen = fresh
            _keep(target, seen)
    if seen.error:
        raise Unreachable(seen.error)
    return seen.nodes


def look_at(targets: Iterable[ComputeTarget]) -> None:
    """Look at targets all at once, and keep what is seen for everyone."""
    asked = [
        (target, ask(backend_for(target).check))
        for target in targets
        if target.kind != TargetKind.LOCAL
    ]
    until = time.monotonic() + PATIENCE_SECONDS
    for target, question in asked:
        _keep(target, _sight_of(question, until - time.monotonic()))


def _sight_of(asked: "Future[Sequence[Node]]", seconds: float) -> _Sight:
    try:
        nodes = answer(asked, seconds)
    except BackendError as error:
        return _Sight(time.time(), error=str(error))
    return _Sight(time.time(), tuple(nodes))


def _recall(target: ComputeTarget) -> _Sight | None:
    try:
        with broker.asked() as asked:
            kept = asked.get(_key(target))
    except RedisError:
        return None
    if kept is None:
        return None
    row = json.loads(kept)
    nodes = [Node(**{**n, "gpus": tuple(Gpu(**gpu) for gpu in n["gpus"])}) for n in row["nodes"]]
    return _Sight(row["at"], tuple(nodes), row["error"])


def _keep(target: ComputeTarget, seen: _Sight) -> None:
    try:
        with broker.asked() as asked:
            asked.set(_key(target), json.dumps(asdict(seen)), ex=KEPT_SECONDS)
    except RedisError as error:
        log.debug("What was seen of %s could not be kept: %s", target, error)


def _key(target: ComputeTarget) -> str:
    """Name what was seen of a target, as it is reached now: at another address it is forgotten."""
    reached = f"{target.address}\0{target.tls_cert}\0{target.sealed_tls_key}\0{target.nodes}"
    return f"trainyard:nodes:{target.pk}:{hashlib.sha256(reached.encode()).hexdigest()[:16]}"
