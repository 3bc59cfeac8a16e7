"""Which backend serves a compute target; each kind is imported when it is first used."""

import hashlib
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING

from django.conf import settings

from workspace.compute.access import TargetAccess
from workspace.compute.base import Backend, BackendError
from workspace.models import ComputeTarget, Environment, TargetKind
from workspace.sealing import unseal

if TYPE_CHECKING:
    from workspace.compute.docker_images import EngineImages

BACKENDS: dict[str, str] = {
    TargetKind.LOCAL: "workspace.compute.local:LocalBackend",
    TargetKind.DOCKER: "workspace.compute.docker:DockerBackend",
    TargetKind.SWARM: "workspace.compute.swarm:SwarmBackend",
}


def backend_for(target: ComputeTarget) -> Backend:
    """Give the backend of a target; the same one as long as the target is reached the same way."""
    return _make(BACKENDS[target.kind], access_to(target))


def backend_of(environment: Environment) -> Backend:
    """Give the backend that builds and holds an environment."""
    if environment.kind == TargetKind.LOCAL:
        return _make(BACKENDS[TargetKind.LOCAL], TargetAccess(home=str(settings.TRAINYARD_HOME)))
    if environment.target is None:
        raise BackendError("The compute target that held this environment was removed.")
    return backend_for(environment.target)


def images_of(target: ComputeTarget) -> "EngineImages | None":
    """Give the images on the engine of a target, where it has one."""
    if not TargetKind(target.kind).has_containers:
        return None
    images: EngineImages = import_module("workspace.compute.docker_images").EngineImages(
        access_to(target)
    )
    return images


def access_to(target: ComputeTarget) -> TargetAccess:
    """Give all that a backend needs to know of a target."""
    home = str(settings.TRAINYARD_HOME)
    if target.kind == TargetKind.LOCAL:
        return TargetAccess(home=home)
    return TargetAccess(
        home=home,
        installation=_installation(),
        own_url=settings.TRAINYARD_OWN_URL,
        ca_bundle=settings.TRAINYARD_CA_BUNDLE,
        address=target.address,
        tls_ca=target.tls_ca,
        tls_cert=target.tls_cert,
        tls_key=unseal(target.sealed_tls_key),
        registry=target.registry,
        registry_user=target.registry_user,
        registry_password=unseal(target.sealed_registry_password),
        base_image=target.base_image,
        gpu_base_image=target.gpu_base_image,
        nodes=tuple(target.nodes),
        shared_folder=target.shared_folder,
    )


def _installation() -> str:
    """Give a name that a restored backup keeps, as it keeps SECRET_KEY."""
    return hashlib.sha256(b"installation" + settings.SECRET_KEY.encode()).hexdigest()[:12]


@lru_cache(maxsize=64)
def _make(path: str, access: TargetAccess) -> Backend:
    module, _, name = path.partition(":")
    backend: Backend = getattr(import_module(module), name)(access)
    return backend
