"""A TensorFlow environment, SavedModels and running model servers, one of each for all tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workspace.compute.local.ports import free_port

from .environment import build_saved_models, find_tensorflow_python
from .grpc.client import Caller, GrpcClient
from .serving import ModelServer

StartServer = Callable[..., ModelServer]


@pytest.fixture(scope="session")
def tensorflow_python() -> Path:
    """A Python with TensorFlow and everything that the model server needs."""
    return find_tensorflow_python()


@pytest.fixture(scope="session")
def saved_models(tensorflow_python: Path) -> Path:
    """The folder with line/1, line/2 and zoo/3."""
    return build_saved_models(tensorflow_python)


@pytest.fixture(scope="session")
def example_models(tensorflow_python: Path) -> Path:
    """The folder with models that take tf.Examples, are warmed up or show their batches."""
    return build_saved_models(tensorflow_python, "build_example_models.py")


@pytest.fixture(scope="session")
def zoo(
    tensorflow_python: Path, saved_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ModelServer]:
    """A server of the zoo model, shared by all tests that only ask it things."""
    log = tmp_path_factory.mktemp("zoo") / "server.log"
    server = ModelServer(
        tensorflow_python, log, "--model_name=zoo", f"--model_base_path={saved_models / 'zoo'}"
    )
    try:
        yield server.wait_until_ready()
    finally:
        server.stop()


@pytest.fixture
def start_server(tensorflow_python: Path, tmp_path: Path) -> Iterator[StartServer]:
    """Start servers that end with the test."""
    servers: list[ModelServer] = []

    def start(*flags: str, grpc_port: int | None = 0) -> ModelServer:
        log = tmp_path / f"server-{len(servers)}.log"
        servers.append(ModelServer(tensorflow_python, log, *flags, grpc_port=grpc_port))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def grpc_client(tensorflow_python: Path) -> Iterator[GrpcClient]:
    """A process with the stubs of tensorflow-serving-api."""
    client = GrpcClient(tensorflow_python)
    yield client
    client.close()


@pytest.fixture(scope="session")
def many(
    tensorflow_python: Path,
    saved_models: Path,
    example_models: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ModelServer]:
    """A server of zoo, types, halves, flowers and both versions of line, with gRPC."""
    grpc_models = build_saved_models(tensorflow_python, "build_grpc_models.py")
    folders = {
        "zoo": saved_models,
        "types": grpc_models,
        "halves": grpc_models,
        "flowers": example_models,
    }
    platform = "model_platform: 'tensorflow'"
    configs = [
        f"{{name: '{name}' base_path: '{path / name}' {platform}}}"
        for name, path in folders.items()
    ]
    configs.append(
        f"{{name: 'line' base_path: '{saved_models / 'line'}' {platform}"
        " model_version_policy: {all: {}}"
        " version_labels: {key: 'stable' value: 1}}"
    )
    folder = tmp_path_factory.mktemp("many")
    config = folder / "models.config"
    config.write_text(f"model_config_list: {{config: [{', '.join(configs)}]}}")
    server = ModelServer(
        tensorflow_python,
        folder / "server.log",
        f"--model_config_file={config}",
        "--allow_version_labels_for_unavailable_models",
        "--enable_grpc_healthcheck_service",
        grpc_port=free_port(()),
    )
    try:
        yield server.wait_until_ready()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def caller(grpc_client: GrpcClient, many: ModelServer) -> Caller:
    """The client at the address of `many`."""
    return Caller(grpc_client, many.grpc_target)
