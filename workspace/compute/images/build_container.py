"""A container in which an image is built: steps run in it one by one, and what they left is kept.

The engine's classic API knows no build secrets. Here, a step alone gets the settings that may hold
some; neither the container nor the image's configuration, history or files ever do.
"""

import io
import queue
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from docker import DockerClient
from docker.errors import APIError, NotFound
from docker.types import Mount

from workspace.compute.base import EnvironmentBuildFailed
from workspace.compute.builds.build_log import BuildLog
from workspace.compute.images.layers import BUILD_DIRECTORY, CACHE, PYTHON, USER

POLL_SECONDS = 1.0
# A build container that nobody removes ends by itself.
MAX_BUILD_SECONDS = 2 * 3600
START_TIME = timedelta(minutes=10)
BUILDING_LABEL = "trainyard.building"


class BuildContainer:
    """One build container. What it is given on the workbench is gone from what it commits."""

    def __init__(self, client: DockerClient, container: Any, log: BuildLog) -> None:
        self._client = client
        self._container = container
        self._log = log

    def put(self, files: Mapping[str, bytes]) -> None:
        """Put files onto the workbench, executable and readable for everybody."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name, content in files.items():
                entry = tarfile.TarInfo(f"{BUILD_DIRECTORY}/{name}".lstrip("/"))
                entry.size = len(content)
                entry.mode = 0o755
                tar.addfile(entry, io.BytesIO(content))
        self._container.put_archive("/", archive.getvalue())

    def run(self, script: str, settings: Mapping[str, str], *, user: str = "0:0") -> int:
        """Run a shell script with `settings`, its output going to the log; return its exit code."""
        command = ["/bin/sh", "-ec", script]
        for chunk in self._output(command, settings, user):
            self._log.add(chunk)
        return self._exit_code

    def read(self, script: str, settings: Mapping[str, str], *, user: str = "0:0") -> str | None:
        """Run a shell script that prints something; give that, or None where it fails."""
        said = b"".join(self._output(["/bin/sh", "-ec", script], settings, user, stderr=False))
        return said.decode("utf-8", "replace") if self._exit_code == 0 else None

    def commit(self, name: str, labels: Mapping[str, str], path: str) -> Any:
        """Keep what is there as the image `name`, which runs as the ordinary user."""
        repository, _, tag = name.rpartition(":")
        quoted = " ".join(f'"{key}"="{value}"' for key, value in labels.items())
        changes = [f"USER {USER}", f'CMD ["{PYTHON}"]', "WORKDIR /", f"LABEL {quoted}"]
        made = self._client.api.commit(
            self._container.id, repository, tag, changes=[*changes, f"ENV PATH={path}"]
        )
        return self._client.images.get(made["Id"])

    def clear(self) -> None:
        self._container.exec_run(["rm", "-rf", BUILD_DIRECTORY], user="0:0")

    def _output(
        self, command: Sequence[str], settings: Mapping[str, str], user: str, *, stderr: bool = True
    ) -> Iterator[bytes]:
        """Yield the output of a command as it comes, and b"" now and then while there is none."""
        api = self._client.api
        started = api.exec_create(
            self._container.id, command, environment=dict(settings), user=user, stderr=stderr
        )
        stream = api.exec_start(started["Id"], stream=True)
        pieces: queue.SimpleQueue[bytes | Exception | None] = queue.SimpleQueue()
        reader = threading.Thread(target=_read, args=(stream, pieces), daemon=True)
        reader.start()
        while True:
            try:
                piece = pieces.get(timeout=POLL_SECONDS)
            except queue.Empty:
                piece = b""
            if piece is None:
                break
            if isinstance(piece, Exception):
                raise piece
            yield piece
        self._exit_code: int = api.exec_inspect(started["Id"])["ExitCode"]


@contextmanager
def build_container(
    client: DockerClient, image: str, *, installation: str, digest: str, log: BuildLog
) -> Iterator[BuildContainer]:
    """Yield a running build container on top of an image, and take it down in the end."""
    cache = cache_of(installation)
    labels = {"trainyard.installation": installation}
    client.volumes.create(cache, labels=labels)
    try:
        container = client.containers.create(
            image,
            entrypoint=[""],  # not that of the image, and none to be kept
            command=["/bin/sh", "-c", f"sleep {MAX_BUILD_SECONDS}"],
            user="0:0",
            working_dir="/",
            labels={**labels, BUILDING_LABEL: digest},
            mounts=[Mount(CACHE, cache)],
            healthcheck={"test": ["NONE"]},
        )
    except APIError as error:
        raise EnvironmentBuildFailed(
            f"A build container could not be created: {error.explanation}"
        ) from error
    try:
        try:
            container.start()
        except APIError as error:
            raise EnvironmentBuildFailed(
                f"The image {image} cannot be extended: it has no /bin/sh, or it is for another"
                f" CPU architecture. The engine reports: {error.explanation}"
            ) from error
        yield BuildContainer(client, container, log)
    finally:
        remove_container(container)


def cache_of(installation: str) -> str:
    """Return the name of the volume in which builds keep what they fetched."""
    return f"ty-{installation}-uv-cache"


def remove_stale_build_containers(
    client: DockerClient, installation: str, digest: str = ""
) -> None:
    """Remove the build containers that killed workers left: of one digest, or all that ended."""
    ours = [f"trainyard.installation={installation}"]
    for container in client.containers.list(
        all=True, filters={"label": [*ours, BUILDING_LABEL]}, ignore_removed=True
    ):
        building = container.labels.get(BUILDING_LABEL)
        if building and (building == digest or _is_left(container)):
            remove_container(container)


def _is_left(container: Any) -> bool:
    """Return whether a container has ended, or was made a while ago and never started."""
    if container.status != "created":
        return bool(container.status != "running")
    return datetime.fromisoformat(container.attrs["Created"]) < datetime.now(UTC) - START_TIME


def remove_container(container: Any) -> None:
    with suppress(NotFound):
        container.remove(force=True, v=True)


def _read(stream: Any, pieces: "queue.SimpleQueue[bytes | Exception | None]") -> None:
    """Read until the command ends, or its container is taken down."""
    try:
        for piece in stream:
            pieces.put(piece)
    except Exception as error:
        pieces.put(error)
    finally:
        stream._response.close()
    pieces.put(None)
