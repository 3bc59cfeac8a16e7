"""What is wrong with a compute target as a whole, beside what its settings' model refuses."""

from django.contrib.auth.models import User

from workspace.models import ComputeTarget
from workspace.platform.encryption import encrypt
from workspace.platform.errors import FieldError, Invalid
from workspace.targets.addresses import (
    EngineAddress,
    InvalidEngineAddress,
    parse_engine_address,
)
from workspace.targets.server_access import require_installation_admin
from workspace.targets.settings import SECRETS, TargetSettings, column_of, settings_of
from workspace.targets.tls import tls_errors


def apply_settings(
    target: ComputeTarget,
    settings: TargetSettings,
    *,
    by: User,
    refused_address: list[FieldError],
    before: ComputeTarget | None = None,
) -> None:
    """Put the settings that were given into a target.

    `refused_address` is what `server_access.address_errors` returned of them. Raises Invalid
    with every error, and Forbidden where only the installation's admin may.
    """
    given = given_settings(settings)
    for name, value in given.items():
        if name != "without_tls":
            setattr(target, column_of(name), encrypt(str(value)) if name in SECRETS else value)
    errors = _kind_errors(target, given)
    if "address" in settings_of(target.kind):
        errors += _address_errors(target, settings, before)
        errors += _registry_errors(target, settings, before)
    if target.default_priority > target.max_priority:
        message = f"Use at most {target.max_priority}, the highest priority of this target."
        errors.append(FieldError("default_priority", message))
    if errors:
        raise Invalid.of(*errors)
    require_installation_admin(target, by, settings, before=before, refused_address=refused_address)


def given_settings(settings: TargetSettings) -> dict[str, object]:
    """Return the settings that were named, by name."""
    names = settings.model_fields_set & TargetSettings.model_fields.keys()
    return {name: getattr(settings, name) for name in TargetSettings.model_fields if name in names}


def _kind_errors(target: ComputeTarget, given: dict[str, object]) -> list[FieldError]:
    known = settings_of(target.kind)
    label = target.kind_info.title
    return [
        FieldError(name, f"Remove it: this kind of target ({label}) has no such setting.")
        for name, value in given.items()
        if name not in known and value != TargetSettings.model_fields[name].get_default()
    ]


def _address_errors(
    target: ComputeTarget, settings: TargetSettings, before: ComputeTarget | None
) -> list[FieldError]:
    try:
        address = parse_engine_address(target.address)
    except InvalidEngineAddress as error:
        return [FieldError("address", str(error))]
    return _tls_errors(target, settings, address, before)


def _tls_errors(
    target: ComputeTarget,
    settings: TargetSettings,
    address: EngineAddress,
    before: ComputeTarget | None,
) -> list[FieldError]:
    pasted = [name for name in ("tls_ca", "tls_cert", "tls_key") if getattr(settings, name)]
    if pasted and address.scheme != "tcp":
        message = f"Only a tcp address has certificates; this one is {address.scheme}://."
        return [FieldError(name, message) for name in pasted]
    if pasted and settings.without_tls:
        return [FieldError("without_tls", "Set certificates or connect without TLS, not both.")]
    if settings.without_tls or address.scheme != "tcp":
        target.tls_ca = target.tls_cert = target.encrypted_tls_key = ""
    has_moved = before is not None and before.address != target.address
    if has_moved and target.encrypted_tls_key and not settings.tls_key:
        return [FieldError("tls_key", "The address changed: enter the private key again.")]
    was_plain = before is not None and not has_moved and not (before.tls_ca or before.tls_cert)
    has_tls = bool(target.tls_ca or target.tls_cert)
    if address.crosses_a_network and not (has_tls or settings.without_tls or was_plain):
        message = (
            "Without TLS, anyone who can reach this port controls the engine's machine. Set the"
            " certificates, or choose to connect without TLS."
        )
        return [FieldError("address", message)]
    # A key that is stored already was checked when it came; only a new one can be wrong.
    has_new_certificate = before is not None and before.tls_cert != target.tls_cert
    if not pasted and not has_new_certificate:
        return []
    if not settings.tls_key and target.encrypted_tls_key:
        if has_new_certificate:
            message = "The client certificate changed: enter its private key again."
            return [FieldError("tls_key", message)]
        return tls_errors(ca=target.tls_ca, cert="", key="")
    return tls_errors(ca=target.tls_ca, cert=target.tls_cert, key=settings.tls_key)


def _registry_errors(
    target: ComputeTarget, settings: TargetSettings, before: ComputeTarget | None
) -> list[FieldError]:
    if not target.registry:
        target.registry_user = target.encrypted_registry_password = ""
        if settings.registry_user or settings.registry_password:
            return [FieldError("registry", "Enter the registry that user and password are for.")]
        return []
    # The engine at the address gets the password, to pull with it.
    moved = [
        name
        for name in ("registry", "address")
        if before is not None and getattr(before, name) != getattr(target, name)
    ]
    if moved and target.encrypted_registry_password and not settings.registry_password:
        message = f"The {moved[0]} changed: enter the registry password again."
        return [FieldError("registry_password", message)]
    if target.registry_user and not target.encrypted_registry_password:
        return [FieldError("registry_password", "The registry user needs a password.")]
    if target.encrypted_registry_password and not target.registry_user:
        return [FieldError("registry_user", "Enter the user that the password is for.")]
    return []
