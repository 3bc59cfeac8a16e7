"""How much faster an image is built that has one more pip package than one that is there."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from bench.bench import Bench
from bench.measure import Line, RowSkipped, seconds
from workspace.compute.access import TargetAccess
from workspace.compute.base import BackendError
from workspace.compute.environment_spec import EnvironmentSpec
from workspace.compute.images.engine_images import EngineImages

DEFAULT_SOCKET = "unix:///var/run/docker.sock"
ONE_MORE = "iniconfig"


def measure(bench: Bench) -> Iterator[Line]:
    """Build for an installation of its own, so that no layer is there; what it made goes again."""
    address = os.environ.get("TRAINYARD_BENCH_ENGINE", DEFAULT_SOCKET)
    if address == DEFAULT_SOCKET and not Path("/var/run/docker.sock").exists():
        raise RowSkipped("no engine; name one in TRAINYARD_BENCH_ENGINE=unix:///PATH")
    access = TargetAccess(
        home=str(bench.folder),
        installation=f"bench-{secrets.token_hex(3)}",
        address=address,
        base_image=os.environ.get("TRAINYARD_BENCH_IMAGE", ""),
    )
    images = EngineImages(access)

    def build(*packages: str) -> float:
        spec = EnvironmentSpec.of("2.21", packages=packages)
        bench.say(f"building an image with TensorFlow {' and '.join(packages)}")
        return seconds(
            lambda: images.prepare(spec.digest("bench"), spec.to_json(), lambda chunk: None)
        )

    try:
        first = build()
        second = build(ONE_MORE)
    except BackendError as error:
        raise RowSkipped(str(error)) from error
    finally:
        images.clear()
        images.close()
    yield Line(
        "image with one more pip package",
        second,
        "s",
        1 / 3,
        "the first build",
        first,
        of_ratio=True,
    )
