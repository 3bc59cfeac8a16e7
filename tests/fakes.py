"""Stand-ins for parts that misbehave on request."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from workspace.compute.access import ImageLogin
from workspace.compute.base import (
    BackendError,
    BuiltEnvironment,
    GroupPlan,
    Node,
    Sighting,
    SightingState,
    Unreachable,
)


class FakeBackend:
    """A target of four cores, whose processes live until they are stopped or made to die."""

    def __init__(self) -> None:
        self.alive: dict[str, set[str]] = {}
        self.calls: list[tuple[str, str]] = []
        self.start_error: BackendError | None = None
        self.silence: Unreachable | None = None
        self.nodes = [Node("here", cpus=4, memory_bytes=8 * 10**9)]

    def check(self) -> Sequence[Node]:
        self._answer()
        return self.nodes

    def prepare(
        self,
        digest: str,
        spec: Mapping[str, Any],
        log: Callable[[bytes], Any],
        login: ImageLogin | None = None,
    ) -> BuiltEnvironment:
        return BuiltEnvironment("here", {}, 0)

    def has_environment(self, reference: str) -> bool:
        return True

    def discard(self, reference: str) -> None:
        self.calls.append(("discard", reference))

    def addresses(self, plan: GroupPlan) -> Mapping[str, Sequence[str]]:
        return {
            process.name: [f"here:{2222 + number + port}" for port in range(process.ports)]
            for number, process in enumerate(plan.processes)
            if process.ports
        }

    def start(self, plan: GroupPlan) -> None:
        self._answer()
        self.calls.append(("start", plan.id))
        if self.start_error:
            raise self.start_error
        self.alive.setdefault(plan.id, {process.name for process in plan.processes})

    def observe(self, group_id: str) -> Sequence[Sighting]:
        self._answer()
        return [
            Sighting(name, SightingState.ALIVE, node="here")
            for name in sorted(self.alive.get(group_id, set()))
        ]

    def stop(self, group_id: str, grace: timedelta) -> None:
        self._answer()
        self.calls.append(("stop", group_id))

    def kill(self, group_id: str) -> None:
        self._answer()
        self.calls.append(("kill", group_id))
        self.alive.get(group_id, set()).clear()

    def salvage(self, group_id: str, names: Sequence[str]) -> Sequence[str]:
        return []

    def discard_checkpoints(self, name: str) -> None:
        self._answer()
        self.calls.append(("discard_checkpoints", name))

    def remove(self, group_id: str) -> None:
        self._answer()
        self.calls.append(("remove", group_id))
        self.alive.pop(group_id, None)

    def _answer(self) -> None:
        if self.silence:
            raise self.silence
