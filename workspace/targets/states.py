"""What compute targets show of themselves, as the supervisor or we saw it a moment ago.

A page never waits long for an engine: what was seen is kept at the broker, where every part of the
product finds it, also one that cannot reach the engine itself.
"""

import hashlib
import logging
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass

from redis.exceptions import RedisError

from workspace.compute.base import BackendError, Gpu, Node, TargetUnreachable
from workspace.models import ComputeTarget
from workspace.platform import broker
from workspace.targets.backends import backend_for
from workspace.targets.selectors import local_use_problem
from workspace.targets.timeouts import CALL_TIMEOUT_SECONDS, ask_target, call_result

FRESH_SECONDS = 12.0
KEPT_SECONDS = 60
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TargetStatus:
    """A compute target and what its backend says of it now."""

    target: ComputeTarget
    nodes: tuple[Node, ...] = ()
    error: str = ""

    @property
    def use_problem(self) -> str:
        return local_use_problem(self.target)

    @property
    def summary(self) -> str:
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
class _CachedNodes:
    """What was seen of a target, and when; an error when it could not be asked."""

    at: float
    nodes: tuple[Node, ...] = ()
    error: str = ""

    @property
    def is_fresh(self) -> bool:
        return abs(time.time() - self.at) < FRESH_SECONDS


def target_status(target: ComputeTarget) -> TargetStatus:
    """Return a target's nodes; what it cannot tell is told as `error`."""
    try:
        nodes = nodes_of(target)
    except BackendError as error:
        return TargetStatus(target, error=str(error))
    trouble = "; ".join(f"{node.name}: {node.message}" for node in nodes if not node.healthy)
    return TargetStatus(target, nodes, trouble)


def target_statuses(targets: Iterable[ComputeTarget]) -> list[TargetStatus]:
    """Return the states of several targets, asking those not seen lately all at once."""
    listed = list(targets)
    seen = {target.pk: _recall(target) for target in listed}
    poll_targets(t for t in listed if not (sight := seen[t.pk]) or not sight.is_fresh)
    return [target_status(target) for target in listed]


def nodes_of(target: ComputeTarget) -> tuple[Node, ...]:
    """Return the nodes of a target as seen a moment ago. Raises BackendError, and that soon."""
    if target.kind_info.is_this_machine:
        return tuple(backend_for(target).check())
    seen = _recall(target)
    if seen is None or not seen.is_fresh:
        fresh = _cached_nodes(_ask(target), CALL_TIMEOUT_SECONDS)
        # Where only the supervisor reaches the engine, what it saw counts, and not that we cannot.
        if seen is None or seen.error or not fresh.error:
            seen = fresh
            _keep(target, seen)
    if seen.error:
        raise TargetUnreachable(seen.error)
    return seen.nodes


def poll_targets(targets: Iterable[ComputeTarget]) -> None:
    """Look at targets all at once, and keep what is seen for everyone."""
    asked = [(target, _ask(target)) for target in targets if not target.kind_info.is_this_machine]
    until = time.monotonic() + CALL_TIMEOUT_SECONDS
    for target, question in asked:
        _keep(target, _cached_nodes(question, until - time.monotonic()))


def _ask(target: ComputeTarget) -> "Future[Sequence[Node]]":
    return ask_target(target, "nodes", lambda: backend_for(target).check())


def _cached_nodes(asked: "Future[Sequence[Node]]", seconds: float) -> _CachedNodes:
    try:
        nodes = call_result(asked, seconds)
    except BackendError as error:
        return _CachedNodes(time.time(), error=str(error))
    return _CachedNodes(time.time(), tuple(nodes))


def _recall(target: ComputeTarget) -> _CachedNodes | None:
    row = broker.load_json(_key(target))
    if row is None:
        return None
    nodes = [Node(**{**n, "gpus": tuple(Gpu(**gpu) for gpu in n["gpus"])}) for n in row["nodes"]]
    return _CachedNodes(row["at"], tuple(nodes), row["error"])


def _keep(target: ComputeTarget, seen: _CachedNodes) -> None:
    try:
        broker.store_json(_key(target), asdict(seen), KEPT_SECONDS)
    except RedisError as error:
        log.debug("What was seen of %s could not be kept: %s", target, error)


def _key(target: ComputeTarget) -> str:
    """Name what was seen of a target, as it is reached now: at another address it is forgotten."""
    reached = f"{target.address}\0{target.tls_cert}\0{target.encrypted_tls_key}\0{target.nodes}"
    return f"trainyard:nodes:{target.pk}:{hashlib.sha256(reached.encode()).hexdigest()[:16]}"
