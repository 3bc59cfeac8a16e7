"""What only some kinds of target can do, each a small protocol, asked for with `isinstance`.

A backend has an ability by having its methods; callers do without where it is missing.
"""

from collections.abc import Callable, Collection, Iterator
from typing import Any, Protocol, runtime_checkable

from workspace.compute.connection_test import ConnectionStep, ServerAddress
from workspace.compute.sandboxed_job import SandboxedJob


@runtime_checkable
class BuildsImages(Protocol):
    """Its environments are container images, so processes may run in an image of the user's."""

    def stored_image_bytes(self) -> int:
        """Return the disk space that images take in bytes, shared layers counted once."""
        ...

    def prune_images(self, digests: Collection[str]) -> int:
        """Remove the images that no environment of `digests` needs; return how many.

        Layers that nothing is built upon stay for a day, since a build may be using them.
        """
        ...


@runtime_checkable
class KeepsVirtualenvs(Protocol):
    """Its environments are folders of this server."""

    def prune_virtualenvs(self, digests: Collection[str]) -> int:
        """Remove what killed builds and removals left, once it is old; return how much.

        Of the environments of `digests` only what is unfinished goes.
        """
        ...


@runtime_checkable
class ListsGroups(Protocol):
    """It may have again what it removed: an engine that is shut down forgets its last removals."""

    def group_ids(self) -> set[str]:
        """Return the groups of this installation of which it has anything, alive or not."""
        ...


@runtime_checkable
class RunsSandboxedJobs(Protocol):
    """It can run a program once, without network and secrets, and bring home what it wrote."""

    def run_job(self, environment: str, job: SandboxedJob, log: Callable[[bytes], Any]) -> int:
        """Run a job in an environment, by its reference; return the program's exit code.

        Blocks until the job is over. Its output goes to `log` as it comes; what `log` raises ends
        the job. Nothing of the job is left on the target, however it ends.

        Raises JobTimedOut after `job.seconds`, and BackendError.
        """
        ...


@runtime_checkable
class RunsConnectionTests(Protocol):
    """It can be tested step by step, from its address to a process that reaches this server."""

    def connection_test(self, server: ServerAddress) -> Iterator[list[ConnectionStep]]:
        """Yield all steps anew each time that one is done; the target is as before at the end."""
        ...


@runtime_checkable
class IdentifiesMachines(Protocol):
    """It can be reached in several ways, so it is asked which machines it stands for."""

    def machines_id(self) -> str:
        """Return the same name for every way to the same machines; `local` for this one.

        Raises BackendError, also where the target is of another kind than its settings say.
        """
        ...


@runtime_checkable
class ChecksMpi(Protocol):
    """Whether it can start MPI programs depends on what is installed there."""

    def mpi_problem(self) -> str:
        """Return why MPI runs cannot start, with what to install; empty when they can."""
        ...
