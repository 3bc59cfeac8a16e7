"""What backends with container images have in common: environments, images, jobs and addresses."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from workspace.compute import containers
from workspace.compute.access import ImageLogin, TargetAccess
from workspace.compute.base import BuiltEnvironment, GroupPlan
from workspace.compute.engine.client import Engine
from workspace.compute.engine.sandboxed_jobs import run_on_engine
from workspace.compute.images.engine_images import EngineImages
from workspace.compute.sandboxed_job import SandboxedJob


class ImageBackend:
    """The part of a backend that is the same for all kinds with a Docker Engine."""

    def __init__(self, access: TargetAccess) -> None:
        self.access = access
        self.engine = Engine(access)
        self._images = EngineImages(access)

    def close(self) -> None:
        """Close the connections; they are opened again when they are needed."""
        self.engine.close()
        self._images.close()

    def prepare(
        self,
        digest: str,
        spec: Mapping[str, Any],
        log: Callable[[bytes], Any],
        login: ImageLogin | None = None,
    ) -> BuiltEnvironment:
        return self._images.prepare(digest, spec, log, login)

    def has_environment(self, reference: str) -> bool:
        return self._images.has(reference)

    def discard(self, reference: str) -> None:
        self._images.discard(reference)

    def stored_image_bytes(self) -> int:
        return self._images.stored_bytes()

    def prune_images(self, digests: Collection[str]) -> int:
        return self._images.prune(digests)

    def run_job(self, environment: str, job: SandboxedJob, log: Callable[[bytes], Any]) -> int:
        return run_on_engine(self.access, environment, job, log)

    def addresses(self, plan: GroupPlan) -> Mapping[str, Sequence[str]]:
        return containers.addresses_of(plan.processes)

    def checkpoint_folder(self, name: str) -> str:
        return containers.CHECKPOINT_FOLDER
