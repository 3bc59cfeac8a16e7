"""Certificates and keys as people paste them: do they parse, fit together, and still hold?"""

from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from django.utils import timezone

from workspace.platform.errors import FieldError


def tls_errors(*, ca: str, cert: str, key: str) -> list[FieldError]:
    """Return what is wrong with a certificate authority, a client certificate and its key.

    Each may be empty; a client certificate and its key only together.
    """
    errors = []
    if ca:
        errors += _expired("tls_ca", ca)
    if cert:
        errors += _expired("tls_cert", cert)
    if cert and not key:
        errors.append(FieldError("tls_key", "The client certificate needs its private key."))
    if key and not cert:
        errors.append(FieldError("tls_cert", "The private key needs its client certificate."))
    if key:
        errors += _key_errors(cert, key)
    return errors


def _expired(field: str, pem: str) -> list[FieldError]:
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        message = "Not a certificate: paste the whole PEM file with its BEGIN and END lines."
        return [FieldError(field, message)]
    now = timezone.now()
    ended: list[datetime] = [c.not_valid_after_utc for c in found if c.not_valid_after_utc < now]
    if ended:
        return [FieldError(field, f"The certificate expired on {min(ended):%Y-%m-%d}.")]
    return []


def _key_errors(cert: str, key: str) -> list[FieldError]:
    try:
        private = serialization.load_pem_private_key(key.encode(), password=None)
    except TypeError:
        message = "The key has a passphrase, which cannot be entered at start: remove it."
        return [FieldError("tls_key", message)]
    except (ValueError, UnsupportedAlgorithm):
        message = "Not a private key: paste the whole PEM file with its BEGIN and END lines."
        return [FieldError("tls_key", message)]
    try:
        public = x509.load_pem_x509_certificate(cert.encode()).public_key()
    except ValueError:
        return []
    if public != private.public_key():
        return [FieldError("tls_key", "The key does not belong to the client certificate.")]
    return []
