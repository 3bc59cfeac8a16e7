"""What attempts to reach an engine leave behind in this process."""

import gc
import os
import socket
import ssl
from pathlib import Path

import pytest

from tests.workspace.targets.not_engines import http_server
from tests.workspace.targets.target_fixtures import certificate
from workspace.compute.access import TargetAccess
from workspace.compute.base import BackendError
from workspace.compute.engine.client import Engine

pytestmark = pytest.mark.slow

ATTEMPTS = 20


def open_descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def engine_at(port: int) -> Engine:
    authority = certificate("authority")
    client = certificate("client", by=authority)
    return Engine(
        TargetAccess(
            home="",
            address=f"tcp://127.0.0.1:{port}",
            tls_ca=authority.cert,
            tls_cert=client.cert,
            tls_key=client.key,
        )
    )


def fail(engine: Engine, times: int) -> None:
    for _ in range(times):
        with pytest.raises(BackendError):
            engine.client()


def test_attempts_at_an_engine_that_is_away_leave_no_descriptor_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    engine = engine_at(port)
    fail(engine, 1)
    before = open_descriptors()
    fail(engine, ATTEMPTS)
    assert open_descriptors() < before + ATTEMPTS


def test_attempts_at_what_is_not_trusted_leave_no_descriptor_open(tmp_path: Path) -> None:
    stranger = certificate(host="127.0.0.1")
    for name, text in stranger._asdict().items():
        (tmp_path / name).write_text(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    with http_server(lambda path: (200, "application/json", "{}"), context) as port:
        engine = engine_at(port)
        fail(engine, 1)
        before = open_descriptors()
        fail(engine, ATTEMPTS)
        # Of the server, which is in this process too, a connection or two may not be closed yet.
        assert open_descriptors() < before + ATTEMPTS


@pytest.mark.parametrize("is_closed", [True, False], ids=["closed", "dropped"])
def test_an_engine_that_goes_takes_its_certificates_along(is_closed: bool) -> None:
    before = open_descriptors()
    for _ in range(ATTEMPTS):
        engine = engine_at(1)
        fail(engine, 1)
        if is_closed:
            engine.close()
        del engine
    assert open_descriptors() < before + ATTEMPTS
