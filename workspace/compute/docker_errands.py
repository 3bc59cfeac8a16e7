"""Errands on an engine: a container without network and privileges; files are sent and fetched."""

import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from docker import DockerClient
from docker.errors import NotFound
from docker.types import LogConfig

from workspace.compute import containers
from workspace.compute.access import TargetAccess
from workspace.compute.base import BackendError
from workspace.compute.docker_client import Engine
from workspace.compute.docker_salvage import COPY_BYTES, unpack
from workspace.compute.errand import Errand, TooLong

PLACE = "/trainyard/errand"
ANSWER_SECONDS = 600  # an engine may take its time over a large model
LOOK_SECONDS = 1.0
GRACE_SECONDS = 60
OUTPUT_LIMIT = {"max-size": "10m", "max-file": "1"}
NO_MEMORY = b"The system killed it for want of memory.\n"


def run_on_engine(
    access: TargetAccess, image: str, errand: Errand, log: Callable[[bytes], Any]
) -> int:
    """Run an errand in a container of an image; give its exit code.

    Raises TooLong, and BackendError where the engine cannot do it.
    """
    engine = Engine(access, ANSWER_SECONDS)
    try:
        with engine.asked("The container could not be made") as client:
            name = containers.name_of(access, "errand", errand.label)
            _remove(client, name)  # what a worker that died left behind
            client.containers.create(image, **_settings(access, errand, name))
            try:
                with _packed(errand) as sent:
                    client.api.put_archive(name, "/", sent)
                client.api.start(name)
                code = _follow(client, name, errand, log)
                _fetch(client, name, errand)
                return code
            finally:
                _remove(client, name)
    finally:
        engine.close()


def _settings(access: TargetAccess, errand: Errand, name: str) -> dict[str, Any]:
    program = f"{PLACE}/{errand.program.name}"
    return {
        # It ends itself where the worker that follows it died.
        "command": [
            *("timeout", "-s", "KILL", str(errand.seconds + GRACE_SECONDS)),
            *(containers.PYTHON, "-I", program, f"{PLACE}/input", f"{PLACE}/output"),
        ],
        "entrypoint": [],
        "name": name,
        "labels": containers.labels_of(access, "errand", errand.label),
        "user": containers.USER,
        "working_dir": f"{PLACE}/output",
        "environment": {
            **containers.VARIABLES,
            "HOME": f"{PLACE}/home",
            "OMP_NUM_THREADS": str(max(1, int(errand.cpus))),
        },
        "network_mode": "none",
        "nano_cpus": int(errand.cpus * 1e9),
        "mem_limit": errand.memory_bytes,
        "memswap_limit": errand.memory_bytes,
        "pids_limit": containers.MOST_PIDS,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "log_config": LogConfig(type=LogConfig.types.JSON, config=OUTPUT_LIMIT),
        "healthcheck": {"test": ["NONE"]},
    }


@contextmanager
def _packed(errand: Errand) -> Iterator[IO[bytes]]:
    """Pack the program and what it reads, in a file: models may be larger than memory."""
    with tempfile.TemporaryFile(dir=errand.target.parent) as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for folder in ("", "/output", "/home"):
                tar.addfile(_owned(tarfile.TarInfo(PLACE + folder), tarfile.DIRTYPE, 0o700))
            tar.add(errand.program, f"{PLACE}/{errand.program.name}", filter=_readable)
            tar.add(errand.source, f"{PLACE}/input", filter=_readable)
        file.seek(0)
        yield file


def _readable(member: tarfile.TarInfo) -> tarfile.TarInfo:
    return _owned(member, member.type, 0o500 if member.isdir() else 0o400)


def _owned(member: tarfile.TarInfo, kind: bytes, mode: int) -> tarfile.TarInfo:
    member.type, member.mode = kind, mode
    member.uid = member.gid = containers.USER_ID
    member.uname = member.gname = ""
    return member


def _follow(
    client: DockerClient, container: str, errand: Errand, log: Callable[[bytes], Any]
) -> int:
    """Pass on what a container prints until it ends; give its exit code."""
    deadline = time.monotonic() + errand.seconds
    seen = 0
    while True:
        state = client.api.inspect_container(container)["State"]
        printed = client.api.logs(container, stdout=True, stderr=True)
        log(printed[seen:])
        seen = max(seen, len(printed))
        if not state["Running"]:
            break
        if time.monotonic() > deadline:
            raise TooLong
        time.sleep(LOOK_SECONDS)
    if state["OOMKilled"]:
        log(NO_MEMORY)
    return int(state["ExitCode"])


def _fetch(client: DockerClient, container: str, errand: Errand) -> None:
    """Bring home what an errand wrote.

    The answer is closed whatever happens: the engine removes no container while it sends of it.
    """
    api = client.api
    address = f"{api.base_url}/v{api.api_version}/containers/{container}/archive"
    with api.get(
        address, params={"path": f"{PLACE}/output"}, stream=True, timeout=ANSWER_SECONDS
    ) as answer:
        answer.raise_for_status()
        unpack(_limited(answer.iter_content(COPY_BYTES), errand.file_bytes), errand.target)


def _limited(chunks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > limit + COPY_BYTES:
            raise BackendError(f"It wrote more than the {limit:,} bytes that it may.")
        yield chunk


def _remove(client: DockerClient, name: str) -> None:
    with suppress(NotFound):
        client.api.remove_container(name, force=True, v=True)
