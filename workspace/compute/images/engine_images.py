"""Environments as images of an engine: built in layers that are kept, and found by label."""

import os
import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

from docker import DockerClient
from docker.errors import APIError
from uv import find_uv_bin

from workspace.compute.access import ImageLogin, TargetAccess
from workspace.compute.base import BackendError, BuiltEnvironment, EnvironmentBuildFailed
from workspace.compute.builds.build_log import BuildLog
from workspace.compute.builds.contents import PROBE, packages_of, versions_of
from workspace.compute.engine.client import Engine
from workspace.compute.environment_spec import EnvironmentSpec
from workspace.compute.images import micromamba
from workspace.compute.images.base_images import NO_SPACE, auth_of, base_image, find, no_space
from workspace.compute.images.build_container import (
    BUILDING_LABEL,
    BuildContainer,
    build_container,
    cache_of,
    remove_stale_build_containers,
)
from workspace.compute.images.build_variables import (
    build_variables,
    ca_bundle,
    conda_channel,
    user_variables,
)
from workspace.compute.images.layers import (
    BUILD_DIRECTORY,
    ENVIRONMENT,
    PYTHON,
    USER,
    UV,
    BuildStep,
    Layer,
    base_of,
    layers_of,
)

ANSWER_SECONDS = 1800
LAYER_KEPT = timedelta(days=1)
ENVIRONMENT_LABEL, LAYER_LABEL = "trainyard.environment", "trainyard.layer"
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FETCH_UV = f"""
python3 -m pip install --quiet --no-cache-dir --target {BUILD_DIRECTORY}/fetched uv
ln -sf {BUILD_DIRECTORY}/fetched/bin/uv {UV}
{UV} --version
"""


class EngineImages:
    """The images that one installation has on one engine."""

    def __init__(self, access: TargetAccess) -> None:
        self._access = access
        self._engine = Engine(access, answer_seconds=ANSWER_SECONDS)
        self._labels = {"trainyard.installation": access.installation}

    def close(self) -> None:
        self._engine.close()

    def prepare(
        self,
        digest: str,
        spec: Mapping[str, Any],
        log: Callable[[bytes], Any],
        login: ImageLogin | None = None,
    ) -> BuiltEnvironment:
        """Build the image of an environment, from the layers that are there already."""
        with self._engine.asked("The image could not be built") as client:
            try:
                build = _Build(client, self._access, digest, BuildLog(log))
                return build.run(EnvironmentSpec.from_json(spec), login)
            except APIError as error:
                if NO_SPACE in str(error).lower():
                    raise EnvironmentBuildFailed(no_space(str(error.explanation))) from error
                raise

    def has(self, reference: str) -> bool:
        with self._engine.asked("The image could not be looked up") as client:
            return find(client, reference) is not None

    def discard(self, reference: str) -> None:
        """Remove the image of an environment; what it shares with others stays."""
        with self._engine.asked(f"The image {reference} could not be removed") as client:
            image = find(client, reference)
            if image is not None:
                _remove(client, image)

    def stored_bytes(self) -> int:
        """Return the disk space that environments take, what they share counted once."""
        with self._engine.asked("The images could not be measured") as client:
            ours = self._ours(client)
            whole = [image for image in ours if image.labels.get(ENVIRONMENT_LABEL)]
            taken = [image for image in ours if any(_is_below(image, other) for other in whole)]
            known: dict[tuple[str, ...], int] = {}
            total = 0
            for image in sorted(taken, key=lambda image: len(_layers(image))):
                layers, size = _layers(image), int(image.attrs["Size"])
                below = max(
                    (kept for kept in known if layers[: len(kept)] == kept), key=len, default=()
                )
                total += size - known.get(below, 0)
                known[layers] = size
            return total

    def prune(self, digests: Collection[str]) -> int:
        """Remove what no environment of `digests` needs, and return how many images that were.

        Layers that nothing is built upon stay for a day: a build may be at them.
        """
        with self._engine.asked("The images could not be pruned") as client:
            remove_stale_build_containers(client, self._access.installation)
            ours = self._ours(client)
            kept = [
                image
                for image in ours
                if image.tags and image.labels.get(ENVIRONMENT_LABEL) in digests
            ]
            unused = [
                image
                for image in ours
                if image not in kept
                and (image.labels.get(ENVIRONMENT_LABEL) or _is_old(image))
                and not any(_is_below(image, other) for other in kept)
            ]
            unused.sort(key=lambda image: -len(_layers(image)))
            return sum(_is_removed(client, image) for image in unused)

    def clear(self) -> None:
        """Remove all images and the cache that this installation has on the engine."""
        with self._engine.asked("The images could not be removed") as client:
            for image in sorted(self._ours(client), key=lambda image: -len(_layers(image))):
                _remove(client, image)
            cache = cache_of(self._access.installation)
            for volume in client.volumes.list(filters={"name": cache}):
                volume.remove()

    def _ours(self, client: DockerClient) -> list[Any]:
        label = f"trainyard.installation={self._access.installation}"
        found: list[Any] = client.images.list(filters={"label": label})
        return found


