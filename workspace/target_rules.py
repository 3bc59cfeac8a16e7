"""What a compute target may be set to, and all that is wrong with it otherwise."""

import math
import posixpath
import re
from typing import Any
from urllib.parse import urlsplit

from workspace.errors import FieldError, Invalid
from workspace.models import ComputeTarget, TargetKind
from workspace.sealing import seal
from workspace.services import model_errors
from workspace.target_addresses import Address, BadAddress, read_address
from workspace.tls_material import tls_errors

SECRETS = {"tls_key": "sealed_tls_key", "registry_password": "sealed_registry_password"}
LONG_TEXTS = {"tls_ca", "tls_cert", *SECRETS}
ENGINE_FIELDS = (
    "address",
    "tls_ca",
    "tls_cert",
    "tls_key",
    "registry",
    "registry_user",
    "registry_password",
    "base_image",
    "gpu_base_image",
    "web_url",
    "nodes",
    "shared_folder",
)
IMAGE = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._/:@]{0,299}")
REGISTRY = re.compile(r"[A-Za-z0-9][-A-Za-z0-9.]*(:[0-9]{1,5})?(/[a-z0-9][-a-z0-9._/]*)?")
PRIORITIES = range(-100, 101)
SHORTEST_PATIENCE_SECONDS = 10


def fill(
    target: ComputeTarget,
    given: dict[str, Any],
    *,
    without_tls: bool | None,
    before: ComputeTarget | None = None,
) -> None:
    """Put new values into a target. Raises Invalid with all that is wrong with it then."""
    for name, value in given.items():
        if name in SECRETS:
            setattr(target, SECRETS[name], seal(_lines(value)))
        else:
            setattr(target, name, _lines(value) if name in LONG_TEXTS else value)
    if target.kind == TargetKind.LOCAL:
        errors = [
            FieldError(_told_as(name), "A target without containers needs none: leave it out.")
            for name in ENGINE_FIELDS
            if given.get(name)
        ]
    else:
        errors = _engine_errors(target, given, without_tls, before)
    named = {error.field for error in errors}
    errors += [error for error in model_errors(target, "web_url") if error.field not in named]
    errors += _limit_errors(target)
    if errors:
        raise Invalid.of(*errors)


def _engine_errors(
    target: ComputeTarget,
    given: dict[str, Any],
    without_tls: bool | None,
    before: ComputeTarget | None,
) -> list[FieldError]:
    errors = []
    try:
        address = read_address(target.address)
    except BadAddress as bad:
        errors.append(FieldError("address", str(bad)))
    else:
        target.address = str(address)
        errors += _tls_problems(target, given, address, without_tls, before)
    errors += _registry_errors(target, given, before)
    errors += [
        FieldError(name, "This is no name of an image, such as python:3.11-slim.")
        for name in ("base_image", "gpu_base_image")
        if getattr(target, name) and not IMAGE.fullmatch(getattr(target, name))
    ]
    if target.web_url and not _is_origin(target.web_url):
        message = "Give scheme, host and port alone, such as http://trainyard.lan:8000."
        errors.append(FieldError("web_url", message))
    target.web_url = target.web_url.rstrip("/")
    return errors + _node_errors(target) + _shared_folder_errors(target)


def _tls_problems(
    target: ComputeTarget,
    given: dict[str, Any],
    address: Address,
    without_tls: bool | None,
    before: ComputeTarget | None,
) -> list[FieldError]:
    pasted = [name for name in ("tls_ca", "tls_cert", "tls_key") if given.get(name)]
    if pasted and address.scheme != "tcp":
        message = f"Only a tcp address has certificates; this one is {address.scheme}://."
        return [FieldError(name, message) for name in pasted]
    if pasted and without_tls:
        return [FieldError("without_tls", "Give certificates, or go without TLS: not both.")]
    if without_tls or address.scheme != "tcp":
        target.tls_ca = target.tls_cert = target.sealed_tls_key = ""
    moved = before is not None and before.address != target.address
    if moved and target.sealed_tls_key and not given.get("tls_key"):
        message = "The address is another, so give the private key again."
        return [FieldError("tls_key", message)]
    was_plain = before is not None and not moved and not (before.tls_ca or before.tls_cert)
    has_tls = bool(target.tls_ca or target.tls_cert)
    if address.crosses_a_network and not (has_tls or without_tls or was_plain):
        message = (
            "Without TLS whoever reaches this port owns the engine's machine. Give the"
            " certificates, or say that you go without TLS."
        )
        return [FieldError("address", message)]
    # A key that is stored already was checked when it came; only a new one can be wrong.
    if not pasted and not (before and before.tls_cert != target.tls_cert):
        return []
    key = _lines(given.get("tls_key", ""))
    if not key and target.sealed_tls_key:
        if before and before.tls_cert != target.tls_cert:
            message = "The client certificate is another, so give its private key again."
            return [FieldError("tls_key", message)]
        return tls_errors(ca=target.tls_ca, cert="", key="")
    return tls_errors(ca=target.tls_ca, cert=target.tls_cert, key=key)


