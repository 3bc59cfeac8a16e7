"""The way to an engine: one client per process, with time limits; its trouble told in sentences."""

import logging
import os
import socket
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import requests
from docker import DockerClient
from docker.errors import APIError, DockerException, ImageNotFound
from docker.tls import TLSConfig

from workspace.compute.access import TargetAccess
from workspace.compute.base import BackendError, TargetUnreachable
from workspace.compute.containers import PYTHON
from workspace.compute.engine.transport import OutboundAdapter
from workspace.compute.outbound import ForbiddenAddress

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
    "exec format error": "The image is for another CPU architecture than the engine's.",
    "no space left on device": ("The engine's disk is full: remove unused images, or add space."),
    "non-overlapping ipv4 address pool": (
        "The engine has no free network: remove some, or widen"
        " default-address-pools in its daemon.json."
    ),
}
# One answer to all failures, where they would tell what listens on an inner network.
NO_CAUSE = (
    "{name} does not answer as an engine does. Check its address, port, certificates and firewall;"
    " the installation's admin finds the cause in the server's log."
)
LONGEST_WORDS = 1000
PLAIN_HTTP_TO_TLS = "client sent an http request to an https server"
log = logging.getLogger(__name__)


class Engine:
    """An engine that is reached when it is first needed, again by each process that forks off."""

    def __init__(self, access: TargetAccess, answer_seconds: int = ANSWER_SECONDS) -> None:
        self.access = access
        self._answer_seconds = answer_seconds
        self._client: DockerClient | None = None
        self._certificates: TLSConfig | None = None
        self._close_certificates: weakref.finalize[..., Engine] | None = None
        self._pid = 0

    @property
    def address(self) -> str:
        return self.access.address

    @property
    def is_local(self) -> bool:
        """Return whether the engine runs on this machine: it is reached by a socket of ours."""
        return self.address.startswith("unix://")

    @contextmanager
    def asked(self, what: str) -> Iterator[DockerClient]:
        """Yield the client; what goes wrong becomes an error that starts with `what`.

        Raises Unreachable where the engine does not answer, BackendError where it refuses.
        """
        try:
            yield self.client()
        except BackendError:
            raise
        except requests.TooManyRedirects as error:
            raise self._is_no_engine() from error
        except ImageNotFound as error:
            raise BackendError(f"{what}: {_said(error)}") from error
        except APIError as error:
            raise BackendError(
                f"{what}: {_said(error)}", retryable=error.status_code in (409, 503)
            ) from error
        except (requests.RequestException, DockerException, OSError) as error:
            raise self._unreachable(error) from error

    def client(self) -> DockerClient:
        """Return the client of this process. Raises BackendError."""
        if self._client is None or self._pid != os.getpid():
            self._client = self._connect()
            self._pid = os.getpid()
        return self._client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._close_certificates is not None:
            self._close_certificates()
        self._certificates = None

    def _connect(self) -> DockerClient:
        if self.access.outbound.is_restricted and not self.address.startswith("tcp://"):
            raise BackendError(
                f"Only the installation's admin can use {self.address}: ask them to add the target."
            )
        try:
            if self.is_local:
                _check_socket(self.address.removeprefix("unix://"))
            client = self._make(".".join(map(str, OLDEST_API)))
            try:
                spoken = str(client.api.version(api_version=False)["ApiVersion"])
                numbers = tuple(int(part) for part in spoken[:20].split("."))
            finally:
                client.close()
        except (requests.RequestException, DockerException, OSError) as error:
            raise self._why_not(error) from error
        except (ValueError, LookupError, TypeError) as error:
            raise self._is_no_engine() from error
        if numbers < OLDEST_API:
            raise BackendError(
                f"{self._name()} speaks version {spoken} of Docker's API, and"
                f" {'.'.join(map(str, OLDEST_API))} is the oldest supported: upgrade it to"
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
        # A redirect would lead the server to where nobody sent it.
        client.api.max_redirects = 0
        if self.access.outbound.is_restricted:
            # The logins of this server's user are not for the engines of others.
            client.api.reload_config(os.devnull)
        if self.address.startswith("tcp://"):
            # What the SDK passes on to requests, which tells the two apart.
            client.api.timeout = (CONNECT_SECONDS, self._answer_seconds)  # type: ignore[assignment]
            way = OutboundAdapter(self.access.outbound, CONNECTIONS)
            client.api.mount("http://", way)
            client.api.mount("https://", way)
        return client

    def _tls(self) -> TLSConfig | bool:
        """Return the certificates as files in this process's memory, made once for all clients."""
        access = self.access
        if not (access.tls_ca or access.tls_cert):
            return False
        if self._certificates is None:
            descriptors: list[int] = []
            self._close_certificates = weakref.finalize(self, _close_all, descriptors)
            pair = authority = None
            if access.tls_cert:
                pair = (
                    _in_memory("cert", access.tls_cert, descriptors),
                    _in_memory("key", access.tls_key, descriptors),
                )
            if access.tls_ca:
                authority = _in_memory("ca", access.tls_ca, descriptors)
            self._certificates = TLSConfig(client_cert=pair, ca_cert=authority, verify=True)
        return self._certificates

    def _why_not(self, error: Exception) -> BackendError:
        if not self.access.outbound.tells_causes:
            return self._unreachable(error)
        cause = _cause(error)
        if PLAIN_HTTP_TO_TLS in cause.lower():
            return BackendError(
                f"{self._name()} asks for TLS: give the target a certificate authority, a client"
                " certificate and its key."
            )
        if isinstance(error, (APIError, requests.TooManyRedirects)):
            return self._is_no_engine()
        if "CERTIFICATE" in cause.upper() or "SSL" in cause.upper():
            return BackendError(
                f"{self._name()} and this server do not trust each other over TLS: {cause}. Check"
                " the certificate authority, the client certificate, and that the engine's"
                f" certificate is valid for {urlsplit(self.address).hostname}."
            )
        return self._unreachable(error)

    def _unreachable(self, error: Exception) -> TargetUnreachable:
        forbidden = _forbidden_in(error)
        if forbidden is None and not self.access.outbound.tells_causes:
            log.info("%s: %s", self._name(), _cause(error))
            return TargetUnreachable(NO_CAUSE.format(name=self._name()))
        return TargetUnreachable(f"{self._name()} does not respond: {forbidden or _cause(error)}")

    def _is_no_engine(self) -> BackendError:
        if not self.access.outbound.tells_causes:
            return TargetUnreachable(NO_CAUSE.format(name=self._name()))
        return BackendError(f"The server at {self.address} is not a Docker Engine.")

    def _name(self) -> str:
        return f"The engine at {self.address}"


def _check_socket(path: str) -> None:
    """See that something listens at a socket; the SDK forgets to close one where nothing does."""
    with socket.socket(socket.AF_UNIX) as knocking:
        knocking.settimeout(CONNECT_SECONDS)
        knocking.connect(path)


def _in_memory(name: str, text: str, descriptors: list[int]) -> str:
    """Return the path of a file that holds a text and that only this process and its forks see."""
    descriptor = os.memfd_create(name)
    descriptors.append(descriptor)
    os.write(descriptor, text.encode())
    return f"/proc/self/fd/{descriptor}"


def _close_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _said(error: APIError) -> str:
    """Return the engine's own words in one line, and what helps where that is known.

    Those are the message of its API alone: any other body is of a stranger and is not quoted.
    """
    if error.response is None:
        words = str(error.explanation or error)
    else:
        try:
            words = str(error.response.json()["message"])
        except (ValueError, KeyError, TypeError):
            words = f"HTTP status {error.status_code}"
    words = " ".join(words.split())[:LONGEST_WORDS].rstrip(".") + "."
    remedies = [remedy for sign, remedy in REMEDIES.items() if sign.lower() in words.lower()]
    return " ".join([words, *remedies])


def _forbidden_in(error: BaseException | None) -> ForbiddenAddress | None:
    """Return the refusal of an address that is the reason of an error, if one is."""
    while error is not None:
        if isinstance(error, ForbiddenAddress):
            return error
        error = error.__cause__ or error.__context__
    return None


def _cause(error: BaseException) -> str:
    """Return the innermost reason that says something, without the names of classes around it."""
    seen = error
    while (inner := seen.__cause__ or seen.__context__) is not None:
        seen = inner
    if isinstance(seen, OSError) and seen.strerror:
        return seen.strerror
    return " ".join(str(seen).split())[:300] or type(seen).__name__
