"""Images go to a target's registry and come from others, with the logins that these ask for."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.docker.cleaning import clear
from tests.docker.engine import BASE_IMAGE, Engine
from tests.waiting import wait_for
from workspace.compute.access import ImageLogin, TargetAccess
from workspace.compute.base import EnvironmentBuildFailed
from workspace.compute.environment_spec import CuratedFramework, EnvironmentSpec
from workspace.compute.images.engine_images import EngineImages
from workspace.compute.local.ports import free_port

pytestmark = pytest.mark.docker

INSTALLATION = "registrytests"
LOGIN = ImageLogin("ana", "open-sesame")
HASHED = "$2y$05$abcdefghijklmnopqrstuutXu9KzOt.1yBoZUeFWoT/914/JfszCO"
DIGEST = "d" * 64


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CuratedFramework, "requirements", lambda self, *, gpu: ["six==1.17.0"])


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """Yield the address of a registry that asks for a login; engines trust it, as it is local."""
    if shutil.which("docker-registry") is None:
        pytest.skip("docker-registry is not installed")
    address = f"127.0.0.1:{free_port(())}"
    (tmp_path / "htpasswd").write_text(f"{LOGIN.username}:{HASHED}\n")
    settings = tmp_path / "registry.yml"
    settings.write_text(
        "version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {tmp_path}/stored}}}}\n"
        f"auth: {{htpasswd: {{realm: yard, path: {tmp_path}/htpasswd}}}}\n"
        f"http: {{addr: '{address}'}}\n"
    )
    with (tmp_path / "log").open("wb") as log:
        started = subprocess.Popen(
            ["docker-registry", "serve", str(settings)], stdout=log, stderr=log
        )
    try:
        wait_for(lambda: answers(address), "an answer of the registry", 30)
        yield address
    finally:
        started.kill()
        started.wait()


def answers(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/v2/").status_code == 401
    except httpx.TransportError:
        return False


@pytest.fixture
def client(engine: Engine) -> Iterator[Any]:
    with engine.client() as client:
        clear(client, INSTALLATION)
        yield client
        clear(client, INSTALLATION)


def images_with(engine: Engine, registry: str, login: ImageLogin) -> EngineImages:
    return EngineImages(
        TargetAccess(
            home="",
            installation=INSTALLATION,
            address=engine.address,
            base_image=BASE_IMAGE,
            registry=registry,
            registry_user=login.username,
            registry_password=login.password,
        )
    )


def spec_of(image: str = "") -> dict[str, Any]:
    return EnvironmentSpec.of("2.21", image=image).to_json()


def test_an_image_is_pushed_and_may_be_pulled_by_whoever_may_log_in(
    engine: Engine, registry: str, client: Any
) -> None:
    images = images_with(engine, registry, LOGIN)
    built = images.prepare(DIGEST, spec_of(), lambda chunk: None)
    assert built.reference.startswith(f"{registry}/trainyard/environment@sha256:")
    assert images.has(built.reference)
    for image in client.images.list(filters={"label": f"trainyard.environment={DIGEST}"}):
        client.images.remove(str(image.id), force=True)
    assert not images.has(built.reference)
    images.close()

    others = images_with(engine, "", ImageLogin("", ""))
    own = spec_of(f"{registry}/trainyard/environment:{DIGEST}")
    for login in (None, ImageLogin("ana", "wrong")):
        with pytest.raises(EnvironmentBuildFailed, match="image_registry_details"):
            others.prepare("e" * 64, own, lambda chunk: None, login)
    pulled = others.prepare("e" * 64, own, lambda chunk: None, LOGIN)
    assert pulled.packages["six"] == "1.17.0"
    with pytest.raises(EnvironmentBuildFailed, match="image_registry_details"):
        others.prepare("f" * 64, own, lambda chunk: None)  # though the engine has it now
    with pytest.raises(EnvironmentBuildFailed, match="does not exist: check its name and its tag"):
        others.prepare("e" * 64, spec_of(f"{registry}/trainyard/environment:no"), print, LOGIN)
    others.close()


def test_a_registry_that_refuses_the_targets_login_is_named(
    engine: Engine, registry: str, client: Any
) -> None:
    images = images_with(engine, registry, ImageLogin("ana", "wrong"))
    with pytest.raises(EnvironmentBuildFailed, match=f"pushed to the registry {registry}"):
        images.prepare(DIGEST, spec_of(), lambda chunk: None)
    images.close()
