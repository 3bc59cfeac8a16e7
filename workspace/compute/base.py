"""The seam: what every kind of compute target does for groups of processes.

Every call may be repeated: what is done stays done, what is gone is no error. What exists is found
again by its labels, never by memory, so a new backend adopts what an earlier one started. Backends
know process groups, not runs or services, and import no Django model. All that goes wrong with a
target is raised as `BackendError`; anything else that is raised is a bug.

Units: bytes, seconds, cores (0.5 is half of one).
tests/compute/test_backend_contract.py holds every kind to these sentences.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from runner.constants import MAX_REASON_CHARACTERS
from workspace.compute.access import ImageLogin
from workspace.compute.program_text import clean_text

MAX_MESSAGE_CHARACTERS = 10_000


class BackendError(Exception):
    """The target could not do what it was asked; the text is for the person who reads the page.

    `retryable`: the same call may succeed later, without anybody changing anything.
    """

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(clean_text(message, MAX_MESSAGE_CHARACTERS))
        self.retryable = retryable


class TargetUnreachable(BackendError):
    """The target did not answer at all: nothing is known of what runs on it."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=True)


class EnvironmentBuildFailed(BackendError):
    """The environment cannot be built from its specification; the text is the resolver's own."""


@dataclass(frozen=True)
class Gpu:
    index: int
    uuid: str
    model: str
    memory_bytes: int
    driver: str = ""


@dataclass(frozen=True)
class Node:
    """One machine of a target. Nothing can be started on one that is not `healthy`.

    `message` says why not, or what else an admin should know.
    """

    name: str
    cpus: float
    memory_bytes: int
    gpus: tuple[Gpu, ...] = ()
    healthy: bool = True
    message: str = ""
    engine_version: str = ""

    def __post_init__(self) -> None:
        """Clean what an engine says of its machine."""
        for name, limit in (("name", 255), ("message", 2000), ("engine_version", 100)):
            object.__setattr__(self, name, clean_text(getattr(self, name), limit))


@dataclass(frozen=True)
class ProcessPlan:
    """One process of a group: what the backend needs to start its runner.

    `environment` holds what the runner itself needs; the command and variables of the user's
    program reach the runner over its protocol. `node` is where the queue placed the process, on
    targets of several nodes; `shm_bytes` sizes /dev/shm in a container. The ports of one that
    `publish_ports` can be reached from this server, at what its sightings give as
    `published_ports`. One that `loads_model` runs a program of ours on what a stranger made: it
    needs no file but those in its own directory.
    """

    role: str
    index: int
    environment: Mapping[str, str]
    cpus: float | None = None
    memory_bytes: int | None = None
    gpus: tuple[str, ...] = ()
    ports: int = 0
    node: str = ""
    shm_bytes: int | None = None
    publish_ports: bool = False
    loads_model: bool = False

    @property
    def name(self) -> str:
        return f"{self.role}-{self.index}"


@dataclass(frozen=True)
class GroupPlan:
    """Processes that start together or not at all; `id` labels everything that exists of them.

    `addresses`: those that an earlier attempt had, by process name. `checkpoints` names the folder
    or volume that all processes, and later attempts, share; empty for none.
    """

    id: str
    environment_reference: str
    processes: tuple[ProcessPlan, ...]
    addresses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    checkpoints: str = ""


@dataclass(frozen=True)
class BuiltEnvironment:
    """An environment that is ready: its reference, what is in it, and its size on disk.

    `packages` are Python's, `versions` those of what matters most: Python, TensorFlow, CUDA...
    """

    reference: str
    packages: Mapping[str, str]
    size_bytes: int
    versions: Mapping[str, str] = field(default_factory=dict)


class ProcessStatusState(StrEnum):
    """ALIVE: starts or runs. EXITED: ended with a known exit code. GONE: ended or lost without."""

    ALIVE = "alive"
    EXITED = "exited"
    GONE = "gone"


@dataclass(frozen=True)
class ProcessStatus:
    """What a backend sees of one process.

    `exit_code` is that of the program where the target knows it, else of its runner; 128 plus N
    after signal N; None unless EXITED. What the runner reported itself counts before it. `reason`
    says in words how the process ended, or what an ALIVE one waits for. `published_ports`:
    `host:port` of each published port of an ALIVE one, as this server reaches it; empty until they
    are known.
    """

    name: str
    state: ProcessStatusState
    exit_code: int | None = None
    reason: str = ""
    node: str = ""
    published_ports: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Clean what an engine, or a program in its runner's place, gives as the reason."""
        object.__setattr__(self, "reason", clean_text(self.reason, MAX_REASON_CHARACTERS))