def _registry_errors(
    target: ComputeTarget, given: dict[str, Any], before: ComputeTarget | None
) -> list[FieldError]:
    if not target.registry:
        target.registry_user = target.sealed_registry_password = ""
        if given.get("registry_user") or given.get("registry_password"):
            return [FieldError("registry", "Name the registry that the user and password are for.")]
        return []
    if not REGISTRY.fullmatch(target.registry):
        message = "Give host and port, without http://, such as registry.lan:5000."
        return [FieldError("registry", message)]
    moved = before is not None and before.registry != target.registry
    if moved and target.sealed_registry_password and not given.get("registry_password"):
        message = "The registry is another, so give the password again."
        return [FieldError("registry_password", message)]
    if target.registry_user and not target.sealed_registry_password:
        return [FieldError("registry_password", "The registry's user needs a password.")]
    if target.sealed_registry_password and not target.registry_user:
        return [FieldError("registry_user", "Name the user that the password is for.")]
    return []


def _node_errors(target: ComputeTarget) -> list[FieldError]:
    names = target.nodes
    if not isinstance(names, list) or not all(isinstance(n, str) and n.strip() for n in names):
        return [
            FieldError("allowed_nodes", "Give the names of nodes, one a line; empty means all.")
        ]
    target.nodes = list(dict.fromkeys(name.strip() for name in names))
    if target.nodes and target.kind != TargetKind.SWARM:
        return [FieldError("allowed_nodes", "Only a Swarm has nodes to choose from: leave it out.")]
    return []


def _shared_folder_errors(target: ComputeTarget) -> list[FieldError]:
    folder = target.shared_folder
    if folder and target.kind != TargetKind.SWARM:
        return [FieldError("shared_folder", "Only a Swarm needs one: leave it out.")]
    if folder and (not folder.startswith("/") or posixpath.normpath(folder) != folder):
        message = "Give an absolute path without . or .. in it, such as /mnt/shared."
        return [FieldError("shared_folder", message)]
    return []


def _limit_errors(target: ComputeTarget) -> list[FieldError]:
    errors = []
    if target.max_cpus is not None and not (math.isfinite(target.max_cpus) and target.max_cpus > 0):
        errors.append(FieldError("max_cpus", "Give a number of CPUs above 0, or none."))
    if target.max_memory_bytes is not None and target.max_memory_bytes <= 0:
        errors.append(FieldError("max_memory_bytes", "Give an amount above 0, or none."))
    if not (math.isfinite(target.idle_cpus) and target.idle_cpus >= 0):
        errors.append(FieldError("idle_cpus", "Give a number of CPUs, 0 or more."))
    if target.idle_memory_bytes < 0:
        errors.append(FieldError("idle_memory_bytes", "Give an amount, 0 or more."))
    if not target.max_processes:
        errors.append(FieldError("max_processes", "A target needs at least 1; pause it instead."))
    errors += [
        FieldError(name, "Give a number from -100 to 100.")
        for name in ("default_priority", "max_priority")
        if getattr(target, name) not in PRIORITIES
    ]
    if not errors and target.default_priority > target.max_priority:
        message = f"The default may not be above {target.max_priority}, the highest allowed."
        errors.append(FieldError("default_priority", message))
    errors += [
        FieldError(name, f"Give at least {SHORTEST_PATIENCE_SECONDS} seconds.")
        for name in ("lost_after_seconds", "still_after_seconds")
        if getattr(target, name) < SHORTEST_PATIENCE_SECONDS
    ]
    return errors


def _told_as(field: str) -> str:
    return "allowed_nodes" if field == "nodes" else field


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return (
        parts.scheme in {"http", "https"}
        and bool(parts.hostname)
        and has_port
        and not (parts.username or parts.path.strip("/") or parts.query or parts.fragment)
        and not any(letter.isspace() for letter in text)
    )


def _lines(text: str) -> str:
    """Give a pasted text with its lines ended as files end them."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
