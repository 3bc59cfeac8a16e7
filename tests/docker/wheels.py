"""The wheel of Horovod, which takes minutes to build: built once, whoever needs it first."""

import io
import re
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from docker.models.containers import Container

from tests.docker.engine import BASE_IMAGE, Engine

WHEELS = Path.home() / ".cache" / "trainyard-tests" / "wheels"
BUILT_FOR = "horovod-0.28.1-python3.11-tensorflow2.15.1-openmpi4.1.4"
IN_CONTAINERS = f"{BUILT_FOR}-x86_64"
CHECKSUM = re.compile(r"rank \d: weights checksum ([0-9a-f]{16})")


def give_the_wheel(engine: Engine, installation: str) -> None:
    """Put the wheel that was built on this machine into the engine's cache, if there is one."""
    if not (WHEELS / BUILT_FOR).exists():
        return
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(WHEELS / BUILT_FOR, f"wheels/{IN_CONTAINERS}")
    with _cache_of(engine, installation) as holder:
        holder.put_archive("/cache", packed.getvalue())


def keep_the_wheel(engine: Engine, installation: str) -> None:
    """Keep the wheel that was built in the engine's cache for other tests of this machine."""
    if (WHEELS / BUILT_FOR).exists():
        return
    with _cache_of(engine, installation) as holder:
        pieces, _ = holder.get_archive(f"/cache/wheels/{IN_CONTAINERS}")
        packed = io.BytesIO(b"".join(pieces))
    with tempfile.TemporaryDirectory(dir=WHEELS.parent) as folder:
        with tarfile.open(fileobj=packed) as tar:
            tar.extractall(folder, filter="data")
        WHEELS.mkdir(exist_ok=True)
        with suppress(OSError):  # another has kept its own meanwhile
            (Path(folder) / IN_CONTAINERS).rename(WHEELS / BUILT_FOR)


@contextmanager
def _cache_of(engine: Engine, installation: str) -> Iterator[Container]:
    """Yield a container that has the engine's cache of builds at /cache."""
    name = f"ty-{installation}-uv-cache"
    with engine.client() as client:
        client.volumes.create(name, labels={"trainyard.installation": installation})
        holder = client.containers.create(
            BASE_IMAGE, "true", volumes={name: {"bind": "/cache", "mode": "rw"}}
        )
        try:
            yield holder
        finally:
            holder.remove()
