"""Trying targets that lead to no engine, or to one that will not do."""

from pathlib import Path

import pytest

from tests.workspace.targets.not_engines import (
    a_web_page,
    closed_port,
    engine_of_version,
    http_server,
    text_server,
    tls_context,
)
from tests.workspace.targets.target_fixtures import Pair, certificate
from workspace.compute.access import TargetAccess
from workspace.compute.connection_test import ConnectionStep, ServerAddress, StepOutcome
from workspace.compute.docker.backend import DockerBackend

pytestmark = pytest.mark.slow

HOST = "localhost"


@pytest.fixture(scope="module")
def authority() -> Pair:
    return certificate("authority")


def failure_of(access: TargetAccess) -> ConnectionStep:
    """Return the step at which a test fails; every later one is left out and says so."""
    server = ServerAddress("http://127.0.0.1:8000")
    *_, steps = DockerBackend(access).connection_test(server)
    outcomes = [step.outcome for step in steps]
    first = outcomes.index(StepOutcome.FAILED)
    assert StepOutcome.PENDING not in outcomes
    assert set(outcomes[first + 1 :]) <= {StepOutcome.SKIPPED}
    assert steps[first].remedy
    return steps[first]


def reached(
    address: str, *, tls_ca: str = "", tls_cert: str = "", tls_key: str = ""
) -> TargetAccess:
    return TargetAccess(
        home="/nowhere",
        installation="test",
        address=address,
        tls_ca=tls_ca,
        tls_cert=tls_cert,
        tls_key=tls_key,
    )


def test_a_name_without_an_address_is_told() -> None:
    step = failure_of(reached("tcp://no-such-host.invalid:2376"))
    assert step.name == "Address resolves"
    assert "no-such-host.invalid" in step.said


def test_a_socket_that_is_not_there_is_told(tmp_path: Path) -> None:
    step = failure_of(reached(f"unix://{tmp_path}/docker.sock"))
    assert "No such file" in step.said
    plain = tmp_path / "plain"
    plain.write_text("")
    assert "is not a socket" in failure_of(reached(f"unix://{plain}")).said


def test_a_closed_port_is_told() -> None:
    port = closed_port()
    step = failure_of(reached(f"tcp://{HOST}:{port}"))
    assert (step.name, step.said) == (
        "Connection opens",
        f"Nothing listens on port {port} of {HOST}.",
    )


def test_a_web_server_is_no_engine() -> None:
    with http_server(a_web_page) as port:
        step = failure_of(reached(f"tcp://{HOST}:{port}"))
    assert step.name == "Docker Engine version"
    assert "Is that a Docker Engine" in step.remedy


def test_a_server_that_sends_text_is_no_engine() -> None:
    with text_server(b"220 mail.example.org ESMTP\r\n") as port:
        step = failure_of(reached(f"tcp://{HOST}:{port}"))
    assert step.name == "Docker Engine version"


def test_an_engine_that_is_too_old_is_told_with_both_versions() -> None:
    with http_server(engine_of_version("1.30", "17.06.0-ce")) as port:
        step = failure_of(reached(f"tcp://{HOST}:{port}"))
    assert step.name == "Docker Engine version"
    assert "1.30" in step.said
    assert "1.41" in step.said


def test_a_port_without_tls_is_told_where_tls_is_wanted(authority: Pair) -> None:
    with http_server(a_web_page) as port:
        step = failure_of(reached(f"tcp://{HOST}:{port}", tls_ca=authority.cert))
    assert step.name == "TLS handshake"
    assert "does not use TLS" in step.said


@pytest.mark.parametrize(
    ("host", "days", "words"),
    [
        ("elsewhere.lan", 30, "not valid for localhost"),
        (HOST, -1, "has expired"),
    ],
)
def test_what_is_wrong_with_the_engines_certificate_is_told(
    tmp_path: Path, authority: Pair, host: str, days: int, words: str
) -> None:
    theirs = certificate("engine", by=authority, host=host, days=days)
    with http_server(a_web_page, tls_context(tmp_path, theirs, None)) as port:
        step = failure_of(reached(f"tcp://{HOST}:{port}", tls_ca=authority.cert))
    assert step.name == "TLS handshake"
    assert words in step.said


def test_an_engine_of_another_authority_is_not_trusted(tmp_path: Path, authority: Pair) -> None:
    theirs = certificate("engine", by=certificate("another"), host=HOST)
    with http_server(a_web_page, tls_context(tmp_path, theirs, None)) as port:
        step = failure_of(reached(f"tcp://{HOST}:{port}", tls_ca=authority.cert))
    assert "not signed by the target's authority" in step.said


def test_an_engine_that_wants_a_client_certificate_is_told(tmp_path: Path, authority: Pair) -> None:
    theirs = certificate("engine", by=authority, host=HOST)
    stranger = certificate("trainyard", by=certificate("another"))
    with http_server(a_web_page, tls_context(tmp_path, theirs, authority)) as port:
        address = f"tcp://{HOST}:{port}"
        without = failure_of(reached(address, tls_ca=authority.cert))
        refused = failure_of(
            reached(address, tls_ca=authority.cert, tls_cert=stranger.cert, tls_key=stranger.key)
        )
    assert "requires a client certificate" in without.said
    assert "rejects the client certificate" in refused.said


def test_a_certificate_that_is_accepted_leads_to_the_next_step(
    tmp_path: Path, authority: Pair
) -> None:
    theirs = certificate("engine", by=authority, host=HOST)
    ours = certificate("trainyard", by=authority)
    with http_server(a_web_page, tls_context(tmp_path, theirs, authority)) as port:
        step = failure_of(
            reached(
                f"tcp://{HOST}:{port}",
                tls_ca=authority.cert,
                tls_cert=ours.cert,
                tls_key=ours.key,
            )
        )
    assert step.name == "Docker Engine version"
