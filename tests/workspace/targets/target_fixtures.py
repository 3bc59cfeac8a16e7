"""What the tests of compute targets share: certificates, form fields, a backend that answers."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from workspace.compute.base import Gpu, Node

GPU = Gpu(0, "GPU-0", "NVIDIA H200", 10**11, "570.86.15")


class OneNode:
    """A backend whose one node has 8 CPUs, 1 GB and a GPU."""

    def check(self) -> Sequence[Node]:
        return [Node("machine-7", 8, 10**9, (GPU,), engine_version="27.1")]


class Pair(NamedTuple):
    cert: str
    key: str


def certificate(
    name: str = "127.0.0.1", *, by: Pair | None = None, days: int = 30, host: str = ""
) -> Pair:
    """Make a certificate and its key, signed by itself or by another."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signer = subject, key
    if by is not None:
        issuer = x509.load_pem_x509_certificate(by.cert.encode()).subject
        loaded = serialization.load_pem_private_key(by.key.encode(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        signer = loaded
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
    )
    if host:
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        builder = builder.add_extension(names, critical=False)
    signed = builder.sign(signer, hashes.SHA256())
    return Pair(
        signed.public_bytes(serialization.Encoding.PEM).decode().strip(),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
        .strip(),
    )


ON_THE_FORM = {
    "max_processes": 64,
    "default_priority": 0,
    "max_priority": 100,
    "hang_timeout_seconds": 1800,
}
OF_AN_ENGINE = {**ON_THE_FORM, "images_kept_days": 30, "unreachable_timeout_seconds": 600}
