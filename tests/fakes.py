"""Stand-ins for parts that misbehave on request."""

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from workspace.compute.access import ImageLogin
from workspace.compute.base import (
    BackendError,
    BuiltEnvironment,
    GroupPlan,
    Node,
    ProcessStatus,
    ProcessStatusState,
    TargetUnreachable,
)


class FakeBackend:
    """A target of four cores, whose processes live until they are stopped or made to end."""

    def __init__(self) -> None:
        self.alive: dict[str, set[str]] = {}
        self.ended: dict[str, dict[str, int]] = {}
        self.started: dict[str, list[str]] = {}
        self.built: set[str] = set()
        self.discarded: set[str] = set()
        self.calls: list[tuple[str, str]] = []
        self.start_error: BackendError | None = None
        self.silence: TargetUnreachable | None = None
        self.nodes = [Node("here", cpus=4, memory_bytes=8 * 10**9)]

    def end(self, group_id: str, name: str, exit_code: int) -> None:
        """Make a process end by itself."""
        self.alive[group_id].discard(name)
        self.ended.setdefault(group_id, {})[name] = exit_code

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
        self._answer()
        if digest not in self.built:
            log(b"Built.\n")
        self.built.add(digest)
        self.discarded.discard(digest)
        return BuiltEnvironment(digest, {}, 0)

    def has_environment(self, reference: str) -> bool:
        return reference not in self.discarded

    def discard(self, reference: str) -> None:
        self.built.discard(reference)
        self.discarded.add(reference)
        self.calls.append(("discard", reference))

    def addresses(self, plan: GroupPlan) -> Mapping[str, Sequence[str]]:
        return {
            process.name: [f"here:{2222 + number + 100 * port}" for port in range(process.ports)]
            for number, process in enumerate(plan.processes)
            if process.ports
        }

    def start(self, plan: GroupPlan) -> None:
        self._answer()
        self.calls.append(("start", plan.id))
        if self.start_error:
            raise self.start_error
        started, alive = self.started.setdefault(plan.id, []), self.alive.setdefault(plan.id, set())
        new = [process.name for process in plan.processes if process.name not in started]
        started.extend(new)
        alive.update(new)

    def observe(self, group_id: str) -> Sequence[ProcessStatus]:
        self._answer()
        alive, ended = self.alive.get(group_id, set()), self.ended.get(group_id, {})
        return [
            ProcessStatus(name, ProcessStatusState.ALIVE, node="here")
            if name in alive
            else ProcessStatus(name, ProcessStatusState.EXITED, ended[name], node="here")
            for name in sorted({*alive, *ended})
        ]

    def stop(self, group_id: str, grace: timedelta) -> None:
        self._answer()
        self.calls.append(("stop", group_id))

    def kill(self, group_id: str) -> None:
        self._answer()
        self.calls.append(("kill", group_id))
        self.alive.get(group_id, set()).clear()

    def recover_outputs(self, group_id: str, names: Sequence[str]) -> Sequence[str]:
        return []

    def keeps_checkpoints(self) -> bool:
        return True

    def checkpoint_folder(self, name: str) -> str:
        return f"/checkpoints/{name}"

    def remove_checkpoints(self, name: str) -> None:
        self._answer()
        self.calls.append(("remove_checkpoints", name))

    def remove(self, group_id: str) -> None:
        self._answer()
        self.calls.append(("remove", group_id))
        self.alive.pop(group_id, None)
        self.ended.pop(group_id, None)
        self.started.pop(group_id, None)

    def _answer(self) -> None:
        if self.silence:
            raise self.silence


class SlowBackend(FakeBackend):
    """A target that takes calls, and answers none before `answers` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.answers = threading.Event()

    def check(self) -> Sequence[Node]:
        self.asked += 1
        self.answers.wait(20)
        return super().check()


class LyingBackend(FakeBackend):
    """A target that reports killed and removed processes as alive."""

    def observe(self, group_id: str) -> Sequence[ProcessStatus]:
        names = self.started.get(group_id, ["worker-0"])
        return [ProcessStatus(name, ProcessStatusState.ALIVE) for name in names]


class SilentBackend(FakeBackend):
    """A target whose connection breaks, with the error of its library instead of ours."""

    def _answer(self) -> None:
        raise ConnectionResetError("Connection reset by peer")


class HalfStartingBackend(FakeBackend):
    """A target that starts the first process of a group, fails, and leaves that one running."""

    def start(self, plan: GroupPlan) -> None:
        first = plan.processes[0].name
        self.calls.append(("start", plan.id))
        self.started[plan.id], self.alive[plan.id] = [first], {first}
        raise BackendError("The disk is full.")
