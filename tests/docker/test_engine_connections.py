"""Engines that are reached over a network, or not: TCP with and without TLS, ssh, nobody there."""

import datetime
import ipaddress
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.docker.engine import Engine
from tests.docker.stage import SLEEPS, Yard, python
from workspace.compute.access import TargetAccess
from workspace.compute.base import BackendError, TargetUnreachable
from workspace.compute.docker.backend import DockerBackend

pytestmark = pytest.mark.docker


@dataclass(frozen=True)
class Papers:
    """A certificate with its key, and that of who signed it."""

    cert: str
    key: str
    ca: str


class Door:
    """Lets TCP connections through to an engine's socket, behind TLS where it is given papers."""

    def __init__(self, engine: Engine, folder: Path, papers: Papers | None = None) -> None:
        self._engine = engine
        self._context = _context_of(papers, folder) if papers else None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(caller,), daemon=True).start()

    def _pass_on(self, caller: socket.socket) -> None:
        with caller, socket.socket(socket.AF_UNIX) as engine:
            try:
                if self._context:
                    caller = self._context.wrap_socket(caller, server_side=True)
            except OSError:
                return
            engine.connect(str(self._engine.socket))
            with caller:
                _pump(caller, engine)


def _pump(caller: socket.socket, engine: socket.socket) -> None:
    while True:
        waiting = caller.pending() if isinstance(caller, ssl.SSLSocket) else 0
        ready = [caller] if waiting else select.select([caller, engine], [], [])[0]
        for one in ready:
            try:
                content = one.recv(65536)
            except OSError:
                return
            if not content:
                return
            (engine if one is caller else caller).sendall(content)


def _context_of(papers: Papers, folder: Path) -> ssl.SSLContext:
    for name, text in (("cert", papers.cert), ("key", papers.key), ("ca", papers.ca)):
        (folder / name).write_text(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert", folder / "key")
    context.load_verify_locations(folder / "ca")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def papers() -> tuple[Papers, Papers]:
    """Make an authority, and papers of it for an engine at 127.0.0.1 and for a client."""
    key, name = ec.generate_private_key(ec.SECP256R1()), _name("authority")
    authority = _certificate(name, key, name, key, is_authority=True)
    made = []
    for subject in ("engine", "client"):
        own = ec.generate_private_key(ec.SECP256R1())
        signed = _certificate(_name(subject), own, name, key, is_authority=False)
        secret = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        made.append(Papers(_pem(signed), secret, _pem(authority)))
    return made[0], made[1]


def _certificate(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    is_authority: bool,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    here = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([here]), critical=False)
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


@pytest.fixture
def plain_door(engine: Engine, tmp_path: Path) -> Iterator[Door]:
    door = Door(engine, tmp_path)
    yield door
    door.close()


def backend_at(home: Path, address: str, client: Papers | None = None) -> DockerBackend:
    access = TargetAccess(str(home), address=address)
    if client:
        access = replace(access, tls_ca=client.ca, tls_cert=client.cert, tls_key=client.key)
    return DockerBackend(access)


def test_an_engine_is_used_over_tcp(plain_door: Door, home: Path) -> None:
    backend = backend_at(home, plain_door.address)
    assert backend.check()[0].cpus >= 1
    backend.close()


def test_an_engine_elsewhere_needs_a_web_that_it_can_reach(yard: Yard, plain_door: Door) -> None:
    elsewhere = DockerBackend(replace(yard.access, address=plain_door.address))
    group = yard.group(python(SLEEPS))
    with pytest.raises(BackendError, match=r"cannot reach this server at http://127.0.0.1"):
        elsewhere.start(group.plan)
    elsewhere.close()
    assert yard.left() == []


def test_an_engine_is_used_over_tls_with_certificates_that_are_never_written_down(
    engine: Engine, home: Path, tmp_path: Path
) -> None:
    server, client = papers()
    door = Door(engine, tmp_path, server)
    backend = backend_at(home, door.address, client)
    assert backend.check()[0].cpus >= 1
    backend.close()
    door.close()
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_an_engine_of_another_authority_is_not_trusted(
    engine: Engine, home: Path, tmp_path: Path
) -> None:
    server, _ = papers()
    _, stranger = papers()
    door = Door(engine, tmp_path, server)
    with pytest.raises(BackendError, match="do not trust each other over TLS"):
        backend_at(home, door.address, stranger).check()
    door.close()


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("unix:///no/such.sock", "No such file or directory"),
        ("tcp://127.0.0.1:1", "Connection refused"),
        ("tcp://no-such-host.invalid:2375", "Name or service not known"),
    ],
)
def test_an_engine_that_does_not_answer_is_unreachable(address: str, why: str, home: Path) -> None:
    with pytest.raises(TargetUnreachable, match=f"{address} does not respond: .*{why}"):
        backend_at(home, address).observe("run-1-1")
