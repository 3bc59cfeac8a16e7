"""The certificates of the gRPC port, from --ssl_config_file."""

from pathlib import Path

import grpc

from .errors import invalid
from .textproto import read_text_proto


def server_credentials(path: Path) -> grpc.ServerCredentials:
    """Read an SSLConfig in text form: keys and certificates stand in it, in PEM."""
    config = read_text_proto(path, "SSLConfig")
    for field in ("server_key", "server_cert"):
        if "-----BEGIN" not in getattr(config, field):
            raise invalid(f"{field} in '{path}' must hold the PEM text itself, not a file's name")
    if config.client_verify and not config.custom_ca:
        raise invalid(f"client_verify in '{path}' needs custom_ca, the PEM text of a certificate")
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )
