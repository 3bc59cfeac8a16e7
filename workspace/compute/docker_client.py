"""The way to an engine: one client per process, with time limits; its trouble told in sentences."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import requests
from docker import DockerClient
from docker.errors import APIError, DockerException, ImageNotFound
from docker.tls import TLSConfig

from workspace.compute.access import TargetAccess
from workspace.compute.base import BackendError, Unreachable
from workspace.compute.containers import PYTHON

OLDEST_API = (1, 41)
OLDEST_ENGINE = "20.10"
CONNECT_SECONDS = 5
ANSWER_SECONDS = 20
CONNECTIONS = 16
REMEDIES = {
    "could not select device driver": (
        "Install the NVIDIA container toolkit on the engine's machine, and restart the engine."
    ),
    f'exec: "{PYTHON}"': f"The image has no Python at {PYTHON}.",
    "exec format error": "The image is for another kind of processor than the engine's machine.",
    "no space left on device": (
        "The engine's disk is full: remove images that nobody needs, or give it more space."
    ),
    "non-overlapping ipv4 address pool": (
        "All networks that the engine may make are taken: remove some, or widen"
        " default-address-pools in its daemon.json."
    ),
}
PLAIN_HTTP_TO_TLS = "client sent an http request to an https server"


class Engine:
    """An engine that is reached when it is first needed, again by each process that forks off."""

    def __init__(self, access: TargetAccess, answer_seconds: int = ANSWER_SECONDS) -> None:
        self.access = access
        self._answer_seconds = answer_seconds
        self._client: DockerClient | None = None
        self._pid = 0

    @property
    def address(self) -> str:
        return self.access.address

    @property
    def is_here(self) -> bool:
        """Tell whether the engine runs on this machine: it is reached by a socket of ours."""
        return self.address.startswith("unix://")

    @contextmanager
    def asked(self, what: str) -> Iterator[DockerClient]:
        """Give the client; what goes wrong becomes an error that starts with `what`.

        Raises Unreachable where the engine does not answer, BackendError where it refuses.
        """
        try:
            yield self.client()
        except BackendError:
            raise
        except ImageNotFound as error:
            raise BackendError(f"{what}: {_said(error)}") from error
        except APIError as error:
            raise BackendError(
                f"{what}: {_said(error)}", retryable=error.status_code in (409, 503)
            ) from error
        except (requests.RequestException, DockerException, OSError) as error:
            raise Unreachable(f"{self._name()} does not answer: {_cause(error)}") from error

    def client(self) -> DockerClient:
        """Give the client of this process. Raises BackendError."""
        if self._client is None or self._pid != os.getpid():
            self._client = self._connect()
            self._pid = os.getpid()
        return self._client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _connect(self) -> DockerClient:
        try:
            if self.is_here:
                _knock(self.address.removeprefix("unix://"))
            client = self._make(".".join(map(str, OLDEST_API)))
            try:
                spoken = str(client.api.version(api_version=False)["ApiVersion"])
            finally:
                client.close()
        except (requests.RequestException, DockerException, OSError) as error:
            raise self._why_not(error) from error
        except (ValueError, LookupError, TypeError) as error:
            raise BackendError(f"What answers at {self.address} is no Docker Engine.") from error
        if tuple(int(part) for part in spoken.split(".")) < OLDEST_API:
            raise BackendError(
                f"{self._name()} speaks version {spoken} of Docker's API, and"
                f" {'.'.join(map(str, OLDEST_API))} is the oldest that will do: upgrade it to"
                f" Docker {OLDEST_ENGINE} or newer."
            )
        return self._make(spoken)

    def _make(self, version: str) -> DockerClient:
        client = DockerClient(
            base_url=self.address,
            version=version,
            timeout=self._answer_seconds,
            tls=self._tls(),
            use_ssh_client=self.address.startswith("ssh://"),
            max_pool_size=CONNECTIONS,
        )
        # Else REQUESTS_CA_BUNDLE would be trusted instead of the target's own authority.
        client.api.trust_env = False
        if self.address.startswith("tcp://"):
            # What the SDK passes on to requests, which tells the two apart.
            client.api.timeout = (CONNECT_SECONDS, self._answer_seconds)  # type: ignore[assignment]
        return client

    def _tls(self) -> TLSConfig | bool:
        """Give the certificates as files that exist in this process's memory alone."""
        access = self.access
        if not (access.tls_ca or access.tls_cert):
            return False
        pair = None
        if access.tls_cert:
            pair = (_in_memory("cert", access.tls_cert), _in_memory("key", access.tls_key))
        authority = _in_memory("ca", access.tls_ca) if access.tls_ca else None
        return TLSConfig(client_cert=pair, ca_cert=authority, verify=True)

    def _why_not(self, error: Exception) -> BackendError:
        cause = _cause(error)
        if PLAIN_HTTP_TO_TLS in cause.lower():
            return BackendError(
                f"{self._name()} asks for TLS: give the target a certificate authority, a client"
                " certificate and its key."
            )
        if "CERTIFICATE" in cause.upper() or "SSL" in cause.upper():
            return BackendError(
                f"{self._name()} and this server do not trust each other over TLS: {cause}. Check"
                " the certificate authority, the client certificate, and that the engine's"
                f" certificate is made out to {urlsplit(self.address).hostname}."
            )
        return Unreachable(f"{self._name()} does not answer: {cause}")

    def _name(self) -> str:
        return f"The engine at {self.address}"


def _knock(path: str) -> None:
    """See that something listens at a socket; the SDK forgets to close one where nothing does."""
    with socket.socket(socket.AF_UNIX) as knocking:
        knocking.settimeout(CONNECT_SECONDS)
        knocking.connect(path)


def _in_memory(name: str, text: str) -> str:
    """Give the path of a file that holds a text, only this process sees, as long as it lives."""
    descriptor = os.memfd_create(name)
    os.write(descriptor, text.encode())
    return f"/proc/self/fd/{descriptor}"


def _said(error: APIError) -> str:
    """Give the engine's own words in one line, and what helps where that is known."""
    words = str(error.explanation or error)
    try:
        words = json.loads(words)["message"]
    except (ValueError, KeyError, TypeError):
        words = words or str(error)
    words = " ".join(words.split()).rstrip(".") + "."
    remedies = [remedy for sign, remedy in REMEDIES.items() if sign.lower() in words.lower()]
    return " ".join([words, *remedies])


def _cause(error: BaseException) -> str:
    """Give the innermost reason that says something, without the names of classes around it."""
    seen = error
    while (inner := seen.__cause__ or seen.__context__) is not None:
        seen = inner
    if isinstance(seen, OSError) and seen.strerror:
        return seen.strerror
    return " ".join(str(seen).split())[:300] or type(seen).__name__
