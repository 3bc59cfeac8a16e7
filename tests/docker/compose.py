"""The product as compose.yaml starts it, on the engine of the tests."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import docker
import pytest
from docker.errors import ImageNotFound

from tests.config.server.launched import CLEAN, ROOT
from tests.docker.engine import BASE_IMAGE, Engine
from tests.product.product import PASSWORD
from workspace.compute.local.ports import free_port

STANDINS = Path(__file__).with_name("standins")
STOOD_IN_FOR = ("postgres:17", "valkey/valkey:9", "registry:2")
BUILD_BASE = "trainyard-test/python-with-ca"
CA = Path("/etc/ssl/certs/ca-certificates.crt")


class Composed:
    """One project of compose: its command line and its address."""

    def __init__(self, engine: Engine, gateway: str) -> None:
        self.project = f"tytest{uuid4().hex[:8]}"
        self.port = free_port(())
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {
            **CLEAN,
            "DOCKER_HOST": engine.address,
            "DOCKER_BUILDKIT": "0",  # not every engine that tests find has the other builder
            "BASE_IMAGE": BUILD_BASE,
            "TRAINYARD_PORT": str(self.port),
            "TRAINYARD_GRPC_PORT": str(free_port(())),
            "TRAINYARD_ADMIN_PASSWORD": PASSWORD,
            "TRAINYARD_ENGINE_SOCKET": str(engine.socket),
            "TRAINYARD_ENGINE_GROUP": str(engine.socket.stat().st_gid),
            "TRAINYARD_GATEWAY": gateway,
        }

    def __call__(self, *arguments: str, given: bytes = b"") -> str:
        """Run compose; return what it printed."""
        return self.raw(*arguments, given=given).decode(errors="replace")

    def raw(self, *arguments: str, given: bytes = b"") -> bytes:
        command = compose_command()
        assert command, "no compose was found"
        done = subprocess.run(
            [*command, "--project-name", self.project, *arguments],
            cwd=ROOT,
            env=self._environment,
            input=given,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, (done.stdout[-4000:], done.stderr[-4000:].decode())
        return done.stdout


def compose_command() -> list[str]:
    """Return the compose of this machine: the plugin of today, or Debian's older program."""
    plugin = ["docker", "compose"]
    if shutil.which("docker"):
        asked = subprocess.run([*plugin, "version"], capture_output=True, check=False)
        if asked.returncode == 0:
            return plugin
    return ["docker-compose"] if shutil.which("docker-compose") else []


@contextmanager
def composed(engine: Engine) -> Iterator[Composed]:
    """Build and start everything; leave nothing of it."""
    if not compose_command():
        pytest.skip("neither docker compose nor docker-compose is installed")
    with engine.client() as client:
        _ensure_images(client)
        bridge = client.networks.get("bridge").attrs
    made = Composed(engine, bridge["IPAM"]["Config"][0]["Gateway"])
    try:
        made("up", "--detach", "--build")
        yield made
    finally:
        print(made("logs", "--no-color", "--tail", "30"))  # pytest shows it beside a failure
        made("down", "--volumes", "--timeout", "5")


def _ensure_images(client: docker.DockerClient) -> None:
    """Make what compose.yaml would pull, and a base that trusts what this machine trusts."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(CA, f"{folder}/ca.crt")
        Path(folder, "Dockerfile").write_text(
            f"FROM {BASE_IMAGE}\n"
            "COPY ca.crt /usr/local/share/ca.crt\n"
            "ENV SSL_CERT_FILE=/usr/local/share/ca.crt PIP_CERT=/usr/local/share/ca.crt\n"
        )
        client.images.build(path=folder, tag=BUILD_BASE)
    missing = [name for name in STOOD_IN_FOR if not _has(client, name)]
    if missing:
        image, _ = client.images.build(path=os.fspath(STANDINS), rm=True)
        for name in missing:
            image.tag(*name.split(":"))


def _has(client: docker.DockerClient, name: str) -> bool:
    try:
        client.images.get(name)
    except ImageNotFound:
        return False
    return True
