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

from runner.constants import COPY_BYTES, OUT_OF_MEMORY
from workspace.compute import containers
from workspace.compute.access import TargetAccess
from workspace.compute.base import BackendError
from workspace.compute.engine.archives import unpack
from workspace.compute.engine.client import Engine
from workspace.compute.sandboxed_job import JobTimedOut, SandboxedJob

JOB_DIRECTORY = "/trainyard/job"
ANSWER_SECONDS = 600  # an engine may take its time over a large model
LOOK_SECONDS = 1.0
GRACE_SECONDS = 60
OUTPUT_LIMIT = {"max-size": "10m", "max-file": "1"}
NO_MEMORY = f"The program {OUT_OF_MEMORY}.\n".encode()


def run_on_engine(
    access: TargetAccess, image: str, job: SandboxedJob, log: Callable[[bytes], Any]
) -> int:
    """Run a job in a container of an image; return its exit code.

    Raises JobTimedOut, and BackendError where the engine cannot do it.
    """
    engine = Engine(access, ANSWER_SECONDS)
    try:
        with engine.asked("The container could not be created") as client:
            name = containers.name_of(access, "job", job.label)
            _remove(client, name)  # what a worker that died left behind
            client.containers.create(image, **_settings(access, job, name))
            try:
                with _packed(job) as sent:
                    client.api.put_archive(name, "/", sent)
                client.api.start(name)
                code = _follow(client, name, job, log)
                _fetch(client, name, job)
                return code
            finally:
                _remove(client, name)
    finally:
        engine.close()


def _settings(access: TargetAccess, job: SandboxedJob, name: str) -> dict[str, Any]:
    program = f"{JOB_DIRECTORY}/{job.program.name}"
    return {
        # It ends itself where the worker that follows it died.
        "command": [
            *("timeout", "-s", "KILL", str(job.seconds + GRACE_SECONDS)),
            *(
                containers.PYTHON,
                "-I",
                program,
                f"{JOB_DIRECTORY}/input",
                f"{JOB_DIRECTORY}/output",
            ),
        ],
        "entrypoint": [],
        "name": name,
        "labels": containers.labels_of(access, "job", job.label),
        "user": containers.USER,
        "working_dir": f"{JOB_DIRECTORY}/output",
        "environment": {
            **containers.VARIABLES,
            "HOME": f"{JOB_DIRECTORY}/home",
            "OMP_NUM_THREADS": str(max(1, int(job.cpus))),
        },
        "network_mode": "none",
        "nano_cpus": int(job.cpus * 1e9),
        "mem_limit": job.memory_bytes,
        "memswap_limit": job.memory_bytes,
        "pids_limit": containers.MAX_PIDS,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "log_config": LogConfig(type=LogConfig.types.JSON, config=OUTPUT_LIMIT),
        "healthcheck": {"test": ["NONE"]},
    }


@contextmanager
def _packed(job: SandboxedJob) -> Iterator[IO[bytes]]:
    """Pack the program and what it reads, in a file: models may be larger than memory."""
    with tempfile.TemporaryFile(dir=job.target.parent) as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for folder in ("", "/output", "/home"):
                tar.addfile(_owned(tarfile.TarInfo(JOB_DIRECTORY + folder), tarfile.DIRTYPE, 0o700))
            tar.add(job.program, f"{JOB_DIRECTORY}/{job.program.name}", filter=_readable)
            tar.add(job.source, f"{JOB_DIRECTORY}/input", filter=_readable)
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
    client: DockerClient, container: str, job: SandboxedJob, log: Callable[[bytes], Any]
) -> int:
    """Pass on what a container prints until it ends; return its exit code."""
    deadline = time.monotonic() + job.seconds
    seen = 0
    while True:
        state = client.api.inspect_container(container)["State"]
        printed = client.api.logs(container, stdout=True, stderr=True)
        log(printed[seen:])
        seen = max(seen, len(printed))
        if not state["Running"]:
            break
        if time.monotonic() > deadline:
            raise JobTimedOut
        time.sleep(LOOK_SECONDS)
    if state["OOMKilled"]:
        log(NO_MEMORY)
    return int(state["ExitCode"])


def _fetch(client: DockerClient, container: str, job: SandboxedJob) -> None:
    """Bring home what a job wrote.

    The answer is closed whatever happens: the engine removes no container while it sends of it.
    """
    api = client.api
    address = f"{api.base_url}/v{api.api_version}/containers/{container}/archive"
    with api.get(
        address, params={"path": f"{JOB_DIRECTORY}/output"}, stream=True, timeout=ANSWER_SECONDS
    ) as answer:
        answer.raise_for_status()
        unpack(_limited(answer.iter_content(COPY_BYTES), job.file_bytes), job.target)


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
