"""A web process, a place for model servers, and a supervisor that ticks while a test waits."""

import asyncio
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from django.contrib.auth.models import User
from django.db import connections
from pytest_django import Settings

from deploy.config import ServiceResources
from deploy.models import KeySlot, Replica, ReplicaState, Service, ServiceState
from deploy.services import Deployment, deploy
from deploy.supervision.environments import serving_spec
from deploy.supervision.reconciler import ServiceReconciler
from models.models import ModelVersion
from models.registration import Registration
from models.savedmodel.folders import GRAPH_FILE
from models.savedmodel.inspection import SavedModel, validate
from models.services import register_from_archive
from tests.deploy.fake_replicas import Behaviour, replica
from tests.deploy.gateway_client import GatewayClient
from tests.factories import make_target
from tests.models.saved_models import as_zip, model_files
from workspace.environments.services import get_or_create
from workspace.models import ComputeTarget, Environment, EnvironmentState, Team
from workspace.targets.backends import backend_for

FAKE_SERVER = Path(__file__).with_name("fake_modelserver.py")
WAIT_SECONDS = 60.0


@pytest.fixture
def target(team: Team) -> ComputeTarget:
    return make_target(team)


RegisterModel = Callable[..., ModelVersion]


_validated: dict[bytes, SavedModel] = {}


def validate_once(sizes: Mapping[str, int], path_of: Callable[[str], Path]) -> SavedModel:
    """Read each graph once for all tests, which takes a process; tests/models test the reading."""
    graph = path_of(GRAPH_FILE).read_bytes()
    if graph not in _validated:
        _validated[graph] = validate(sizes, path_of)
    return _validated[graph]


@pytest.fixture
def register(team: Team, bob: User, monkeypatch: pytest.MonkeyPatch) -> RegisterModel:
    monkeypatch.setattr("models.sources.validate", validate_once)

    def make(
        behaviour: str = "", *, name: str = "digits", graph: bytes | None = None
    ) -> ModelVersion:
        files = model_files() | {"behaviour": behaviour.encode()}
        if graph is not None:
            files[GRAPH_FILE] = graph
        return register_from_archive(
            team=team,
            by=bob,
            file=as_zip(files),
            filename="m.zip",
            registration=Registration(name=name, framework_version="2.21"),
        )

    return make


class PromptServer(uvicorn.Server):
    """Ends as soon as it is told to, not at the next tenth of a second."""

    async def main_loop(self) -> None:
        while not await self.on_tick(0):  # noqa: ASYNC110 (as in the class above it)
            await asyncio.sleep(0.005)


@pytest.fixture
def web(transactional_db: None, settings: Settings) -> Iterator[str]:
    """Run the web process on a port of its own; gives its address."""
    from config.asgi import application

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        settings.TRAINYARD_URL = address
        server = PromptServer(
            uvicorn.Config(application, log_level="warning", lifespan="off", ws="websockets-sansio")
        )
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True
        )
        thread.start()
        deadline = time.monotonic() + WAIT_SECONDS
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        yield address
        server.should_exit = True
        thread.join(WAIT_SECONDS)


@pytest.fixture
def front(web: str, team: Team, bob: User, target: ComputeTarget, register: RegisterModel) -> Any:
    version = register()
    with ExitStack() as stack:

        def make(*behaviours: Behaviour | str) -> GatewayClient:
            made = deploy(team=team, by=bob, name="digits", version=version, target=target)
            service = made.service
            fakes = []
            for number, behaviour in enumerate(behaviours):
                address = behaviour if isinstance(behaviour, str) else ""
                if not isinstance(behaviour, str):
                    fakes.append(stack.enter_context(replica(behaviour)))
                    address = fakes[-1].address
                Replica.objects.create(
                    revision=service.revisions.get(),
                    number=number,
                    address=address,
                    state=ReplicaState.READY,
                )
            Service.objects.update(state=ServiceState.HEALTHY, state_reason="")
            return GatewayClient(web, service, made.keys[KeySlot.PRIMARY], fakes)

        yield make


class ServiceStack:
    """Services on the local target, and a supervisor that works while someone waits."""

    def __init__(self, team: Team, by: User, target: ComputeTarget, home: Path) -> None:
        self.team = team
        self.by = by
        self.target = target
        self.home = home
        self.reconciler = ServiceReconciler()

    def environment_of(self, version: ModelVersion) -> tuple[Environment, Path]:
        """Return the environment that serves a version, said to be ready, and its folder."""
        team = version.model.team
        environment = get_or_create(self.target, serving_spec(version, gpu=False), team)
        reference = f"environments/{environment.digest}"
        Environment.objects.filter(pk=environment.pk).update(
            state=EnvironmentState.READY, reference=reference
        )
        return environment, self.home / reference

    def use_python(self, version: ModelVersion, python: str) -> Environment:
        """Have the environment that serves a version be one with this program as its python."""
        environment, folder = self.environment_of(version)
        binaries = folder / "bin"
        binaries.mkdir(parents=True, exist_ok=True)
        (binaries / "python").write_text(python)
        (binaries / "python").chmod(0o755)
        return environment

    def use_environment(self, version: ModelVersion, folder: Path) -> None:
        """Have a virtualenv that is there serve a version."""
        _, place = self.environment_of(version)
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(folder)

    def use_fake_server(self, version: ModelVersion) -> None:
        """Serve a version by the fake, which lies in the environment: no other file is read."""
        _, folder = self.environment_of(version)
        server = folder / FAKE_SERVER.name
        self.use_python(version, f'#!/bin/sh\nexec {sys.executable} {server} "$@"\n')
        shutil.copy(FAKE_SERVER, server)

    def deploy(self, version: ModelVersion, name: str = "digits", replicas: int = 1) -> Deployment:
        self.use_fake_server(version)
        return deploy(
            team=self.team,
            by=self.by,
            name=name,
            version=version,
            target=self.target,
            resources=ServiceResources(),
            replicas=replicas,
        )

    def healthy(self, version: ModelVersion, replicas: int = 1) -> tuple[Service, str]:
        """Deploy, wait until the service is healthy, and return it with its primary key."""
        made = self.deploy(version, replicas=replicas)
        self.wait_for_state(made.service, ServiceState.HEALTHY)
        return made.service, made.keys[KeySlot.PRIMARY]

    def wait_for_state(self, service: Service, state: ServiceState) -> Service:
        self.wait(lambda: self.state_of(service) == state, service)
        return service

    def state_of(self, service: Service) -> str:
        service.refresh_from_db()
        return service.state

    def wait(self, condition: Callable[[], bool], service: Service | None = None) -> None:
        """Let the supervisor work until something is so."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                told = f"{service.state}: {service.state_reason}" if service else ""
                raise AssertionError(f"it did not become so in {WAIT_SECONDS:.0f} s. {told}")
            self.reconciler.tick()
            time.sleep(0.05)


@pytest.fixture
def stage(
    web: str, team: Team, bob: User, target: ComputeTarget, home: Path
) -> Iterator[ServiceStack]:
    stage = ServiceStack(team, bob, target, home)
    yield stage
    backend = backend_for(target)
    for group in target.groups.filter(removed_at=None):
        backend.remove(group.label)
    connections.close_all()
