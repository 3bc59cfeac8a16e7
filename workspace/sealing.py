"""Secrets at rest: sealed with a key made from SECRET_KEY, opened only where they are used."""

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings

from workspace.errors import Conflict


def seal(secret: str) -> str:
    """Give the text that is stored for a secret; an empty one stays empty."""
    return _fernet().encrypt(secret.encode()).decode() if secret else ""


def unseal(sealed: str) -> str:
    """Give a sealed secret back. Raises Conflict when SECRET_KEY is another than at its sealing."""
    if not sealed:
        return ""
    try:
        return _fernet().decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        raise Conflict(
            "A stored secret cannot be read: SECRET_KEY has changed since. Enter the certificates"
            " and passwords of the compute target again."
        ) from error


def _fernet() -> Fernet:
    key = hashlib.sha256(b"trainyard sealing\0" + settings.SECRET_KEY.encode()).digest()
    return Fernet(base64.urlsafe_b64encode(key))