class _Build:
    """One build of one environment."""

    def __init__(
        self, client: DockerClient, access: TargetAccess, digest: str, log: BuildLog
    ) -> None:
        self._client = client
        self._access = access
        self._digest = digest
        self._log = log
        self._settings = build_variables(os.environ)
        self._machine: str = client.version()["Arch"]

    def run(self, spec: EnvironmentSpec, login: ImageLogin | None) -> BuiltEnvironment:
        access = self._access
        remove_stale_build_containers(self._client, access.installation, self._digest)
        name = base_of(spec, access.base_image, access.gpu_base_image)
        image = base_image(
            self._client,
            name,
            access=access,
            login=login,
            is_the_users=bool(spec.image) and not spec.server,
            log=self._log,
        )
        path = _path_of(image)
        below = str(image.id)
        for layer in layers_of(spec):
            below = layer.key(below)
            image = self._layer(layer, image, f"ty-{access.installation}-layer:{below}", path)
        return self._finish(image, spec, path)

    def _layer(self, layer: Layer, below: Any, name: str, path: str) -> Any:
        found = find(self._client, name)
        if found is not None:
            self._log.say(f"{layer.title}: it exists already.")
            return found
        self._log.say(f"{layer.title}.")
        files = {name: text.encode() for name, text in layer.files.items()}
        if layer.name == "conda":
            files["micromamba"] = micromamba.fetch(conda_channel(), self._machine)
        if layer.cache_steps:
            with self._build_container(below) as cache_container:
                self._run_steps(layer.cache_steps, cache_container, files)
        with self._build_container(below) as container:
            self._run_steps(layer.steps, container, files)
            container.clear()
            return container.commit(name, self._labels(layer=layer.name), path)

    def _run_steps(
        self, steps: Sequence[BuildStep], container: BuildContainer, files: Mapping[str, bytes]
    ) -> None:
        self._add_build_tools(container, files)
        for step in steps:
            if container.run(step.script, self._settings):
                raise EnvironmentBuildFailed(self._why(step.failure))

    def _finish(self, image: Any, spec: EnvironmentSpec, path: str) -> BuiltEnvironment:
        """See that the environment works for the ordinary user, look what is in it, name it."""
        self._log.say("Inspecting its packages.")
        with self._build_container(image) as container:
            self._add_build_tools(container, {"probe.py": PROBE.read_bytes()})
            versions = container.read(
                f"{PYTHON} -I {BUILD_DIRECTORY}/probe.py", user_variables(), user=USER
            )
            if versions is None:
                what = f"the image {spec.image}" if spec.image else "the base image"
                raise EnvironmentBuildFailed(
                    f"The Python of {what} works only for root. Programs run as an ordinary user"
                    f" ({USER}): make its folders readable for everybody."
                )
            frozen = container.read(
                f"{UV} pip freeze --python"
                f""" "$({PYTHON} -c 'import sys; print(sys.executable)')" """,
                self._settings,
            )
            container.clear()
            name = f"ty-{self._access.installation}-environment:{self._digest}"
            made = container.commit(name, self._labels(environment=self._digest), path)
        reference = self._push(name) if self._access.registry else name
        self._log.say(f"The image is {reference}.")
        return BuiltEnvironment(
            reference, packages_of(frozen or ""), int(made.attrs["Size"]), versions_of(versions)
        )

    def _build_container(self, image: Any) -> Any:
        return build_container(
            self._client,
            image.id,
            installation=self._access.installation,
            digest=self._digest,
            log=self._log,
        )

    def _add_build_tools(self, container: BuildContainer, files: Mapping[str, bytes]) -> None:
        """Put uv, certificates and `files` onto the workbench."""
        tools: dict[str, bytes] = {}
        if MACHINES.get(platform.machine()) == self._machine:
            tools["uv"] = Path(find_uv_bin()).read_bytes()
        certificates = ca_bundle(os.environ)
        if certificates:
            tools["ca.pem"] = certificates
        container.put({**tools, **files})
        if container.read(f"{UV} --version", {}) is None and container.run(
            FETCH_UV, self._settings
        ):
            raise EnvironmentBuildFailed(
                self._why(
                    "uv, which installs packages, does not run in this image, and pip could not"
                    " fetch another. Use an image of Debian or Ubuntu that has Python and pip."
                )
            )

    def _push(self, name: str) -> str:
        """Push to the target's registry; return the reference by which every node can pull it."""
        access = self._access
        repository = f"{access.registry}/trainyard/environment"
        self._client.api.tag(name, repository, self._digest)
        login = ImageLogin(access.registry_user, access.registry_password)
        self._log.say(f"Pushing to {repository}.")
        pushed = ""
        for line in self._client.api.push(
            repository,
            self._digest,
            stream=True,
            decode=True,
            auth_config=auth_of(login if access.registry_user else None),
        ):
            if "error" in line:
                raise EnvironmentBuildFailed(
                    f"The image could not be pushed to the registry {access.registry}:"
                    f" {line['error']}. Check that it runs, that the engine may use it, and the"
                    " login of the target."
                )
            pushed = (line.get("aux") or {}).get("Digest", pushed)
            self._log.add(b"")
        if not pushed:
            raise BackendError(f"The registry {access.registry} returned no digest.")
        return f"{repository}@{pushed}"

    def _labels(self, *, layer: str = "", environment: str = "") -> dict[str, str]:
        """Return all labels of an image: those of the images below would show through otherwise."""
        return {
            "trainyard.installation": self._access.installation,
            LAYER_LABEL: layer,
            ENVIRONMENT_LABEL: environment,
            BUILDING_LABEL: "",
        }

    def _why(self, failure: str) -> str:
        said = self._log.last()
        if NO_SPACE in said.lower():
            return no_space(said.splitlines()[-1])
        return f"{failure}\n{said}".strip()


def _path_of(image: Any) -> str:
    """Return the PATH of an image with the environment's programs before all others."""
    for variable in image.attrs["Config"].get("Env") or []:
        name, _, value = variable.partition("=")
        if name == "PATH":
            return f"{ENVIRONMENT}/bin:{value}"
    return f"{ENVIRONMENT}/bin:{DEFAULT_PATH}"


def _layers(image: Any) -> tuple[str, ...]:
    return tuple(image.attrs["RootFS"].get("Layers") or ())


def _is_below(image: Any, other: Any) -> bool:
    layers = _layers(image)
    return _layers(other)[: len(layers)] == layers


def _is_old(image: Any) -> bool:
    created = datetime.fromisoformat(image.attrs["Created"][:19]).replace(tzinfo=UTC)
    return datetime.now(UTC) - created > LAYER_KEPT


def _is_removed(client: DockerClient, image: Any) -> bool:
    """Remove an image, unless a container still has it."""
    try:
        _remove(client, image)
    except APIError as error:
        if error.status_code != HTTPStatus.CONFLICT:
            raise
        return False
    return True


def _remove(client: DockerClient, image: Any) -> None:
    for name in image.tags or [image.id]:
        client.images.remove(name)
