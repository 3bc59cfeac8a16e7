"""Services of a whole product as its users see them, and images that stand in for real ones."""

import io
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from docker import DockerClient
from docker.models.containers import Container

from tests.docker.engine import Engine
from tests.models.saved_models import as_tar_gz
from tests.product.product import Product
from tests.waiting import wait_for

SERVING_IMAGE = "tensorflow/serving:2.21.0"
FAKE_SERVER = Path(__file__).parents[1] / "deploy" / "fake_modelserver.py"
ROWS = {"instances": [[1.0, 2.0], [3.0, 4.0]]}
BUILD_SECONDS = 1200
# Our model server, without the path that TensorFlow Serving does not know. Its Python is none
# that a runner would find.
OF_OUR_SERVER = """
FROM {own}
USER 0
RUN mv /opt/environment /opt/serving && \
    sed -i s#/readyz#/unknown# \
        /opt/serving/lib/python3*/site-packages/deploy/modelserver/http/rest.py && \
    printf '#!/bin/sh\\nexec /opt/serving/bin/python -m deploy.modelserver "$@"\\n' \
        > /usr/bin/tensorflow_model_server && \
    chmod 755 /usr/bin/tensorflow_model_server
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ENTRYPOINT ["/usr/bin/tf_serving_entrypoint.sh"]
"""
FAKE = """
FROM {base}
COPY server.py /opt/server.py
RUN printf '#!/bin/sh\\nexec /usr/bin/python3 /opt/server.py "$@"\\n' \
        > /usr/bin/tensorflow_model_server && \
    chmod 755 /usr/bin/tensorflow_model_server
"""


def make_serving_image(client: DockerClient, own: str) -> None:
    """Make a stand-in for TensorFlow Serving's image from one that holds our model server."""
    content = io.BytesIO(OF_OUR_SERVER.format(own=own).encode())
    client.images.build(fileobj=content, tag=SERVING_IMAGE, rm=True)


def make_fake_serving_image(client: DockerClient, base: str, name: str) -> None:
    """Make an image whose tensorflow_model_server knows neither models nor TensorFlow."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(FAKE_SERVER, f"{folder}/server.py")
        Path(folder, "Dockerfile").write_text(FAKE.format(base=base))
        client.images.build(path=folder, tag=name, rm=True)


class Serving:
    """A service, and the containers that it has."""

    def __init__(self, product: Product, name: str, number: int, made: Mapping[str, Any]) -> None:
        self.product = product
        self.name = name
        self.number = number
        self.key: str = made["secrets"]["primary"]

    def get(self) -> dict[str, Any]:
        found: dict[str, Any] = self.product.patiently(f"/services/{self.name}")
        return found

    def wait_for_health(self) -> None:
        def is_healthy() -> bool:
            service = self.get()
            assert service["state"] != "Failed", service
            return bool(service["state"] == "Healthy")

        wait_for(is_healthy, f"service {self.name} to be healthy", BUILD_SECONDS)

    def wait_for_replacement(self, process: str) -> set[str]:
        """Wait until another replica than `process` is ready; return what was told meanwhile."""
        told: set[str] = set()

        def is_replaced() -> bool:
            found = self.get()
            told.add(found["state_reason"])
            ready = [one["name"] for one in found["replicas"] if one["state"] == "ready"]
            return ready != [] and process not in ready

        wait_for(is_replaced, f"a replica in the place of {process}", BUILD_SECONDS)
        self.wait_for_health()
        return told

    def score(self, body: object = ROWS) -> httpx.Response:
        return self.product.http.post(
            f"/teams/default/services/{self.name}/score",
            json=body,
            headers={"Authorization": f"Bearer {self.key}"},
        )

    def containers(self, engine: Engine, installation: str) -> list[Container]:
        """Return its containers that run: services are numbered as they are made."""
        mark = [f"trainyard.installation={installation}", "trainyard.group"]
        with engine.client() as client:
            found = client.containers.list(filters={"label": mark}, ignore_removed=True)
        start = f"service-{self.number}-"
        return [one for one in found if one.labels["trainyard.group"].startswith(start)]

    def delete(self) -> None:
        assert self.product.call("DELETE", f"/services/{self.name}").is_success


def deploy(product: Product, model: str, target: str, **resources: float) -> Serving:
    """Deploy the newest version of a model, and wait until it is served."""
    body = {"name": f"s-{model}", "model": model, "resources": resources, "target": target}
    number = len(product.get("/services")) + 1
    made = Serving(product, f"s-{model}", number, product.post("/services", body))
    made.wait_for_health()
    return made


def register(
    product: Product, files: Mapping[str, bytes], name: str, framework_version: str
) -> None:
    fields = {"name": name, "framework": "TensorFlow", "framework_version": framework_version}
    answer = product.call(
        "POST", "/models", data=fields, files={"archive": ("m.tar.gz", as_tar_gz(files).read())}
    )
    assert answer.status_code == 201, answer.text


def files_below(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}
