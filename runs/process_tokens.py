"""The secrets of processes: made from the installation's key, so that none has to be kept."""

import hmac

from django.conf import settings

from workspace.tokens import SecretKind


def process_token(label: str, name: str) -> str:
    """Give the token of one process of a group, the same each time it is asked for."""
    message = f"process {label} {name}".encode()
    mac = hmac.new(settings.SECRET_KEY.encode(), message, "sha256").hexdigest()
    return f"{SecretKind.PROCESS_TOKEN}_{mac[:40]}"
