"""Services of the whole product on a Docker Engine: served by containers, scored by the gateway."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from docker.models.containers import Container

from tests.docker.docker_product import TARGET, DockerProduct
from tests.docker.serving import (
    SERVING_IMAGE,
    Serving,
    deploy,
    files_below,
    make_serving_image,
    register,
)
from tests.waiting import wait_for
from workspace.compute.containers import RUNNER_MEMORY_BYTES

pytestmark = [pytest.mark.docker, pytest.mark.product, pytest.mark.tensorflow]
NO_SUCH_IMAGE = "2.21.99"
METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"


@pytest.fixture(scope="module")
def serving(
    one_docker_product: DockerProduct, saved_models: Path
) -> Iterator[tuple[Serving, Serving]]:
    """Serve a model by our own server in an image, and by the stand-in for TensorFlow Serving's."""
    product = one_docker_product
    product.start()
    files = files_below(saved_models / "zoo" / "3")
    register(product, files, "own", NO_SUCH_IMAGE)
    own = deploy(product, "own", TARGET, cpu=0.5, memory_gb=1.5)
    with product.engine.client() as client:
        make_serving_image(client, container_of(own).attrs["Config"]["Image"])
        register(product, files, "zoo", "2.21")
        theirs = deploy(product, "zoo", TARGET, cpu=1, memory_gb=1.5)
        yield own, theirs
        for service in (own, theirs):
            service.delete()
        wait_for(lambda: product.left() == [], "the end of all that the services left", 60)
        client.images.remove(SERVING_IMAGE)


def container_of(service: Serving) -> Container:
    product = service.product
    assert isinstance(product, DockerProduct)
    (found,) = service.containers(product.engine, product.installation)
    return found


def test_where_there_is_no_image_our_own_server_serves_and_a_notice_says_so(
    serving: tuple[Serving, Serving],
) -> None:
    own, _ = serving
    answer = own.score()
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["predictions"]) == 2
    (revision,) = own.get()["revisions"]
    assert f"The image tensorflow/serving:{NO_SUCH_IMAGE} could not be used" in revision["notice"]


def test_the_image_of_the_models_version_serves_with_a_python_for_the_runner_alone(
    serving: tuple[Serving, Serving],
) -> None:
    _, service = serving
    answer = service.score()
    assert answer.status_code == 200, answer.text
    (revision,) = service.get()["revisions"]
    assert revision["notice"] == ""
    container = container_of(service)
    started = [process[-1] for process in container.top(ps_args="-eo pid,args")["Processes"]]
    assert any(command.startswith("/opt/serving/bin/python -m deploy") for command in started)
    packages = said_in(container, "ls /opt/environment/lib/python3*/site-packages")
    assert "tensorflow" not in packages


def test_a_client_of_grpc_reaches_a_container_through_the_gateway(
    serving: tuple[Serving, Serving],
) -> None:
    for service, model in zip(serving, (b"own", b"zoo"), strict=True):
        product = service.product
        assert isinstance(product, DockerProduct)
        with grpc.insecure_channel(f"127.0.0.1:{product.grpc_port}") as channel:
            answer = channel.unary_unary(METADATA)(
                # model_spec {name: model} metadata_field: "signature_def"
                b"\n\x05\n\x03" + model + b"\x12\rsignature_def",
                metadata=[("authorization", f"Bearer {service.key}")],
                timeout=30,
            )
        assert b"serving_default" in answer


def test_limits_of_cores_and_memory_are_those_of_the_container(
    serving: tuple[Serving, Serving],
) -> None:
    for service, cores in zip(serving, (0.5, 1.0), strict=True):
        container = container_of(service)
        limits = container.attrs["HostConfig"]
        bytes_allowed = 1_500_000_000 + RUNNER_MEMORY_BYTES
        assert limits["NanoCpus"] == cores * 1e9
        assert (limits["Memory"], limits["MemorySwap"]) == (bytes_allowed, bytes_allowed)
        assert seen_limits(container) == (cores, bytes_allowed // 4096 * 4096)


def seen_limits(container: Container) -> tuple[float, int]:
    """Return the cores and the memory that the control groups of a container allow it."""
    files = "cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us memory/memory.limit_in_bytes"
    seen = said_in(container, f"cd /sys/fs/cgroup && cat {files} || cat cpu.max memory.max")
    quota, period, memory = map(int, seen.split())
    return quota / period, memory


def said_in(container: Container, script: str) -> str:
    output = container.exec_run(["sh", "-c", script], stderr=False).output
    assert isinstance(output, bytes)
    return output.decode()


def test_a_killed_container_is_replaced_and_its_end_is_told(
    serving: tuple[Serving, Serving],
) -> None:
    service, _ = serving
    container = container_of(service)
    container.kill()
    told = service.wait_for_replacement(container.labels["trainyard.process"])
    assert any("its container was killed" in reason for reason in told), told
    assert service.score().status_code == 200


def test_a_supervisor_that_was_killed_finds_its_replicas_again(
    serving: tuple[Serving, Serving],
) -> None:
    service, _ = serving
    before = container_of(service)
    service.product.kill("supervisor")
    service.product.part("supervisor")
    assert service.score().status_code == 200
    service.wait_for_health()
    assert container_of(service).id == before.id
