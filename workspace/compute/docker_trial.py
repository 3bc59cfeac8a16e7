"""Trying an engine step by step, from its address to a container that reaches the web."""

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import requests
from docker import DockerClient
from docker.errors import APIError, DockerException, ImageNotFound

from workspace.compute import containers, docker_machine
from workspace.compute.access import TargetAccess
from workspace.compute.base import Backend, BackendError, Node
from workspace.compute.docker_client import Engine
from workspace.compute.docker_identity import swarm_problem
from workspace.compute.trial import Failed, Skipped, Step, Tried, walk
from workspace.compute.trial_reach import Reaching

ANSWER_SECONDS = 60
PROBE_SECONDS = 90
LEAST_FREE_BYTES = 10 * 10**9
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


@dataclass(frozen=True)
class Surroundings:
    """What a trial needs beside the access: the web's address, and the PEM that vouches for it."""

    url: str
    ca_bundle: str = ""


def try_engine(
    access: TargetAccess, backend: Backend, around: Surroundings, *, is_swarm: bool
) -> Iterator[list[Step]]:
    """Try everything that a run will need; the engine is as before when it is over."""
    trial = _EngineTrial(access, backend, around, is_swarm=is_swarm)
    try:
        yield from walk(trial.plan())
    finally:
        trial.close()


class _EngineTrial:
    def __init__(
        self, access: TargetAccess, backend: Backend, around: Surroundings, *, is_swarm: bool
    ) -> None:
        self._access = access
        self._backend = backend
        self._around = around
        self._is_swarm = is_swarm
        self._engine = Engine(access, ANSWER_SECONDS)
        self._nodes: Sequence[Node] = ()
        self._seen: dict[str, Any] | None = None
        self._info: dict[str, Any] = {}

    def close(self) -> None:
        self._engine.close()

    def plan(self) -> list[Tried]:
        way = Reaching(self._access)
        return [
            ("The address leads somewhere", way.resolve),
            ("A connection opens", way.connect),
            ("TLS is accepted", way.trust),
            ("It is a Docker Engine, and new enough", self._version),
            ("It is the kind of engine that the target says", self._kind),
            ("Nodes and what they have", self._resources),
            ("GPUs", self._gpus),
            ("A container starts", self._container),
            ("Room on the disk", self._disk),
            ("Containers reach Trainyard", self._web),
            ("The registry takes images", self._registry),
        ]

    def _version(self) -> str:
        try:
            with self._engine.asked("The engine could not be asked its version") as client:
                said = client.version()
                self._info = client.info()
        except BackendError as error:
            raise Failed(
                str(error), "Is that a Docker Engine, at the right port?", is_final=True
            ) from error
        return f"Docker {said['Version']}, API {said['ApiVersion']}, {said['Os']}/{said['Arch']}."

    def _kind(self) -> str:
        if self._info.get("OSType") != "linux":
            raise Failed(
                f"It runs {self._info.get('OSType')} containers.",
                "Use an engine for Linux containers.",
                is_final=True,
            )
        if not self._is_swarm:
            return "An engine for Linux containers."
        problem = swarm_problem(self._info)
        if problem:
            remedy = "Give the address of a manager (docker node ls names them), or use the kind"
            raise Failed(problem, f"{remedy} docker for this engine alone.", is_final=True)
        return f"A manager of a Swarm of {self._info['Swarm'].get('Nodes')} nodes."

    def _resources(self) -> str:
        self._nodes = self._backend.check()
        if not self._nodes:
            raise Failed(
                "No node may be used.", "Are the allowed nodes spelled as docker node ls has them?"
            )
        missing = set(self._access.nodes) - {node.name for node in self._nodes}
        if missing:
            raise Failed(
                f"The target allows nodes that are not there: {', '.join(sorted(missing))}.",
                "Mend their names on the target's settings.",
            )
        sick = [f"{node.name}: {node.message}" for node in self._nodes if not node.healthy]
        if sick:
            raise Failed("; ".join(sick), "Bring these nodes back, or leave them out.")
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
            raise Failed(told[0], "Does nvidia-smi work on the machine itself?")
        raise Skipped("None are offered, so runs with GPUs cannot go here.")

    def _container(self) -> str:
        with self._engine.asked("Images could not be listed") as client:
            image = _image_with_python(client, self._access)
            if image is None:
                raise Skipped("There is no image with Python yet: the first run builds one.")
            said = self._run(client, image)
        self._seen = said
        return f"It ran without privileges, from {image}."

    def _run(self, client: DockerClient, image: str) -> dict[str, Any]:
        """Run the probe as a process of a run would be run, and give what it found out."""
        container = client.containers.create(
            image,
            entrypoint=["sh", "-c", SHELL],
            command=[],
            environment={"PROBE": PROBE, "URL": self._url(), "CA": self._around.ca_bundle},
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
            raise Failed(
                f"A container of {image} ended with exit code {code}. {cried[-300:]}".strip(),
                "Does the engine's log say more?",
            )
        said: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return said

    def _url(self) -> str:
        url = self._around.url
        if containers.is_loopback(url) and self._engine.is_here and not self._is_swarm:
            return containers.with_host(url, docker_machine.gateway(self._engine))
        return url

    def _disk(self) -> str:
        if self._seen is None:
            raise Skipped("Only a container could tell.")
        free = int(self._seen["free"])
        if free < LEAST_FREE_BYTES:
            raise Failed(
                f"{free / 1e9:.1f} GB are free on the engine's disk.",
                f"Keep {LEAST_FREE_BYTES / 1e9:.0f} GB free: an image with TensorFlow takes 2 to 8"
                " GB. docker system prune removes what nothing uses.",
            )
        return f"{free / 1e9:.1f} GB are free."

    def _web(self) -> str:
        if self._seen is None:
            raise Skipped("Only a container could tell.")
        url = self._url()
        status = self._seen.get("web")
        if status == ASKED_FOR_TOKEN:
            return f"{url} answers."
        remedy = (
            "Give the target a web URL that containers reach, or start Trainyard with"
            " TRAINYARD_URL set to one. Does a firewall of this server keep containers out?"
        )
        trouble = self._seen.get("trouble", f"HTTP status {status}, so it is no Trainyard")
        raise Failed(f"From a container {url} does not answer: {trouble}.", remedy)

    def _registry(self) -> str:
        """Push an image of a few bytes, which proves the login and the right to push as well."""
        registry = self._access.registry
        if not registry:
            if len(self._nodes) > 1:
                raise Failed(
                    f"The target has {len(self._nodes)} nodes and no registry.",
                    "Give it a registry, from which every node gets the images.",
                )
            raise Skipped("The target has none, and on one engine it needs none.")
        name = f"{registry}/trainyard/trial:{uuid4().hex[:12]}"
        with self._engine.asked("The registry could not be tried") as client:
            try:
                self._push(client, name)
            finally:
                with suppress(ImageNotFound):
                    client.images.remove(name, force=True)
        return f"{registry} took an image."

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


def _refused_push(registry: str, said: str) -> Failed:
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
    return Failed(f"{registry} did not take an image: {said}", remedy)


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
        member = tarfile.TarInfo("trial")
        member.size = 2
        tar.addfile(member, io.BytesIO(b"ok"))
    return packed.getvalue()
