"""Connection test of an engine, from its address to a container that reaches the web."""

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import requests
from docker import DockerClient
from docker.errors import APIError, DockerException, ImageNotFound

from workspace.compute import containers
from workspace.compute.access import TargetAccess
from workspace.compute.base import Backend, BackendError, Node
from workspace.compute.connection_test import (
    ConnectionStep,
    PlannedStep,
    ServerAddress,
    StepFailed,
    StepSkipped,
    run_steps,
)
from workspace.compute.engine import machine
from workspace.compute.engine.address_test import AddressTest
from workspace.compute.engine.client import Engine

ANSWER_SECONDS = 60
PROBE_SECONDS = 90
MIN_FREE_BYTES = 10 * 10**9
NEWEST_IMAGES = 20
NO_PYTHON = 97
PYTHONS = "/opt/environment/bin/python python3 python"
SHELL = f'for p in {PYTHONS}; do command -v $p >/dev/null && exec $p -c "$PROBE"; done; exit 97'
PROBE = """
import json, os, shutil, ssl, urllib.error, urllib.request
said = {"free": shutil.disk_usage("/").free}
bundle = os.environ["CA"]
trusting = ssl.create_default_context(cadata=bundle) if bundle else None
address = os.environ["URL"] + "/runner/v1/spec"
try:
    said["web"] = urllib.request.urlopen(address, timeout=10, context=trusting).status
except urllib.error.HTTPError as error:
    said["web"] = error.code
except Exception as error:
    said["trouble"] = str(getattr(error, "reason", error))
print(json.dumps(said))
"""
ASKED_FOR_TOKEN = 401


