"""From rows to backends: what the database knows of a target becomes a TargetAccess."""

import hashlib
from dataclasses import replace

from django.conf import settings

from workspace.compute.access import TargetAccess
from workspace.compute.base import Backend, BackendError, TargetUnreachable
from workspace.compute.outbound import OutboundPolicy
from workspace.compute.registry import kind_info, make_backend
from workspace.models import ComputeTarget, Environment
from workspace.platform.encryption import decrypt
from workspace.platform.errors import Conflict, Unavailable


class TargetSecretUnreadable(TargetUnreachable, Unavailable):
    """SECRET_KEY has changed: supervisors take the target as silent, people are told why."""


def backend_for(target: ComputeTarget) -> Backend:
    """Return the backend of a target; the same one while its connection is unchanged."""
    return make_backend(target.kind, target_access(target))


def backend_of(environment: Environment) -> Backend:
    """Return the backend that builds and holds an environment. Raises BackendError."""
    if kind_info(environment.kind).is_this_machine:
        return make_backend(environment.kind, _this_server())
    if environment.target is None:
        raise BackendError("The compute target that held this environment was removed.")
    return backend_for(environment.target)


def target_access(target: ComputeTarget) -> TargetAccess:
    """Return all that a backend needs to know of a target. Raises TargetSecretUnreadable."""
    try:
        tls_key = decrypt(target.encrypted_tls_key)
        registry_password = decrypt(target.encrypted_registry_password)
    except Conflict as error:
        raise TargetSecretUnreadable(error.message) from error
    return replace(
        _this_server(),
        address=target.address,
        tls_ca=target.tls_ca,
        tls_cert=target.tls_cert,
        tls_key=tls_key,
        registry=target.registry,
        registry_user=target.registry_user,
        registry_password=registry_password,
        base_image=target.base_image,
        gpu_base_image=target.gpu_base_image,
        nodes=tuple(target.nodes),
        shared_folder=target.shared_folder,
        outbound=outbound_policy(is_restricted=bool(target.address) and not target.is_trusted),
    )


def outbound_policy(*, is_restricted: bool) -> OutboundPolicy:
    """Return where addresses lead that were given by the installation's admin, or by others."""
    if not is_restricted:
        return OutboundPolicy()
    return OutboundPolicy(True, tuple(settings.TRAINYARD_ALLOWED_ENGINE_NETWORKS))


def _this_server() -> TargetAccess:
    """Return what backends know of this server, whatever their target."""
    return TargetAccess(
        home=str(settings.TRAINYARD_HOME),
        installation=_installation(),
        server_url=settings.TRAINYARD_OWN_URL,
        ca_bundle=settings.TRAINYARD_CA_BUNDLE,
    )


def _installation() -> str:
    """Return a name that a restored backup keeps, as it keeps SECRET_KEY."""
    return hashlib.sha256(b"installation" + settings.SECRET_KEY.encode()).hexdigest()[:12]
