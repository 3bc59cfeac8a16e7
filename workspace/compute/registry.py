"""The kinds of compute targets: what is known of each, and which backend serves it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module

from workspace.compute.access import TargetAccess
from workspace.compute.base import Backend, BackendError

ENGINE_SETTINGS = frozenset(
    {
        "address",
        "tls_ca",
        "tls_cert",
        "tls_key",
        "without_tls",
        "registry",
        "registry_user",
        "registry_password",
        "base_image",
        "gpu_base_image",
        "web_url",
        "images_kept_days",
        "images_max_bytes",
        "unreachable_timeout_seconds",
    }
)


@dataclass(frozen=True)
class KindInfo:
    """What pages, rules and the queue need to know of a kind without loading its backend.

    `backend` is "module:Class", called with a TargetAccess and imported when it is first used.
    `settings` are the settings that it takes beside those of all kinds, by their names in the API.

    `is_this_machine`: it is this server's own machine. All its targets share one capacity and one
    set of environments, and it is asked directly instead of being polled.
    `isolates_users`: processes cannot read what belongs to other users.
    `has_many_nodes`: the queue may place the processes of a run on different nodes.
    `publishes_ports`: addresses of processes hold within their group alone; others reach a process
    by its `published_ports`. Otherwise this server reaches the addresses themselves.
    `has_mpi_workers`: an MPI run has one worker on each node, and a launcher that starts ranks
    there. Otherwise it is one process that starts all of them.
    """

    title: str
    backend: str
    settings: frozenset[str] = frozenset()
    is_this_machine: bool = False
    isolates_users: bool = True
    has_many_nodes: bool = False
    publishes_ports: bool = True
    has_mpi_workers: bool = True


KINDS: dict[str, KindInfo] = {
    "local": KindInfo(
        "This machine, without containers",
        "workspace.compute.local.backend:LocalBackend",
        frozenset({"allow_shared"}),
        is_this_machine=True,
        isolates_users=False,
        publishes_ports=False,
        has_mpi_workers=False,
    ),
    "docker": KindInfo(
        "A Docker Engine",
        "workspace.compute.docker.backend:DockerBackend",
        ENGINE_SETTINGS,
    ),
    "swarm": KindInfo(
        "A Docker Swarm",
        "workspace.compute.swarm.backend:SwarmBackend",
        ENGINE_SETTINGS | {"allowed_nodes", "shared_folder"},
        has_many_nodes=True,
    ),
}


def kind_info(kind: str) -> KindInfo:
    """Return what is known of a kind. Raises BackendError for one that is not registered."""
    info = KINDS.get(kind)
    if info is None:
        raise BackendError(
            f"There is no kind of compute target {kind!r}. Kinds are {', '.join(KINDS)}."
        )
    return info


def kind_titles() -> Mapping[str, str]:
    """Return the title of each kind by its name, as people choose among them."""
    return {name: info.title for name, info in KINDS.items()}


@lru_cache(maxsize=64)
def make_backend(kind: str, access: TargetAccess) -> Backend:
    """Return the backend for a target; the same one while its access is unchanged."""
    module, _, name = kind_info(kind).backend.partition(":")
    backend: Backend = getattr(import_module(module), name)(access)
    return backend
