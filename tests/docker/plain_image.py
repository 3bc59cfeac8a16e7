"""An image that is laid out like an environment, but holds the base image's Python alone."""

import io

from tests.docker.swarm import Swarm
from workspace.compute.images.layers import FOLDERS, USER

DOCKERFILE = f"""
FROM {{base}}
RUN python3 -m venv --without-pip /opt/environment && mkdir -p {FOLDERS} && chown {USER} {FOLDERS}
"""


def plain_image(swarm: Swarm) -> str:
    """Return its reference in the swarm's registry, as that of a built environment."""
    repository = f"{swarm.registry}/plain"
    digest = ""
    content = io.BytesIO(DOCKERFILE.format(base=swarm.base).encode())
    with swarm.manager.engine.client() as client:
        client.images.build(fileobj=content, tag=repository, rm=True)
        for line in client.images.push(repository, "latest", stream=True, decode=True):
            assert "error" not in line, line["error"]
            digest = (line.get("aux") or {}).get("Digest", digest)
    assert digest, "the registry did not say what it stored"
    return f"{repository}@{digest}"
