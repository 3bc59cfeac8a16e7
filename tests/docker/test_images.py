"""Environments as images on a real engine: what is in them, what is not, and what is built once."""

import hashlib
import io
import json
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.docker.cleaning import clear
from tests.docker.engine import BASE_IMAGE, Engine
from workspace.compute.access import TargetAccess
from workspace.compute.base import BuiltEnvironment, EnvironmentBuildFailed
from workspace.compute.environment_spec import CuratedFramework, EnvironmentSpec
from workspace.compute.images.build_container import remove_stale_build_containers
from workspace.compute.images.engine_images import EngineImages

pytestmark = pytest.mark.docker

INSTALLATION = "imagetests"
DIGEST = "d" * 64
OTHER = "e" * 64
OURS = {"label": f"trainyard.installation={INSTALLATION}"}
HAS_A_PACKAGE = """
cd "$(python3 -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')"
touch own.py
mkdir own-1.0.dist-info
printf 'Metadata-Version: 2.1\nName: own\nVersion: 1.0\n' > own-1.0.dist-info/METADATA
"""
SECRET = "open-sesame-4711"


class Stopped(Exception):
    pass


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a small package stand for TensorFlow."""
    monkeypatch.setattr(CuratedFramework, "requirements", lambda self, *, gpu: ["six==1.17.0"])


@pytest.fixture(scope="module")
def layers_kept_by_all(engine: Engine) -> Iterator[Any]:
    with engine.client() as client:
        clear(client, INSTALLATION)
        yield client
        clear(client, INSTALLATION)


@pytest.fixture
def client(layers_kept_by_all: Any) -> Iterator[Any]:
    yield layers_kept_by_all
    for container in layers_kept_by_all.containers.list(all=True, filters=OURS):
        container.remove(force=True)


@pytest.fixture
def images(engine: Engine, client: Any) -> Iterator[EngineImages]:
    images = EngineImages(access(engine))
    yield images
    images.close()


def access(engine: Engine, base_image: str = BASE_IMAGE) -> TargetAccess:
    return TargetAccess(
        home="", installation=INSTALLATION, address=engine.address, base_image=base_image
    )


def spec_of(*packages: str, image: str = "", conda: tuple[str, ...] = ()) -> dict[str, Any]:
    return EnvironmentSpec.of("2.21", packages=packages, image=image, conda=conda).to_json()


def build(images: EngineImages, spec: dict[str, Any], digest: str = DIGEST) -> BuiltEnvironment:
    return images.prepare(digest, spec, lambda chunk: None)


def log_of_build(images: EngineImages, spec: dict[str, Any], digest: str = DIGEST) -> str:
    said: list[bytes] = []
    images.prepare(digest, spec, said.append)
    return b"".join(said).decode()


def failure_of(images: EngineImages, spec: dict[str, Any]) -> str:
    with pytest.raises(EnvironmentBuildFailed) as caught:
        build(images, spec)
    return str(caught.value)


def run(client: Any, reference: str, *command: str) -> str:
    said: bytes = client.containers.run(reference, list(command), remove=True)
    return said.decode().strip()


def made_of(client: Any, name: str, script: str, **changes: Any) -> str:
    """Make an image by a shell script on top of the base image."""
    container = client.containers.run(BASE_IMAGE, ["sh", "-ec", script], detach=True)
    assert container.wait()["StatusCode"] == 0, container.logs()
    labels = f"LABEL trainyard.installation={INSTALLATION}"
    container.commit("ty-imagetests", name, changes=[labels, *changes.get("changes", [])])
    container.remove()
    return f"ty-imagetests:{name}"


def test_an_image_has_its_packages_and_runs_as_an_ordinary_user(
    images: EngineImages, client: Any
) -> None:
    built = build(images, spec_of("iniconfig==2.0.0"))
    assert built.packages == {"six": "1.17.0", "iniconfig": "2.0.0"}
    assert built.versions["Python"].startswith("3.11.")
    assert built.size_bytes > 10**6
    assert run(client, built.reference, "id", "-u") == "10001"
    where = "import six, iniconfig; print(six.__file__)"
    assert run(client, built.reference, "python", "-c", where).startswith("/opt/environment/")
    assert run(client, built.reference, "ls", "/").count("trainyard-build") == 0


def test_one_more_package_runs_no_earlier_step_again(images: EngineImages) -> None:
    build(images, spec_of())
    second = log_of_build(images, spec_of("pluggy==1.5.0"), OTHER)
    assert "Installing six==1.17.0: it exists already." in second
    assert "+ pluggy==1.5.0" in second
    assert "+ six" not in second


def test_what_may_be_secret_is_nowhere_in_the_image(
    images: EngineImages, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = default_index().replace("://", f"://ana:{SECRET}@", 1)
    monkeypatch.setenv("UV_DEFAULT_INDEX", index)
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", index)
    monkeypatch.setenv("NO_PROXY", SECRET)
    said: list[bytes] = []
    built = images.prepare(DIGEST, spec_of("iniconfig==2.0.0"), said.append)
    api = client.api
    assert SECRET not in json.dumps(
        [api.inspect_image(built.reference), api.history(built.reference)]
    )
    assert SECRET.encode() not in b"".join(said)
    assert not contains(client.images.get(built.reference).save(), SECRET.encode())
    assert contains(client.images.get(built.reference).save(), b"iniconfig-2.0.0.dist-info")
    assert run(client, built.reference, "env").count("INDEX") == 0


def default_index() -> str:
    done = subprocess.run(
        ["uv", "pip", "compile", "--emit-index-url", "--no-header", "--no-deps", "--quiet", "-"],
        input="six",
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split("--index-url ")[1].split()[0]


def contains(pieces: Iterator[bytes], wanted: bytes) -> bool:
    tail = b""
    for piece in pieces:
        if wanted in tail + piece:
            return True
        tail = piece[-len(wanted) :]
    return False


def test_a_package_that_does_not_exist_is_told_in_the_resolvers_words(
    images: EngineImages, client: Any
) -> None:
    images.discard(f"ty-{INSTALLATION}-environment:{DIGEST}")
    said = failure_of(images, spec_of("six==99.0"))
    assert "No solution found" in said
    assert "six==99.0" in said
    assert not building(client)
    assert not images.has(f"ty-{INSTALLATION}-environment:{DIGEST}")


def test_a_build_that_nobody_wants_any_more_stops_and_leaves_nothing(
    images: EngineImages, client: Any
) -> None:
    said: list[bytes] = []

    def log(chunk: bytes) -> None:
        said.append(chunk)
        if b"Resolved" in chunk:
            raise Stopped

    spec = spec_of("typing-extensions")
    with pytest.raises(Stopped):
        images.prepare(DIGEST, spec, log)
    assert not building(client)
    assert images.has(build(images, spec).reference)


def test_a_build_whose_steps_are_silent_asks_whether_it_is_wanted(
    images: EngineImages, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workspace.compute.images.layers.MPI_PACKAGES", ("$(sleep 60)",))
    silent = 0

    def log(chunk: bytes) -> None:
        nonlocal silent
        silent = silent + 1 if not chunk else 0
        if silent == 2:
            raise Stopped

    spec = EnvironmentSpec.of("2.21", mpi=True).to_json()
    with pytest.raises(Stopped):
        images.prepare(DIGEST, spec, log)
    assert not building(client)


def test_what_a_killed_worker_left_is_gone_with_the_next_build(
    images: EngineImages, client: Any
) -> None:
    left = client.containers.run(
        BASE_IMAGE,
        ["sleep", "600"],
        detach=True,
        labels={"trainyard.installation": INSTALLATION, "trainyard.building": DIGEST},
    )
    other = client.containers.run(
        BASE_IMAGE,
        ["sleep", "600"],
        detach=True,
        labels={"trainyard.installation": INSTALLATION, "trainyard.building": OTHER},
    )
    build(images, spec_of())
    assert [container.id for container in building(client)] == [other.id]
    assert left.id != other.id


def test_two_builds_at_once_both_succeed(engine: Engine, images: EngineImages) -> None:
    second = EngineImages(access(engine))
    built: list[BuiltEnvironment] = []
    threads = [
        threading.Thread(target=lambda: built.append(build(images, spec_of("iniconfig")))),
        threading.Thread(target=lambda: built.append(build(second, spec_of("idna"), OTHER))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    second.close()
    assert sorted(name for one in built for name in one.packages) == [
        "idna",
        "iniconfig",
        "six",
        "six",
    ]


def test_an_environment_that_is_discarded_is_gone_and_what_others_share_stays(
    images: EngineImages,
) -> None:
    images.clear()
    first, second = build(images, spec_of()), build(images, spec_of("iniconfig"), OTHER)
    both = images.stored_bytes()
    assert both < first.size_bytes + second.size_bytes
    images.discard(second.reference)
    images.discard(second.reference)
    assert images.has(first.reference)
    assert not images.has(second.reference)
    assert images.prune([DIGEST]) == 0
    assert images.prune([]) == 1
    assert not images.has(first.reference)


def test_an_image_of_ones_own_keeps_what_it_has_and_gets_further_packages(
    images: EngineImages, client: Any
) -> None:
    own = made_of(client, "own", HAS_A_PACKAGE, changes=["USER nobody"])
    built = build(images, spec_of("iniconfig==2.0.0", image=own))
    assert built.packages["own"] == "1.0"
    assert built.packages["iniconfig"] == "2.0.0"
    assert "six" not in built.packages
    assert (
        run(client, built.reference, "/opt/environment/bin/python", "-c", "import own, iniconfig")
        == ""
    )
    assert run(client, built.reference, "id", "-u") == "10001"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("rm -f /usr/bin/python3* /usr/local/bin/python*", "has no Python"),
        ("chmod 700 /usr/lib/python3.11", "works only for root"),
        ("rm /bin/sh", "has no /bin/sh"),
    ],
    ids=["no Python", "wants root", "no shell"],
)
def test_an_image_that_cannot_be_used_is_refused_with_the_reason(
    images: EngineImages, client: Any, script: str, words: str
) -> None:
    assert words in failure_of(images, spec_of(image=made_of(client, "unfit", script)))


def image_archive(name: str, architecture: str) -> bytes:
    """Return an image of one empty layer, as `docker save` writes it."""
    layer = bytes(10240)
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Labels": {"trainyard.installation": INSTALLATION}},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for path, content in {
            "layer.tar": layer,
            "config.json": json.dumps(config).encode(),
            "manifest.json": json.dumps(manifest).encode(),
        }.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return written.getvalue()


def test_an_image_for_another_kind_of_machine_is_refused(images: EngineImages, client: Any) -> None:
    client.images.load(image_archive("ty-imagetests:arm", "arm64"))
    said = failure_of(images, spec_of(image="ty-imagetests:arm"))
    assert "is for arm64 machines, and this engine's is amd64" in said


def test_an_image_that_is_nowhere_is_named(images: EngineImages) -> None:
    said = failure_of(images, spec_of(image="127.0.0.1:9/nobody/nothing:1"))
    assert "127.0.0.1:9/nobody/nothing:1" in said
    assert "cannot be reached from the engine" in said


def test_conda_packages_are_refused_soon_where_no_channel_is(
    images: EngineImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINYARD_CONDA_CHANNEL", "http://127.0.0.1:9/forge")
    said = failure_of(images, spec_of(conda=("ffmpeg",)))
    assert "the channel http://127.0.0.1:9/forge" in said
    assert "pip_packages" in said
    assert "TRAINYARD_CONDA_CHANNEL" in said


def test_what_killed_builds_left_is_removed_but_not_what_is_about_to_start(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made() -> Any:
        labels = {"trainyard.installation": INSTALLATION, "trainyard.building": "left"}
        return client.containers.create(BASE_IMAGE, ["true"], labels=labels)

    ended, new = made(), made()
    ended.start()
    ended.wait()
    remove_stale_build_containers(client, INSTALLATION)
    assert building(client) == [new]
    monkeypatch.setattr("workspace.compute.images.build_container.START_TIME", timedelta(0))
    remove_stale_build_containers(client, INSTALLATION)
    assert building(client) == []


def building(client: Any) -> list[Any]:
    label = [f"trainyard.installation={INSTALLATION}", "trainyard.building"]
    found: list[Any] = client.containers.list(all=True, filters={"label": label})
    return found
