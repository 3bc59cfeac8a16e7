"""A real Docker Engine for tests, and a base image for it that comes from no registry.

One engine serves all test sessions of this machine at a time: the first starts it, the last to end
stops it. Named images stay in the cache; what installations of tests made there goes at the next
start. TRAINYARD_TEST_ENGINE=unix:///path names another to use.
"""

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import docker
import pytest
from docker import DockerClient
from docker.errors import ImageNotFound

from tests.docker.cleaning import clear
from tests.waiting import wait_for

CACHE = Path.home() / ".cache" / "trainyard-tests"
BASE_IMAGE = "python:3.11-slim"
BASE_PACKAGES = "ca-certificates,python3,python3-venv,python3-pip"
BRIDGE, BRIDGE_ADDRESS, POOL = "trainyard-test", "10.213.0.1/24", "10.213.128.0/17"
START_SECONDS = 300
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Engine:
    """An engine that runs: its address, as a compute target has it, and its socket's path."""

    address: str

    @property
    def socket(self) -> Path:
        return Path(self.address.removeprefix("unix://"))

    @contextmanager
    def client(self) -> Iterator[DockerClient]:
        client = docker.DockerClient(base_url=self.address, version="auto", timeout=600)
        try:
            yield client
        finally:
            client.close()

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5)
            try:
                probe.connect(str(self.socket))
                probe.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 OK" in probe.recv(64)
            except OSError:
                return False


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """Yield a running engine that has the base image."""
    with running_engine() as running:
        ensure_base_image(running)
        yield running


def missing_for_an_engine() -> str:
    """Return what this machine lacks to run an engine of its own, if anything."""
    if os.geteuid() != 0:
        return "an engine of our own needs root; TRAINYARD_TEST_ENGINE names another"
    missing = [name for name in ("dockerd", "iptables", "debootstrap") if not shutil.which(name)]
    return f"these programs are missing: {', '.join(missing)}" if missing else ""


@contextmanager
def running_engine() -> Iterator[Engine]:
    given = os.environ.get("TRAINYARD_TEST_ENGINE")
    if given:
        named = Engine(given)
        assert named.answers(), f"TRAINYARD_TEST_ENGINE={given} does not answer"
        yield named
        return
    if missing := missing_for_an_engine():
        pytest.skip(missing)
    folder = CACHE / "engine"
    folder.mkdir(parents=True, exist_ok=True)
    shared = Engine(f"unix://{folder}/docker.sock")
    with open(folder / "users", "a") as users:
        with only_one(folder / "starting"):
            fcntl.flock(users, fcntl.LOCK_SH)
            if not shared.answers():
                _make_bridge()
                forget_networks(folder)
                start_dockerd(
                    folder,
                    f"--bridge={BRIDGE}",
                    f"--default-address-pool=base={POOL},size=24",
                )
                wait_for(shared.answers, f"an answer of dockerd ({folder}/log)", START_SECONDS)
                with shared.client() as client:
                    clear(client)
                    client.images.prune()
        try:
            yield shared
        finally:
            with only_one(folder / "starting"):
                if _is_last(users):
                    stop_dockerd(folder)


def start_dockerd(folder: Path, *options: str, prefix: tuple[str, ...] = ()) -> None:
    """Start a dockerd that keeps everything below `folder`; it goes on when this process ends."""
    (folder / "pid").unlink(missing_ok=True)
    with open(folder / "log", "ab") as log:
        subprocess.run(
            [
                "setsid",
                "--fork",
                *prefix,
                "dockerd",
                f"--data-root={folder}/data",
                f"--exec-root={folder}/exec",
                f"--pidfile={folder}/pid",
                f"--host=unix://{folder}/docker.sock",
                "--insecure-registry=10.0.0.0/8",
                "--shutdown-timeout=5",
                "--log-level=warn",
                *options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=True,
        )


def forget_networks(folder: Path) -> None:
    """Drop what an engine that was killed knew of its networks, which may be half written.

    dockerd 20.10 panics over a network without addresses.
    """
    shutil.rmtree(folder / "data" / "network", ignore_errors=True)


def stop_dockerd(folder: Path) -> None:
    """Stop the dockerd of a folder, and with it all of its containers."""
    try:
        pid = int((folder / "pid").read_text())
        os.kill(pid, 15)
    except (FileNotFoundError, ProcessLookupError):
        return
    wait_for(lambda: not _is_running(pid), "the end of dockerd", 60)


def ensure_base_image(engine: Engine) -> None:
    """Make the image that stands in for Docker Hub's python:3.11-slim, once for each engine."""
    with only_one(CACHE / "base-image.lock"), engine.client() as client:
        try:
            client.images.get(BASE_IMAGE)
        except ImageNotFound:
            repository, _, tag = BASE_IMAGE.partition(":")
            client.api.import_image_from_file(
                str(_base_archive()),
                repository=repository,
                tag=tag,
                changes=[f"ENV PATH={PATH}", 'CMD ["python3"]'],
            )


def _base_archive() -> Path:
    """Return a root filesystem as a tar archive, from the cache or made by debootstrap."""
    archive = CACHE / "base-bookworm-python.tar"
    if archive.exists():
        return archive
    if missing := missing_for_an_engine():
        pytest.skip(missing)
    with tempfile.TemporaryDirectory(dir=CACHE) as made:
        root = Path(made) / "root"
        done = subprocess.run(
            [
                "debootstrap",
                "--variant=minbase",
                f"--include={BASE_PACKAGES}",
                "bookworm",
                str(root),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"debootstrap failed:\n{done.stdout[-2000:]}{done.stderr}"
        _look_like_the_official_image(root)
        draft = Path(made) / "tar"
        subprocess.run(["tar", "-C", str(root), "-cf", str(draft), "."], check=True)
        draft.rename(archive)
    return archive


def _look_like_the_official_image(root: Path) -> None:
    """Let `python` and `pip install` work as they do in Docker Hub's image."""
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        marker.unlink()
    for folder in ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache/apt"):
        shutil.rmtree(root / folder, ignore_errors=True)
    for folder in ("var/cache/apt/archives/partial", "usr/share/man/man1"):
        (root / folder).mkdir(parents=True)


def _make_bridge() -> None:
    """Make a bridge of our own, so that another engine's docker0 is left alone."""
    if not Path(f"/sys/class/net/{BRIDGE}").exists():
        subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=True)
        subprocess.run(["ip", "address", "add", BRIDGE_ADDRESS, "dev", BRIDGE], check=True)
        subprocess.run(["ip", "link", "set", BRIDGE, "up"], check=True)


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold the only right to something, named by a file, among all sessions of this machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_last(users: IO[str]) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
