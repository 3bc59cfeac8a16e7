"""A TensorFlow environment, SavedModels and running model servers for the tests below."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .environment import build_saved_models, find_tensorflow_python
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

    def start(*flags: str) -> ModelServer:
        log = tmp_path / f"server-{len(servers)}.log"
        servers.append(ModelServer(tensorflow_python, log, *flags))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
