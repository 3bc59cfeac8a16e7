"""Where the contract of backends is tested: a target of each kind, with programs to run there.

A `Place` hides what differs: what a program is, how a crash is made, what counts as left behind.
"""

import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from runner import procfs
from tests.docker.engine import Engine
from tests.docker.swarm import Swarm
from tests.fakes import FakeBackend
from tests.runner.web import FakeServer, Told, spec
from tests.waiting import wait_for
from workspace.compute.access import TargetAccess
from workspace.compute.base import (
    Backend,
    BackendError,
    GroupPlan,
    ProcessPlan,
    ProcessStatus,
    ProcessStatusState,
)
from workspace.compute.registry import KINDS, KindInfo, make_backend

SECONDS = 180.0


@dataclass(frozen=True)
class Program:
    """A program, and how one that only pretends to run it ends: None is not by itself."""

    script: str
    exit_code: int | None = None
    exit_code_of_stop: int = 137


SLEEP = "import time\nprint('up', flush=True)\ntime.sleep(600)"
SLEEPS = Program(SLEEP, exit_code_of_stop=143)
IGNORES_STOP = Program(f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{SLEEP}")
SAVES_ON_STOP = Program(
    f"import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n{SLEEP}",
    exit_code_of_stop=7,
)


def exits(code: int) -> Program:
    return Program(f"raise SystemExit({code})", exit_code=code)


class Place(ABC):
    """A target of one kind."""

    recovers = False  # what runners that were killed left unsent is uploaded

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.groups: list[str] = []

    @abstractmethod
    def again(self) -> Backend:
        """Return another backend of the same target, as one has it after a restart."""

    @abstractmethod
    def plan(self, *programs: Program, **each: Any) -> GroupPlan:
        """Plan a group of workers, one for each program."""

    @abstractmethod
    def impossible(self, plan: GroupPlan) -> GroupPlan:
        """Return a plan whose last process cannot be started."""

    def start(self, *programs: Program, **each: Any) -> GroupPlan:
        """Start a group, and wait until those of its programs that do not end are running."""
        plan = self.plan(*programs, **each)
        self.backend.start(plan)
        self.wait_until_up(plan, *programs)
        return plan

    @abstractmethod
    def wait_until_up(self, plan: GroupPlan, *programs: Program) -> None:
        """Wait until those of the programs that do not end are running."""

    def stop(self, plan: GroupPlan, grace: timedelta) -> None:
        """Stop a group as the product does: the backend is asked, and runners hear it too."""
        self.backend.stop(plan.id, grace)

    @abstractmethod
    def starts(self, plan: GroupPlan) -> list[int]:
        """Return how often each program was started."""

    @abstractmethod
    def wait_for_end(self, plan: GroupPlan) -> list[int]:
        """Wait until all programs have ended; return the exit codes that were reported."""

    @abstractmethod
    def left(self) -> list[str]:
        """Name what is left of groups on the target."""

    def prepare(self, digest: str) -> tuple[str, bytes]:
        """Build a small environment; return its reference and the log."""
        log: list[bytes] = []
        return self.backend.prepare(digest, {}, log.append).reference, b"".join(log)

    def statuses(self, plan: GroupPlan) -> Mapping[str, ProcessStatus]:
        return {status.name: status for status in self.backend.observe(plan.id)}

    def states(self, plan: GroupPlan) -> list[ProcessStatusState]:
        return [status.state for status in self.backend.observe(plan.id)]

    def end(self) -> None:
        for group in self.groups:
            self.backend.remove(group)


class FakePlace(Place):
    """The fake, which runs nothing: the place plays the programs."""

    def __init__(self, backend: FakeBackend | None = None) -> None:
        self.fake = backend or FakeBackend()
        super().__init__(self.fake)
        self.programs: dict[str, tuple[Program, ...]] = {}

    def again(self) -> Backend:
        return self.fake

    def plan(self, *programs: Program, **each: Any) -> GroupPlan:
        label = f"run-{uuid4().hex[:8]}-1"
        self.groups.append(label)
        self.programs[label] = programs
        given = {"ports": 1, **each}
        workers = (ProcessPlan("worker", index, {}, **given) for index in range(len(programs)))
        return GroupPlan(label, "here", tuple(workers))

    def impossible(self, plan: GroupPlan) -> GroupPlan:
        self.fake.start_error = BackendError("The disk is full.")
        return plan

    def wait_until_up(self, plan: GroupPlan, *programs: Program) -> None:
        for process, program in zip(plan.processes, programs, strict=True):
            if program.exit_code is not None and process.name in self.fake.alive[plan.id]:
                self.fake.end(plan.id, process.name, program.exit_code)

    def stop(self, plan: GroupPlan, grace: timedelta) -> None:
        super().stop(plan, grace)
        for process, program in zip(plan.processes, self.programs[plan.id], strict=True):
            if process.name in self.fake.alive.get(plan.id, set()):
                self.fake.end(plan.id, process.name, program.exit_code_of_stop)

    def starts(self, plan: GroupPlan) -> list[int]:
        started = self.fake.started.get(plan.id, [])
        return [started.count(process.name) for process in plan.processes]

    def wait_for_end(self, plan: GroupPlan) -> list[int]:
        return [status.exit_code or 0 for status in self.backend.observe(plan.id)]

    def left(self) -> list[str]:
        return [*self.fake.alive, *self.fake.ended]


class RunnerPlace(Place):
    """A target that runs real programs, each under its runner, with a web for them to talk to."""

    environment = ""

    def __init__(self, kind: str, access: TargetAccess, host: str = "127.0.0.1") -> None:
        self.kind, self.access = kind, access
        self.web = FakeServer(host=host)
        super().__init__(make_backend(kind, access))

    @property
    def info(self) -> KindInfo:
        return KINDS[self.kind]

    def again(self) -> Backend:
        make_backend.cache_clear()
        return make_backend(self.kind, self.access)

    def plan(self, *programs: Program, **each: Any) -> GroupPlan:
        label = f"run-{uuid4().hex[:8]}-1"
        self.groups.append(label)
        names = [f"worker-{index}" for index in range(len(programs))]
        workers = []
        for index, program in enumerate(programs):
            token = f"{label}-worker-{index}"
            command = ["python", "-c", program.script]
            self.web.expect(token, spec=spec(command, peers=self.peers(names)))
            variables = {"TRAINYARD_URL": self.web.url, "TRAINYARD_PROCESS_TOKEN": token}
            given = {"ports": 1, **self.placement(index), **each}
            workers.append(ProcessPlan("worker", index, variables, **given))
        return GroupPlan(label, self.environment, tuple(workers))

    def peers(self, names: list[str]) -> list[str]:
        return []

    def placement(self, index: int) -> dict[str, Any]:
        return {}

    def told(self, plan: GroupPlan) -> list[Told]:
        return [self.web.told[f"{plan.id}-{process.name}"] for process in plan.processes]

    def use(self, plan: GroupPlan, index: int, script: str) -> None:
        """Set the program of a process that was not started yet."""
        self.told(plan)[index].spec["command"] = ["python", "-c", script]

    def wait_until_up(self, plan: GroupPlan, *programs: Program) -> None:
        lasting = [
            told
            for told, program in zip(self.told(plan), programs, strict=True)
            if program.exit_code is None
        ]
        wait_for(lambda: all(told.log for told in lasting), f"{plan.id} to run", SECONDS)

    def stop(self, plan: GroupPlan, grace: timedelta) -> None:
        for told in self.told(plan):
            told.spec["grace_seconds"] = grace.total_seconds()
            told.stop = True
        super().stop(plan, grace)

    def starts(self, plan: GroupPlan) -> list[int]:
        return [told.calls.count("started") for told in self.told(plan)]

    def wait_for_end(self, plan: GroupPlan) -> list[int]:
        told = self.told(plan)
        wait_for(lambda: all(one.collected for one in told), f"the end of {plan.id}", SECONDS)
        return [one.ending["exit_code"] for one in told if one.ending]

    @abstractmethod
    def crash(self, plan: GroupPlan) -> None:
        """Let every process of a group die at once, and its runner before it sends anything."""

    def end(self) -> None:
        super().end()
        self.web.close()


class LocalPlace(RunnerPlace):
    """The local target."""

    recovers = True

    def __init__(self, home: Path) -> None:
        super().__init__("local", TargetAccess(home=str(home)))
        self.groups_folder = home / "local"
        self.environment = "environments/plain"
        binaries = home / self.environment / "bin"
        binaries.mkdir(parents=True)
        (binaries / "python").symlink_to(Path(sys.executable).resolve())

    def impossible(self, plan: GroupPlan) -> GroupPlan:
        """Put a file where the folder of the last process has to be."""
        folder = self.groups_folder / plan.id
        folder.mkdir(parents=True)
        (folder / plan.processes[-1].name).touch()
        return plan

    def crash(self, plan: GroupPlan) -> None:
        mark = f"TRAINYARD_RUNNER_DIR={self.groups_folder / plan.id}/".encode()
        for process in procfs.processes_with_variable(mark):
            with suppress(ProcessLookupError):  # a program ends with its runner
                os.kill(process.pid, signal.SIGKILL)

    def left(self) -> list[str]:
        mark = f"TRAINYARD_RUNNER_DIR={self.groups_folder}/".encode()
        living = [str(process.pid) for process in procfs.processes_with_variable(mark)]
        return [*living, *(str(path) for path in self.groups_folder.glob("*/"))]


class BarePlace(LocalPlace):
    """The smallest kind of target, which is registered by one line."""

    recovers = False

    def __init__(self, home: Path) -> None:
        RunnerPlace.__init__(self, "bare", TargetAccess(home=str(home)))
        self.groups_folder = Path(f"{home}-bare") / "groups"
        self.environment = self.prepare("plain")[0]


class DockerPlace(RunnerPlace):
    """A Docker Engine on a socket of this machine."""

    recovers = True

    def __init__(self, engine: Engine, image: str, home: Path) -> None:
        self.engine, self.environment = engine, image
        access = TargetAccess(
            home=str(home), installation=f"test{uuid4().hex[:6]}", address=engine.address
        )
        super().__init__("docker", access, host="0.0.0.0")  # noqa: S104 - reached by the bridge
        self.web.url = f"http://127.0.0.1:{self.web.port}"
        self.access = replace(access, server_url=self.web.url)
        self.backend = make_backend("docker", self.access)

    def impossible(self, plan: GroupPlan) -> GroupPlan:
        *others, last = plan.processes
        return replace(plan, processes=(*others, replace(last, cpus=1000.0)))

    def crash(self, plan: GroupPlan) -> None:
        self.backend.kill(plan.id)

    def left(self) -> list[str]:
        ours: dict[str, Any] = {"label": f"trainyard.installation={self.access.installation}"}
        with self.engine.client() as client:
            return [
                *(str(one.name) for one in client.containers.list(True, filters=ours)),
                *(str(one.name) for one in client.networks.list(filters=ours)),
            ]


class SwarmPlace(RunnerPlace):
    """A Swarm of two nodes, with a registry that both reach."""

    def __init__(self, swarm: Swarm, image: str, home: Path) -> None:
        self.swarm, self.environment = swarm, image
        access = TargetAccess(
            home=str(home),
            installation=f"test{uuid4().hex[:6]}",
            address=swarm.address,
            registry=swarm.registry,
        )
        super().__init__("swarm", access, host=swarm.host)

    def peers(self, names: list[str]) -> list[str]:
        return names

    def placement(self, index: int) -> dict[str, Any]:
        return {"node": self.swarm.nodes[index % 2].name}

    def impossible(self, plan: GroupPlan) -> GroupPlan:
        *others, last = plan.processes
        return replace(plan, processes=(*others, replace(last, node="node-9")))

    def crash(self, plan: GroupPlan) -> None:
        for node in self.swarm.nodes:
            with node.engine.client() as client:
                ours: dict[str, Any] = {"label": f"trainyard.group={plan.id}"}
                for container in client.containers.list(filters=ours):
                    container.kill()

    def left(self) -> list[str]:
        return self.swarm.left_of(f"trainyard.installation={self.access.installation}")
