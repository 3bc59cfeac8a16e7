"""Jobs in containers of a real engine: what goes in, what comes out, what they may not do."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docker.stage import PLAIN_IMAGE, Yard
from workspace.compute.base import BackendError
from workspace.compute.sandboxed_job import JobTimedOut, SandboxedJob

pytestmark = pytest.mark.docker
MEBIBYTE = 1024**2


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., SandboxedJob]:
    def make(program: str, **limits: int) -> SandboxedJob:
        source, target = tmp_path / "input", tmp_path / "output"
        for folder in (source, target):
            folder.mkdir()
        (source / "model").mkdir()
        (source / "model" / "weights").write_bytes(b"w" * 3)
        place = tmp_path / "program.py"
        place.write_text(program)
        return SandboxedJob("test-1", place, source, target, **limits)

    return make


READS_AND_WRITES = """
import os, pathlib, socket, sys
source, target = map(pathlib.Path, sys.argv[1:])
print(os.getuid(), (source / "model/weights").read_text())
try:
    socket.create_connection(("1.1.1.1", 53), timeout=5)
except OSError as error:
    print("no network")
(target / "made").mkdir()
(target / "made" / "file").write_text("made")
(target / "link").symlink_to("/etc/passwd")
"""


def test_a_job_reads_and_writes_its_folders_and_reaches_nobody(
    yard: Yard, job: Callable[..., SandboxedJob]
) -> None:
    wanted = job(READS_AND_WRITES)
    said: list[bytes] = []
    assert yard.backend.run_job(PLAIN_IMAGE, wanted, said.append) == 0
    assert b"".join(said) == b"10001 www\nno network\n"
    assert (wanted.target / "made" / "file").read_text() == "made"
    assert not (wanted.target / "link").exists()
    with yard.engine.client() as client:
        assert not client.containers.list(all=True, filters={"name": "job-test-1"})


def test_a_job_that_takes_too_much_memory_is_ended_with_words(
    yard: Yard, job: Callable[..., SandboxedJob]
) -> None:
    said: list[bytes] = []
    wanted = job("x = bytearray(512 * 1024**2)", memory_bytes=64 * MEBIBYTE)
    assert yard.backend.run_job(PLAIN_IMAGE, wanted, said.append) != 0
    assert b"out of memory" in b"".join(said)


def test_a_job_that_takes_too_long_is_ended(yard: Yard, job: Callable[..., SandboxedJob]) -> None:
    wanted = job("import time; time.sleep(600)", seconds=1)
    with pytest.raises(JobTimedOut):
        yard.backend.run_job(PLAIN_IMAGE, wanted, lambda chunk: None)
    with yard.engine.client() as client:
        assert not client.containers.list(all=True, filters={"name": "job-test-1"})


def test_a_job_that_writes_too_much_is_refused(
    yard: Yard, job: Callable[..., SandboxedJob]
) -> None:
    wanted = job(
        "import sys; open(sys.argv[2] + '/zeros', 'wb').write(bytes(8 * 1024**2))",
        file_bytes=MEBIBYTE,
    )
    with pytest.raises(BackendError, match="more than the 1,048,576 bytes"):
        yard.backend.run_job(PLAIN_IMAGE, wanted, lambda chunk: None)
