"""The certificates of the gRPC port, from --ssl_config_file."""

import ssl
import tempfile
from pathlib import Path
from typing import Any

import grpc

from ..errors import invalid
from ..textproto import read_text_proto


def server_credentials(path: Path) -> grpc.ServerCredentials:
    """Read an SSLConfig in text form: keys and certificates stand in it, in PEM."""
    config = read_text_proto(path, "SSLConfig")
    for field in ("server_key", "server_cert"):
        if "-----BEGIN" not in getattr(config, field):
            raise invalid(f"{field} in '{path}' must hold the PEM text itself, not a file's name")
    if config.client_verify and not config.custom_ca:
        raise invalid(f"client_verify in '{path}' needs custom_ca, the PEM text of a certificate")
    _check_pair(path, config)
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )


def _check_pair(path: Path, config: Any) -> None:
    """Refuse now what would fail every handshake later; ssl reads files only."""
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as both:
        both.write(f"{config.server_key}\n{config.server_cert}\n")
        both.flush()
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(both.name)
        except ssl.SSLError as error:
            raise invalid(
                f"server_key and server_cert in '{path}' can't be used together: {error}"
            ) from error
