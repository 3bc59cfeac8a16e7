"""An image that is laid out like an environment, but holds the base image's Python alone."""

from tests.docker.swarm import Swarm
from workspace.compute.image_layers import FOLDERS, USER

SCRIPT = f"""
set -e
mkdir -p /opt/environment/bin {FOLDERS}
ln -s "$(command -v python3)" /opt/environment/bin/python
chown {USER} {FOLDERS}
"""


def plain_image(swarm: Swarm) -> str:
    """Give its reference in the swarm's registry, as that of a built environment."""
    name = f"{swarm.registry}/plain"
    with swarm.manager.engine.client() as client:
        container = client.containers.run(swarm.base, ["sh", "-c", SCRIPT], detach=True)
        assert container.wait()["StatusCode"] == 0, container.logs()
        container.commit(name, "latest", changes=[f"USER {USER}", "ENTRYPOINT []", "CMD []"])
        container.remove()
        for line in client.images.push(name, "latest", stream=True, decode=True):
            assert "error" not in line, line["error"]
            digest = (line.get("aux") or {}).get("Digest", "")
            if digest:
                return f"{name}@{digest}"
    raise AssertionError("the registry did not say what it stored")
