"""The secrets of processes: made from the installation's key, so that none has to be stored.

Each attempt of a run has its own. They are valid for as long as it may write.
"""

import hmac
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from django.conf import settings

from workspace.accounts.tokens import SecretKind


def process_token(label: str, name: str) -> str:
    """Return the token of one process of a group, the same each time it is asked for."""
    message = f"process {label} {name}".encode()
    mac = hmac.new(settings.SECRET_KEY.encode(), message, "sha256").hexdigest()
    return f"{SecretKind.PROCESS_TOKEN}_{mac[:40]}"


def with_keys(mpi: Mapping[str, Any] | None, label: str, name: str) -> dict[str, Any] | None:
    """Add to what a process of an MPI run is told the keys that it needs, and no other.

    A launcher gets its own key and the public ones of the workers, a worker the other way round.
    """
    if mpi is None:
        return None
    if "hosts" not in mpi:
        launcher = _key(label, "launcher-0")
        return {**mpi, "host_key": _private(_key(label, name)), "client_key": _public(launcher)}
    hosts = [{**host, "host_key": _public(_key(label, host["name"]))} for host in mpi["hosts"]]
    return {**mpi, "hosts": hosts, "key": _private(_key(label, name)) if hosts else ""}


def _key(label: str, name: str) -> Ed25519PrivateKey:
    message = f"ssh {label} {name}".encode()
    seed = hmac.new(settings.SECRET_KEY.encode(), message, "sha256").digest()
    return Ed25519PrivateKey.from_private_bytes(seed)


def _private(key: Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def _public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
