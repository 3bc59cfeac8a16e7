"""The first steps of a connection test: does the address lead to an engine that works?"""

import os
import socket
import ssl
import stat
import tempfile
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from workspace.compute.access import TargetAccess
from workspace.compute.connection_test import StepFailed, StepSkipped
from workspace.compute.outbound import ForbiddenAddress

PATIENCE_SECONDS = 5.0
SSH_PORT = 22
NOT_TOLD = "Told only of targets that the installation's admin added."


class AddressTest:
    """Tries the way to an engine, from the name of its host to the handshake."""

    def __init__(self, access: TargetAccess) -> None:
        self._access = access
        self._parts: SplitResult = urlsplit(access.address)

    @property
    def _place(self) -> tuple[str, int]:
        return self._parts.hostname or "", self._parts.port or SSH_PORT

    def resolve(self) -> str:
        """Find the socket's file, or the addresses of the host's name."""
        if self._parts.scheme == "unix":
            return self._find_socket()
        host, port = self._place
        try:
            addresses = self._access.outbound.resolve(host, port)
        except ForbiddenAddress as error:
            raise StepFailed(
                str(error), "Use an address that is allowed.", is_final=True
            ) from error
        except OSError as error:
            raise StepFailed(
                f"The name {host} has no address: {error.strerror or error}.",
                "Fix the host name in the target's address, or this server's DNS.",
                is_final=True,
            ) from error
        if not self._access.outbound.tells_causes:
            return f"{host} has an address."
        return f"{host} is {', '.join(sorted(addresses))}."

    def connect(self) -> str:
        """Open a connection, and close it again."""
        if self._parts.scheme == "unix":
            return self._connect_to_socket()
        if not self._access.outbound.tells_causes:
            raise StepSkipped(NOT_TOLD)
        host, port = self._place
        try:
            self._access.outbound.connect(host, port, PATIENCE_SECONDS).close()
        except ConnectionRefusedError as error:
            raise StepFailed(
                f"Nothing listens on port {port} of {host}.",
                "Start the engine with this address, and compare the port.",
                is_final=True,
            ) from error
        except OSError as error:
            raise StepFailed(
                f"{host} port {port} does not answer: {error.strerror or error}.",
                "Is the machine up, and does a firewall let this server through?",
                is_final=True,
            ) from error
        return f"Port {port} of {host} is open."

    def trust(self) -> str:
        """Shake hands over TLS, where the target has certificates."""
        if self._parts.scheme != "tcp":
            raise StepSkipped("Only tcp addresses use TLS.")
        if not (self._access.tls_ca or self._access.tls_cert):
            raise StepSkipped("The target connects without TLS.")
        if not self._access.outbound.tells_causes:
            raise StepSkipped(NOT_TOLD)
        host, port = self._place
        context = self._context()
        try:
            with (
                self._access.outbound.connect(host, port, PATIENCE_SECONDS) as plain,
                context.wrap_socket(plain, server_hostname=host) as secured,
            ):
                self._hear_verdict(secured, host)
                return f"{secured.version()}, both certificates are trusted."
        except ssl.SSLError as error:
            raise _tls_trouble(error, host) from error
        except OSError as error:
            raise StepFailed(
                f"The handshake was interrupted: {error.strerror or error}.",
                "Does the engine use TLS on this port?",
                is_final=True,
            ) from error

    def _hear_verdict(self, secured: ssl.SSLSocket, host: str) -> None:
        """Ask something: with TLS 1.3 only the answer tells whether our certificate will do."""
        try:
            secured.sendall(f"GET /_ping HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            secured.recv(1)
        except (ssl.SSLEOFError, ConnectionError) as error:
            raise (_refused() if self._access.tls_cert else _asked_for()) from error

    def _find_socket(self) -> str:
        path = self._parts.path
        remedy = "Is the engine installed and running on this machine? Otherwise fix the path."
        try:
            kind = os.stat(path).st_mode
        except OSError as error:
            raise StepFailed(f"{path}: {error.strerror}.", remedy, is_final=True) from error
        if not stat.S_ISSOCK(kind):
            raise StepFailed(f"{path} is not a socket.", remedy, is_final=True)
        return f"{path} is a socket."

    def _connect_to_socket(self) -> str:
        path = self._parts.path
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as tried:
            tried.settimeout(PATIENCE_SECONDS)
            try:
                tried.connect(path)
            except PermissionError as error:
                raise StepFailed(
                    f"This server's user has no access to {path}.",
                    "Put the user into the group that owns the socket, usually docker, and start"
                    " Trainyard again.",
                    is_final=True,
                ) from error
            except OSError as error:
                raise StepFailed(
                    f"Nothing listens on {path}: {error.strerror or error}.",
                    "Start the engine.",
                    is_final=True,
                ) from error
        return f"{path} is open."

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cadata=self._access.tls_ca or None)
            if self._access.tls_cert:
                with tempfile.TemporaryDirectory() as folder:
                    pair = Path(folder, "pair.pem")
                    pair.touch(0o600)
                    pair.write_text(f"{self._access.tls_cert}\n{self._access.tls_key}\n")
                    context.load_cert_chain(pair)
        except (ssl.SSLError, ValueError) as error:
            raise StepFailed(
                f"The stored certificates cannot be used: {error}.",
                "Enter them again in the target's settings.",
                is_final=True,
            ) from error
        return context


def _tls_trouble(error: ssl.SSLError, host: str) -> StepFailed:
    words = str(error).lower()
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message.rstrip(".")
        if "hostname" in why.lower() or "ip address mismatch" in why.lower():
            said = f"The engine's certificate is not valid for {host}: {why}."
            remedy = f"Create one with {host} among its alternative names."
        elif "expired" in why.lower():
            said = "The engine's certificate has expired."
            remedy = "Create a new one on the engine's machine."
        else:
            said = f"The engine's certificate is not signed by the target's authority: {why}."
            remedy = "Enter the certificate of the authority (ca.pem) that signed the engine's."
    elif "wrong version number" in words or "record layer failure" in words or "http" in words:
        said = "The port does not use TLS."
        remedy = "Start the engine with --tlsverify, or compare the port: 2376 is usual with TLS."
    elif "certificate required" in words or "handshake failure" in words:
        return _asked_for()
    elif "unknown ca" in words or "bad certificate" in words or "certificate unknown" in words:
        return _refused()
    elif "expired" in words:
        said = "The engine reports that the client certificate has expired."
        remedy = "Create a new one and enter it in the target's settings."
    else:
        said = f"The handshake failed: {error.reason or error}."
        remedy = "Compare the certificates on both sides."
    return StepFailed(said, remedy, is_final=True)


def _asked_for() -> StepFailed:
    return StepFailed(
        "The engine requires a client certificate, and the target has none.",
        "Enter a client certificate and its key, signed by the authority that it trusts.",
        is_final=True,
    )


def _refused() -> StepFailed:
    return StepFailed(
        "The engine rejects the client certificate.",
        "Enter one that is signed by the authority the engine was started with.",
        is_final=True,
    )
