"""The wheel of Horovod that tests built on this machine, for the caches of engines."""

import io
import re
import tarfile
from pathlib import Path

from tests.docker.engine import BASE_IMAGE, Engine

WHEELS = Path.home() / ".cache" / "trainyard-tests" / "wheels"
BUILT_FOR = "horovod-0.28.1-python3.11-tensorflow2.15.1-openmpi4.1.4"
CHECKSUM = re.compile(r"rank \d: weights checksum ([0-9a-f]{16})")


def give_the_wheel(engine: Engine, installation: str) -> None:
    """Put the wheel that tests built on this machine into the engine's cache, if there is one.

    Without it, the engine builds its own, which takes minutes.
    """
    if not (WHEELS / BUILT_FOR).exists():
        return
    name = f"ty-{installation}-uv-cache"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(WHEELS / BUILT_FOR, f"wheels/{BUILT_FOR}-x86_64")
    with engine.client() as client:
        client.volumes.create(name, labels={"trainyard.installation": installation})
        holder = client.containers.create(
            BASE_IMAGE, "true", volumes={name: {"bind": "/cache", "mode": "rw"}}
        )
        holder.put_archive("/cache", packed.getvalue())
        holder.remove()