@runtime_checkable
class Backend(Protocol):
    """One target: its machines, its environments, and the groups of processes that run there.

    Any number of backends, in any number of processes, may serve one target at the same time.
    Each call returns within seconds, but for `prepare`, and raises TargetUnreachable where the
    target does not answer: then nothing is known of what the call did, and it may be made again.
    A call about a group that does not exist is no error: it finds, ends and removes nothing.

    What only some kinds can do is in `workspace.compute.abilities`.
    """

    def check(self) -> Sequence[Node]:
        """Return every node that may be used, with its capacity and health; changes nothing.

        Capacity is all that the node has, whatever runs there. Raises BackendError where the target
        answers and cannot be used as it is set up.
        """
        ...

    def prepare(
        self,
        digest: str,
        spec: Mapping[str, Any],
        log: Callable[[bytes], Any],
        login: ImageLogin | None = None,
    ) -> BuiltEnvironment:
        """Build the environment that `spec` describes, without repeating steps; blocks until done.

        `spec` is what EnvironmentSpec.to_json returns, `digest` its name on these machines, `login`
        for the image that it starts from. Builds of the same digest at the same time all succeed.
        The build's output goes to `log` as it comes, and b"" every second or so while there is
        none; what `log` raises ends the build, of which nothing unfinished is used later.

        Raises EnvironmentBuildFailed with the resolver's own words.
        """
        ...

    def has_environment(self, reference: str) -> bool:
        """Return whether an environment that was prepared is still there."""
        ...

    def discard(self, reference: str) -> None:
        """Remove an environment that nothing uses; one that is gone is no error."""
        ...

    def addresses(self, plan: GroupPlan) -> Mapping[str, Sequence[str]]:
        """Return `host:port` for each port of each process, by its name, before any starts.

        The processes of the group reach each other there. Asked again for the same group the answer
        is the same, from any backend of the target, until `remove`; no other group gets them in
        the meantime where groups share a network. Those in `plan.addresses`, of an attempt that was
        removed, are returned again where they are free.
        """
        ...

    def start(self, plan: GroupPlan) -> None:
        """Start the runner of every process, or leave none running.

        What an earlier call started is adopted: a process that runs goes on, one that has ended is
        not started again, and what is missing is started. The processes may still be starting when
        this returns.

        Raises BackendError when one cannot be started; then none of the group runs. After one that
        is retryable some may run, perhaps of another who starts them too: call again, or `remove`.
        """
        ...

    def observe(self, group_id: str) -> Sequence[ProcessStatus]:
        """Return the status of each process that exists of a group, ordered by name.

        A process that is not in it was never started or was removed. Changes nothing.
        """
        ...

    def stop(self, group_id: str, grace: timedelta) -> None:
        """Ask the programs of every process to end now (SIGTERM), and return at once.

        Their runners kill what is left after `grace`. A kind that cannot signal runners leaves it
        to the web's answer to their next heartbeat, which says the same.
        """
        ...

    def kill(self, group_id: str) -> None:
        """End every process of the group at once, runners and stray descendants included.

        When it returns, `observe` shows none ALIVE; records of how they ended may be lost.
        """
        ...

    def recover_outputs(self, group_id: str, names: Sequence[str]) -> Sequence[str]:
        """Upload logs and outputs that dead runners left unsent; return the names still busy.

        Call it again until it returns none; it starts the work once, and gives up on what fails
        again and again. Names of living processes, and of those that sent everything, are left
        alone. Where nothing can be recovered it returns none at once.
        """
        ...

    def remove(self, group_id: str) -> None:
        """Leave nothing of the group: processes, files, networks, ports. Checkpoints stay."""
        ...

    def keeps_checkpoints(self) -> bool:
        """Return whether checkpoint folders outlive their processes.

        Otherwise runners copy each to this server, and back for the next attempt.
        """
        ...

    def checkpoint_folder(self, name: str) -> str:
        """Return the path at which processes of plans with `checkpoints=name` find their folder."""
        ...

    def remove_checkpoints(self, name: str) -> None:
        """Remove the checkpoint folder `name`; one that is gone is no error."""
        ...
