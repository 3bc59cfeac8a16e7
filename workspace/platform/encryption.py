"""Secrets at rest: encrypted with a key made from SECRET_KEY, decrypted only when used."""

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings

from workspace.platform.errors import Conflict


def encrypt(secret: str) -> str:
    """Return the text that is stored for a secret; an empty one stays empty."""
    return _fernet().encrypt(secret.encode()).decode() if secret else ""


def decrypt(encrypted: str) -> str:
    """Return the decrypted secret. Raises Conflict when SECRET_KEY has changed."""
    if not encrypted:
        return ""
    try:
        return _fernet().decrypt(encrypted.encode()).decode()
    except InvalidToken as error:
        raise Conflict(
            "A stored secret cannot be read: SECRET_KEY has changed since. Enter the certificates"
            " and passwords of the compute target again."
        ) from error


def _fernet() -> Fernet:
    key = hashlib.sha256(b"trainyard sealing\0" + settings.SECRET_KEY.encode()).digest()
    return Fernet(base64.urlsafe_b64encode(key))
