"""A site whose runs are containers, and the same containers by hand, on one Docker Engine."""

import hashlib
import io
import json
import os
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException, ImageNotFound
from docker.models.containers import Container
from docker.models.images import Image

from bench.measure import RowSkipped
from bench.site import PROGRAMS, Site

TARGET = "engine"
PYTHON = "/opt/environment/bin/python"
PORT = 2222
PLAIN_IMAGE = "python:3.11-slim"
USUAL_SOCKET = "unix:///var/run/docker.sock"


class ContainerSite(Site):
    """A site with an engine as its only target that is used."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.address = os.environ.get("TRAINYARD_BENCH_ENGINE") or USUAL_SOCKET
        try:
            self.engine = docker.DockerClient(self.address, version="auto", timeout=120)
        except DockerException as error:
            raise RowSkipped(
                f"no Docker Engine answers at {self.address}; TRAINYARD_BENCH_ENGINE names another."
            ) from error

    def start(self) -> None:
        super().start()
        self.post("/targets", {"name": TARGET, "kind": "docker", "address": self.address})

    @cached_property
    def plain(self) -> str:
        """The image of runs without TensorFlow, which is there from now on."""
        return self._image_of({"custom_docker_image": PLAIN_IMAGE})

    @cached_property
    def tensorflow(self) -> str:
        """The image of runs with TensorFlow, which is there from now on."""
        return self._image_of({})

    def _image_of(self, config: Mapping[str, Any]) -> str:
        before = {image.id for image in self._environments()}
        for _ in range(2):
            self.wait(self.submit("hello", **on_engine(config)))
        (made,) = [str(image.id) for image in self._environments() if image.id not in before]
        return made

    def end(self) -> None:
        """Stop everything; leave no container, network, volume or image of ours."""
        super().end()
        ours: dict[str, Any] = {"label": f"trainyard.installation={self._installation()}"}
        for container in self.engine.containers.list(all=True, filters=ours):
            container.remove(force=True, v=True)
        for network in self.engine.networks.list(filters=ours):
            network.remove()
        for volume in self.engine.volumes.list(filters=ours):
            volume.remove(force=True)
        images = self.engine.images.list(filters=ours)
        # The newest first: one that others were built upon can't go before them.
        for image in sorted(images, key=lambda image: image.attrs["Created"], reverse=True):
            try:
                self.engine.images.remove(str(image.id), force=True)
            except ImageNotFound:
                continue  # it went with another
        self.engine.close()

    @contextmanager
    def by_hand(
        self, image: str, program: str, arguments: Sequence[str] = (), workers: int = 1
    ) -> Iterator[list[Container]]:
        """Create containers for a program, with TF_CONFIG where there are several."""
        name = f"bench-{os.getpid()}"
        network = self.engine.networks.create(name)
        made: list[Container] = []
        try:
            for index in range(workers):
                alias = self.engine.api.create_endpoint_config(aliases=[f"worker-{index}"])
                made.append(
                    self.engine.containers.create(
                        image,
                        [PYTHON, "-u", "/tmp/train.py", *arguments],  # noqa: S108 (in a container)
                        working_dir="/tmp",  # noqa: S108
                        environment=_tf_config(index, workers),
                        network=name,
                        networking_config={name: alias},
                    )
                )
                made[-1].put_archive("/tmp", _archive(PROGRAMS / f"{program}.py"))  # noqa: S108
            yield made
        finally:
            for container in made:
                container.remove(force=True)
            network.remove()

    def _environments(self) -> list[Image]:
        ours = {"label": f"trainyard.installation={self._installation()}"}
        found = self.engine.images.list(filters=dict(ours))
        return [image for image in found if any("-environment:" in tag for tag in image.tags)]

    def _installation(self) -> str:
        key = (self.home / "secret_key").read_bytes()
        return hashlib.sha256(b"installation" + key).hexdigest()[:12]

    def _variables(self) -> dict[str, str]:
        return super()._variables() | {"DOCKER_HOST": self.address}


def on_engine(config: Mapping[str, Any]) -> dict[str, Any]:
    """Have a run be containers of the engine, without limits that the others have not."""
    return {"compute_target": TARGET, "cpus_per_process": None, **config}


def seconds_to_line(container: Container, text: bytes, since: float) -> float:
    """Return when a container that was started printed something, after `since`."""
    for piece in container.logs(stream=True, follow=True):
        if text in piece:
            return time.perf_counter() - since
    raise RuntimeError(f"The container never said {text!r}: {container.logs()[-2000:]!r}")


def _tf_config(index: int, workers: int) -> dict[str, str]:
    if workers == 1:
        return {}
    cluster = {"worker": [f"worker-{number}:{PORT}" for number in range(workers)]}
    task = {"type": "worker", "index": index}
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}


def _archive(path: Path) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.add(path, "train.py")
    return made.getvalue()