class EngineConnectionTest:
    """Checks everything that a run needs; the engine is as before when it is over."""

    def __init__(self, access: TargetAccess, backend: Backend, server: ServerAddress) -> None:
        self._access = access
        self._backend = backend
        self._server = server
        self._engine = Engine(access, ANSWER_SECONDS)
        self._nodes: Sequence[Node] = ()
        self._seen: dict[str, Any] | None = None
        self._info: dict[str, Any] = {}

    def run(self) -> Iterator[list[ConnectionStep]]:
        """Yield all steps anew each time that one is done."""
        try:
            yield from run_steps(self._plan())
        finally:
            self._engine.close()

    def engine_type(self) -> str:
        """Check that the engine is what the target's kind expects; return what it is."""
        return "Engine for Linux containers."

    def url(self) -> str:
        """Return this server's address as containers reach it."""
        url = self._server.url
        if containers.is_loopback(url) and self._engine.is_local:
            return containers.with_host(url, machine.gateway(self._engine))
        return url

    def _plan(self) -> list[PlannedStep]:
        way = AddressTest(self._access)
        return [
            ("Address resolves", way.resolve),
            ("Connection opens", way.connect),
            ("TLS handshake", way.trust),
            ("Docker Engine version", self._version),
            ("Engine type", self._kind),
            ("Node resources", self._resources),
            ("GPUs", self._gpus),
            ("Container starts", self._container),
            ("Disk space", self._disk),
            ("Containers reach Trainyard", self._web),
            ("Registry accepts images", self._registry),
        ]

    def _version(self) -> str:
        try:
            with self._engine.asked("The engine's version could not be read") as client:
                said = client.version()
                self._info = client.info()
        except BackendError as error:
            raise StepFailed(
                str(error), "Is that a Docker Engine, at the right port?", is_final=True
            ) from error
        return f"Docker {said['Version']}, API {said['ApiVersion']}, {said['Os']}/{said['Arch']}."

    def _kind(self) -> str:
        if self._info.get("OSType") != "linux":
            raise StepFailed(
                f"It runs {self._info.get('OSType')} containers.",
                "Use an engine for Linux containers.",
                is_final=True,
            )
        return self.engine_type()

    def _resources(self) -> str:
        self._nodes = self._backend.check()
        if not self._nodes:
            raise StepFailed(
                "No node can be used.", "Are the allowed nodes spelled as docker node ls has them?"
            )
        missing = set(self._access.nodes) - {node.name for node in self._nodes}
        if missing:
            raise StepFailed(
                f"The target allows nodes that do not exist: {', '.join(sorted(missing))}.",
                "Correct their names in the target's settings.",
            )
        sick = [f"{node.name}: {node.message}" for node in self._nodes if not node.healthy]
        if sick:
            raise StepFailed("; ".join(sick), "Start these nodes, or remove them from the target.")
        return "; ".join(
            f"{node.name} has {node.cpus:g} CPUs and {node.memory_bytes / 1e9:.1f} GB"
            for node in self._nodes
        )

    def _gpus(self) -> str:
        gpus = [gpu for node in self._nodes for gpu in node.gpus]
        if gpus:
            models = sorted({gpu.model or "of unknown model" for gpu in gpus})
            return f"{len(gpus)}: {', '.join(models)}."
        told = [node.message for node in self._nodes if "GPU" in node.message]
        if told:
            raise StepFailed(told[0], "Does nvidia-smi work on the machine itself?")
        raise StepSkipped("None found, so runs with GPUs cannot run here.")

    def _container(self) -> str:
        with self._engine.asked("Images could not be listed") as client:
            image = _image_with_python(client, self._access)
            if image is None:
                raise StepSkipped("There is no image with Python yet: the first run builds one.")
            said = self._run(client, image)
        self._seen = said
        return f"It ran without privileges, from {image}."

    def _run(self, client: DockerClient, image: str) -> dict[str, Any]:
        """Run the probe as a process of a run would be run, and return what it found out."""
        container = client.containers.create(
            image,
            entrypoint=["sh", "-c", SHELL],
            command=[],
            environment={"PROBE": PROBE, "URL": self.url(), "CA": self._server.ca_bundle},
            labels={containers.INSTALLATION: self._access.installation},
            user=containers.USER,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            mem_limit=256 * 1024**2,
            pids_limit=64,
        )
        try:
            container.start()
            code = container.wait(timeout=PROBE_SECONDS)["StatusCode"]
            printed = container.logs(stdout=True, stderr=False).decode(errors="replace").strip()
            cried = container.logs(stdout=False, stderr=True).decode(errors="replace").strip()
        finally:
            container.remove(force=True, v=True)
        if code != 0:
            raise StepFailed(
                f"A container of {image} ended with exit code {code}. {cried[-300:]}".strip(),
                "Does the engine's log say more?",
            )
        said: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return said

    def _disk(self) -> str:
        if self._seen is None:
            raise StepSkipped("Skipped: no container could be started.")
        free = int(self._seen["free"])
        if free < MIN_FREE_BYTES:
            raise StepFailed(
                f"{free / 1e9:.1f} GB are free on the engine's disk.",
                f"Keep {MIN_FREE_BYTES / 1e9:.0f} GB free: an image with TensorFlow takes 2 to 8"
                " GB. docker system prune removes unused data.",
            )
        return f"{free / 1e9:.1f} GB are free."

    def _web(self) -> str:
        if self._seen is None:
            raise StepSkipped("Skipped: no container could be started.")
        url = self.url()
        status = self._seen.get("web")
        if status == ASKED_FOR_TOKEN:
            return f"{url} answers."
        remedy = (
            "Give the target a web URL that containers reach, or start Trainyard with"
            " TRAINYARD_URL set to one. Does a firewall of this server block containers?"
        )
        trouble = self._seen.get("trouble", f"HTTP status {status}, so it is not Trainyard")
        raise StepFailed(f"From a container {url} does not respond: {trouble}.", remedy)

    def _registry(self) -> str:
        """Push an image of a few bytes, which proves the login and the right to push as well."""
        registry = self._access.registry
        if not registry:
            if len(self._nodes) > 1:
                raise StepFailed(
                    f"The target has {len(self._nodes)} nodes and no registry.",
                    "Set a registry that every node can pull from.",
                )
            raise StepSkipped("No registry is set; a single engine needs none.")
        name = f"{registry}/trainyard/connection-test:{uuid4().hex[:12]}"
        with self._engine.asked("The registry could not be tested") as client:
            try:
                self._push(client, name)
            finally:
                with suppress(ImageNotFound):
                    client.images.remove(name, force=True)
        return f"{registry} accepted an image."

    def _push(self, client: DockerClient, name: str) -> None:
        access = self._access
        repository, _, tag = name.rpartition(":")
        client.api.import_image_from_data(_small_archive(), repository=repository, tag=tag)
        login = {"username": access.registry_user, "password": access.registry_password}
        try:
            for line in client.images.push(
                name,
                auth_config=login if access.registry_user else None,
                stream=True,
                decode=True,
            ):
                if "error" in line:
                    raise _refused_push(access.registry, line["error"])
        except (APIError, DockerException, requests.RequestException) as error:
            raise _refused_push(access.registry, str(error)) from error


def _refused_push(registry: str, said: str) -> StepFailed:
    words = said.lower()
    if "http response to https" in words:
        remedy = f"Give the registry TLS, or list {registry} under insecure-registries of the"
        remedy += " engine's daemon.json."
    elif "unauthorized" in words or "authentication" in words or "denied" in words:
        remedy = "Compare the user and password, and whether that user may push."
    elif "x509" in words or "certificate" in words:
        remedy = f"Put its certificate authority into /etc/docker/certs.d/{registry}/ca.crt."
    else:
        remedy = "Can the engine's machine reach the registry by this name and port?"
    return StepFailed(f"{registry} rejected an image: {said}", remedy)


def _image_with_python(client: DockerClient, access: TargetAccess) -> str | None:
    """Name an image that is there and likely has Python: ours, the base, or one called python."""
    for name in filter(None, (access.base_image, access.gpu_base_image)):
        try:
            client.images.get(name)
        except ImageNotFound:
            continue
        return name
    listed = client.api.images()[:NEWEST_IMAGES]
    ours = [one for one in listed if "trainyard.environment" in (one.get("Labels") or {})]
    called = [one for one in listed if any("python" in tag for tag in one.get("RepoTags") or [])]
    for one in [*called, *ours]:
        tags = one.get("RepoTags") or [one["Id"]]
        return str(tags[0])
    return None


def _small_archive() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo("test")
        member.size = 2
        tar.addfile(member, io.BytesIO(b"ok"))
    return packed.getvalue()
