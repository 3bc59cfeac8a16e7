"""What of a compute target only the installation's admin may give: all that reaches this server.

Team admins add engines elsewhere. A local target runs code as the server's own user; a socket or an
address of this machine leads to its engine; ssh logs in with the key of the server's user.
"""

from functools import partial

from django.contrib.auth.models import User

from workspace.compute.base import TargetUnreachable
from workspace.compute.outbound import ForbiddenAddress
from workspace.models import ComputeTarget
from workspace.platform.errors import FieldError, Forbidden
from workspace.targets.addresses import parse_engine_address
from workspace.targets.backends import outbound_policy
from workspace.targets.settings import TargetSettings
from workspace.targets.timeouts import call_result, start_call

ONLY_THE_ADMIN = "Only the installation's admin can"
NOT_ON_A_TRUSTED_TARGET = (
    f"{ONLY_THE_ADMIN} change it on a target whose address they gave, or that was there before"
    " addresses were checked. An engine elsewhere becomes the team's own when an admin of the team"
    " sends its address again by PATCH, with the private key if it has one."
)


def address_errors(settings: TargetSettings, by: User) -> list[FieldError]:
    """Return why a user may not give the address among these settings.

    A host name is looked up, which takes seconds where its servers are silent: not for use within
    a transaction.
    """
    if by.is_superuser or not settings.address:
        return []
    found = parse_engine_address(settings.address)
    if found.scheme == "unix":
        return [FieldError("address", f"{ONLY_THE_ADMIN} add an engine of this machine.")]
    if found.scheme == "ssh":
        message = f"{ONLY_THE_ADMIN} use ssh, which logs in with the key of the server's user."
        return [FieldError("address", message)]
    resolve = partial(outbound_policy(is_restricted=True).resolve, found.host, found.port or 0)
    try:
        call_result(start_call(resolve, group=("user", by.pk), key=settings.address))
    except ForbiddenAddress as error:
        return [FieldError("address", str(error))]
    except (TargetUnreachable, OSError):
        return []  # each connection checks again where the name leads then
    return []


def require_installation_admin(
    target: ComputeTarget,
    by: User,
    settings: TargetSettings,
    *,
    before: ComputeTarget | None,
    refused_address: list[FieldError],
) -> None:
    """Refuse what reaches this server from anyone else, and note who gave the address.

    `before` is the target as it is stored; None if it is new. `refused_address` is what
    `address_errors` returned. Raises Forbidden.
    """
    gives_address = "address" in settings.model_fields_set
    is_new_address = before is None or before.address != target.address
    if by.is_superuser:
        target.is_trusted = target.is_trusted or is_new_address or gives_address
        return
    errors = []
    if target.kind_info.is_this_machine and before is None:
        message = f"{ONLY_THE_ADMIN} add a target that runs code on the server itself."
        errors.append(FieldError("kind", message))
    if target.allow_shared and not (before and before.allow_shared):
        message = f"{ONLY_THE_ADMIN} let several users run code on the server itself."
        errors.append(FieldError("allow_shared", message))
    if is_new_address:
        target.is_trusted = False
        errors += refused_address
    elif before and gives_address and target.address and not refused_address:
        # Who could add this engine as the team's own may make it that.
        could_add_it = settings.tls_key or not before.encrypted_tls_key
        target.is_trusted = target.is_trusted and not could_add_it
    if target.is_trusted and before:
        changed = _changes_of_engine(before, target)
        errors += [FieldError(name, NOT_ON_A_TRUSTED_TARGET) for name in changed]
    if errors:
        raise Forbidden.of(*errors)


def _changes_of_engine(before: ComputeTarget, target: ComputeTarget) -> list[str]:
    """Return which settings differ that make an engine reach somewhere."""
    names = ("registry", "base_image", "gpu_base_image", "shared_folder")
    return [name for name in names if getattr(before, name) != getattr(target, name)]


def require_server_admin_to_share(target: ComputeTarget, by: User) -> None:
    """Refuse to share what runs code on the server itself. Raises Forbidden."""
    if target.kind_info.is_this_machine and not by.is_superuser:
        raise Forbidden(f"{ONLY_THE_ADMIN} share a target that runs code on the server itself.")
