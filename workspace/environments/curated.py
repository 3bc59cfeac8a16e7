"""The curated environments: what each promises, and the exact versions in it where it was built."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from workspace.compute.environment_spec import CURATED, CuratedFramework
from workspace.environments.selectors import environments_of
from workspace.models import Environment, EnvironmentState, Team

DISPLAYED_VERSIONS = (
    "Python",
    "TensorFlow",
    "Keras",
    "Horovod",
    "Open MPI",
    "CUDA",
    "cuDNN",
    "NCCL",
)


@dataclass(frozen=True)
class CuratedEnvironment:
    """One framework version on one kind of machine; `versions` are of the newest one built."""

    framework_version: str
    gpu: bool
    framework: CuratedFramework
    environment: Environment | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def requirements(self) -> list[str]:
        return self.framework.requirements(gpu=self.gpu)


def curated_environments(team: Team) -> list[CuratedEnvironment]:
    """Return every framework version, for CPUs and GPUs, with what the team's newest has."""
    built = list(
        environments_of(team)
        .filter(state=EnvironmentState.READY)
        .exclude(versions={})
        .order_by("-built_at")
    )
    return [
        _offer(version, gpu, promise, built)
        for version, promise in CURATED.items()
        for gpu in (False, True)
    ]


def in_display_order(versions: Mapping[str, str]) -> dict[str, str]:
    """Return versions in the order in which they are always shown."""
    return {name: versions[name] for name in DISPLAYED_VERSIONS if name in versions}


def _offer(
    version: str, gpu: bool, promise: CuratedFramework, built: list[Environment]
) -> CuratedEnvironment:
    """Take the versions of the newest of the kind, and of Horovod and MPI from one with them."""
    mine = [
        environment
        for environment in built
        if environment.spec["framework_version"] == version
        and environment.spec["gpu"] == gpu
        and not environment.spec.get("image")
    ]
    if not mine:
        return CuratedEnvironment(version, gpu, promise)
    found: dict[str, str] = {}
    for environment in mine:
        found = {**environment.versions, **found}
    return CuratedEnvironment(version, gpu, promise, mine[0], in_display_order(found))
