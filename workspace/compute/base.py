"""What a kind of compute target must do: run groups of processes, and be asked about them.

Every call returns soon and may be repeated: what is done stays done, what is gone is no error.
What exists is found again by its labels, never by memory. Backends know process groups, not runs
or services, and import no Django model. Trouble is raised as `BackendError`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Protocol

from workspace.compute.access import ImageLogin


class BackendError(Exception):
    """The target could not do what it was asked; the text is for the person who reads the page."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class Unreachable(BackendError):
    """The target did not answer at all: nothing is known of what runs on it."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=True)


class EnvironmentFailed(BackendError):
    """The environment cannot be built; the text holds the resolver's own words."""


@dataclass(frozen=True)
class Gpu:
    index: int
    uuid: str
    model: str
    memory_bytes: int
    driver: str = ""


@dataclass(frozen=True)
class Node:
    """One machine of a target; memory in bytes, cpus in cores."""

    name: str
    cpus: float
    memory_bytes: int
    gpus: tuple[Gpu, ...] = ()
    healthy: bool = True
    message: str = ""
    engine_version: str = ""


@dataclass(frozen=True)
class ProcessPlan:
    """One process of a group: what the backend needs to start its runner.

    `environment` holds what the runner itself needs; the command and variables of the user's
    program reach the runner over its protocol. `node` is where the queue placed the process, on
    targets of several nodes; `shm_bytes` sizes /dev/shm in a container. The ports of one that
    `is_published` can be reached from this server, at what its sightings give as `doors`.
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
    is_published: bool = False

    @property
    def name(self) -> str:
        return f"{self.role}-{self.index}"


@dataclass(frozen=True)
class GroupPlan:
    """Processes that start together or not at all; `id` labels everything that exists of it.

    `checkpoints` names the folder or volume that all of them, and later attempts, share.
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


class SightingState(StrEnum):
    ALIVE = "alive"
    EXITED = "exited"
    GONE = "gone"


@dataclass(frozen=True)
class Sighting:
    """What a backend sees of one process: EXITED left its record behind, GONE left nothing.

    `doors`: `host:port` for each published port of one that lives, as this server reaches it.
    """

    name: str
    state: SightingState
    exit_code: int | None = None
    reason: str = ""
    node: str = ""
    doors: tuple[str, ...] = ()


class Backend(Protocol):
    def check(self) -> Sequence[Node]:
        """Give the capacity and health of every node. Raises Unreachable."""
        ...

    def prepare(
        self,
        digest: str,
        spec: Mapping[str, Any],
        log: Callable[[bytes], Any],
        login: ImageLogin | None = None,
    ) -> BuiltEnvironment:
        """Make the environment that `spec` describes; its log goes to `log` as it comes.

        `spec` is what EnvironmentSpec.to_json gives, `digest` its name on these machines, `login`
        for the image that it starts from. While there is nothing to tell, `log` gets b"" every
        second or so; what it raises ends the build.

        Raises EnvironmentFailed with the resolver's own words.
        """
        ...

    def has_environment(self, reference: str) -> bool:
        """Say whether an environment that was prepared is still there."""
        ...

    def discard(self, reference: str) -> None:
        """Remove an environment that nothing uses."""
        ...

    def addresses(self, plan: GroupPlan) -> Mapping[str, Sequence[str]]:
        """Give `host:port` for each port of each process, by its name, before any starts.

        Those in `plan.addresses` are given again where they can be.
        """
        ...

    def start(self, plan: GroupPlan) -> None:
        """Start the runner of every process, or of none; those that exist already are adopted."""
        ...

    def observe(self, group_id: str) -> Sequence[Sighting]: ...

    def stop(self, group_id: str, grace: timedelta) -> None:
        """Ask every process to end now (SIGTERM); its runner kills what is left after `grace`."""
        ...

    def kill(self, group_id: str) -> None:
        """End every process of the group at once, runners and stray descendants included."""
        ...

    def salvage(self, group_id: str, names: Sequence[str]) -> Sequence[str]:
        """Ship what dead runners left unsent; give the names for which that still goes on."""
        ...

    def remove(self, group_id: str) -> None:
        """Leave nothing of the group: processes, folders, networks, ports."""
        ...

    def discard_checkpoints(self, name: str) -> None:
        """Remove what the attempts of a run shared, once the run is over."""
        ...
