"""What a process of ours looks like in a container: names, labels, paths, and what is put into it.

Shared by all backends that run containers. Nothing here talks to an engine.
"""

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from runner.constants import CA_BUNDLE_VARIABLE, SETTINGS_FILE
from workspace.compute.access import TargetAccess
from workspace.compute.base import BackendError, ProcessPlan
from workspace.compute.runner_settings import runner_settings
from workspace.compute.runner_zip import runner_zip

INSTALLATION = "trainyard.installation"
GROUP = "trainyard.group"
PROCESS = "trainyard.process"
CHECKPOINTS = "trainyard.checkpoints"

USER_ID = 10001
USER = f"{USER_ID}:{USER_ID}"
PORT = 2222
MAX_PIDS = 4096
RUNNER_MEMORY_BYTES = (
    64 * 1024**2
)  # beside what the program may use, which the runner watches itself

HOME = "/trainyard/home"
RUNNER = "/trainyard/runner.pyz"
PROCESS_DIRECTORY = "/trainyard/process"
CHECKPOINT_FOLDER = "/trainyard/checkpoints"
CA_BUNDLE = "/trainyard/ca.pem"
BINARIES = "/opt/environment/bin"
PYTHON = f"{BINARIES}/python"
COMMAND = (PYTHON, "-I", "-S", RUNNER, PROCESS_DIRECTORY)
VARIABLES: Mapping[str, str] = {"HOME": HOME, "USER": "trainyard", "LOGNAME": "trainyard"}
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def name_of(access: TargetAccess, group_id: str, process: str = "") -> str:
    """Name the container of a process, or the network of a group."""
    return "-".join(part for part in ("ty", access.installation, group_id, process) if part)


def volume_of(access: TargetAccess, checkpoints: str) -> str:
    return f"ty-{access.installation}-{checkpoints}"


def labels_of(access: TargetAccess, group_id: str, process: str = "") -> dict[str, str]:
    labels = {INSTALLATION: access.installation, GROUP: group_id}
    return {**labels, PROCESS: process} if process else labels


def filters_of(access: TargetAccess, group_id: str) -> dict[str, list[str]]:
    """Return the engine's filter for all that is of a group."""
    labels = labels_of(access, group_id)
    return {"label": [f"{name}={value}" for name, value in labels.items()]}


def addresses_of(processes: Iterable[ProcessPlan]) -> dict[str, list[str]]:
    """Return the addresses of processes by their names, which the group's own network resolves."""
    return {
        process.name: [f"{process.name}:{PORT + number}" for number in range(process.ports)]
        for process in processes
    }


def ports_of(process: ProcessPlan) -> list[int]:
    """Return the ports of a process that this server is to reach, as they are in its container."""
    return [PORT + number for number in range(process.ports)] if process.publish_ports else []


def memory_limit(process: ProcessPlan) -> int | None:
    return None if process.memory_bytes is None else process.memory_bytes + RUNNER_MEMORY_BYTES


def is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in LOOPBACK


def with_host(url: str, host: str) -> str:
    """Return an address with another host, and all else as it was."""
    parts = urlsplit(url)
    shown = f"[{host}]" if ":" in host else host
    return urlunsplit(parts._replace(netloc=f"{shown}:{parts.port}" if parts.port else shown))


def settings_file(group_id: str, process: ProcessPlan, url: str) -> bytes:
    """Return the settings file of the runner in a container."""
    ca_bundle = CA_BUNDLE if process.environment.get(CA_BUNDLE_VARIABLE) else ""
    settings = runner_settings(group_id, process, url=url, ca_bundle=ca_bundle, binaries=BINARIES)
    return json.dumps(settings).encode()


def ca_bundle_of(process: ProcessPlan) -> bytes:
    """Read the certificates with which the runner trusts the web, if any are set."""
    path = process.environment.get(CA_BUNDLE_VARIABLE)
    if not path:
        return b""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BackendError(f"TRAINYARD_CA_BUNDLE: cannot read {path}: {error.strerror}.") from error


@dataclass(frozen=True)
class ArchiveFile:
    """A file of an archive, or a folder where it has no content."""

    path: str
    mode: int
    content: bytes | None = None
    owner: int = USER_ID


def archive(entries: Iterable[ArchiveFile]) -> bytes:
    """Pack entries as the engine takes them, to be unpacked at /."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for entry in entries:
            member = tarfile.TarInfo(entry.path.lstrip("/"))
            member.mode, member.uid, member.gid = entry.mode, entry.owner, entry.owner
            if entry.content is None:
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
            else:
                member.size = len(entry.content)
                tar.addfile(member, io.BytesIO(entry.content))
    return packed.getvalue()


def container_files(group_id: str, process: ProcessPlan, url: str) -> bytes:
    """Pack all that a container needs before it starts."""
    entries = [
        ArchiveFile("/trainyard", 0o755, owner=0),
        ArchiveFile(RUNNER, 0o644, runner_zip(), owner=0),
        ArchiveFile(PROCESS_DIRECTORY, 0o700),
        ArchiveFile(
            f"{PROCESS_DIRECTORY}/{SETTINGS_FILE}", 0o600, settings_file(group_id, process, url)
        ),
        ArchiveFile(HOME, 0o700),
        ArchiveFile(CHECKPOINT_FOLDER, 0o700),
    ]
    bundle = ca_bundle_of(process)
    if bundle:
        entries.append(ArchiveFile(CA_BUNDLE, 0o644, bundle, owner=0))
    return archive(entries)
