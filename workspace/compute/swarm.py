"""The swarm target: a service of one task for each process, on the nodes of a Docker Swarm."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from docker import DockerClient
from docker.errors import ImageNotFound, NotFound

from workspace.compute import shared_folder
from workspace.compute.access import ImageLogin, TargetAccess
from workspace.compute.base import (
    BackendError,
    BuiltEnvironment,
    GroupPlan,
    Node,
    ProcessPlan,
    Sighting,
    Unreachable,
)
from workspace.compute.containers import (
    CA_BUNDLE,
    INSTALLATION,
    PROCESS,
    RUNNER,
    addresses_of,
    ca_bundle_of,
    filters_of,
    is_loopback,
    labels_of,
    name_of,
    settings_of,
)
from workspace.compute.docker_client import Engine
from workspace.compute.docker_images import EngineImages
from workspace.compute.runner_zip import runner_zip
from workspace.compute.swarm_nodes import held_gpus, names_of, nodes_in, trouble_of
from workspace.compute.swarm_services import Stored, service_of
from workspace.compute.swarm_tasks import sightings_in

NO_REGISTRY = (
    b"This swarm has several nodes and its target has no registry: the image will be on one node"
    b" only. Give the target a registry, or load the image into the engine of every node.\n"
)
NO_LEADER = ("does not have a leader", "context deadline exceeded")
LEADERLESS = (
    "The swarm has no leader: half of its managers or more are gone, and until they are back it"
    " tells nothing and starts nothing."
)


class SwarmBackend:
    """Runs groups of processes as services, through one manager of the swarm."""

    def __init__(self, access: TargetAccess) -> None:
        self.access = access
        self._engine = Engine(access)
        self._images = EngineImages(access)

    def close(self) -> None:
        self._engine.close()

    def check(self) -> Sequence[Node]:
        with self._asked("The nodes of the swarm cannot be listed") as client:
            listed = client.api.nodes()
            ours = {service["ID"] for service in client.api.services(filters=self._mine())}
            others = [task for task in client.api.tasks() if task.get("ServiceID") not in ours]
        nodes = nodes_in(listed, held_gpus(others))
        return [node for node in nodes if self._may_use(node.name)]

    def prepare(
        self,
        digest: str,
        spec: Mapping[str, Any],
        log: Callable[[bytes], Any],
        login: ImageLogin | None = None,
    ) -> BuiltEnvironment:
        """Build the image on the manager, and push it to where the other nodes get it from."""
        if not self.access.registry and len(self.check()) > 1:
            log(NO_REGISTRY)
        return self._images.prepare(digest, spec, log, login)

    def has_environment(self, reference: str) -> bool:
        return self._images.has(reference)

    def discard(self, reference: str) -> None:
        self._images.discard(reference)

    def addresses(self, plan: GroupPlan) -> Mapping[str, Sequence[str]]:
        return addresses_of(plan.processes)

    def start(self, plan: GroupPlan) -> None:
        try:
            with self._asked(f"{plan.id} could not be started") as client:
                self._start(client, plan)
        except Unreachable:
            raise
        except BackendError:
            with suppress(BackendError):  # what stays is removed with the group
                self.remove(plan.id)
            raise

    def observe(self, group_id: str) -> Sequence[Sighting]:
        with self._asked(f"The state of {group_id} cannot be seen") as client:
            by_label = filters_of(self.access, group_id)
            services = client.api.services(filters=by_label)
            tasks = client.api.tasks(filters=by_label)
            nodes = {node["ID"]: node for node in client.api.nodes()}
        return sightings_in(services, tasks, nodes, names_of(nodes.values()))

    def stop(self, group_id: str, grace: timedelta) -> None:
        """Leave it to the runners: they hear of it, and of the grace, with their next beat.

        A swarm signals a container only to end it, for good, on a clock of its own.
        """

    def kill(self, group_id: str) -> None:
        with self._asked(f"{group_id} could not be ended") as client:
            self._remove_services(client, group_id)

    def salvage(self, group_id: str, names: Sequence[str]) -> Sequence[str]:
        """Give up what dead runners left: a manager cannot reach into another node's containers."""
        return []

    def remove(self, group_id: str) -> None:
        with self._asked(f"{group_id} could not be removed") as client:
            by_label = filters_of(self.access, group_id)
            self._remove_services(client, group_id)
            for secret in client.api.secrets(filters=by_label):
                _gone(client.api.remove_secret, secret["ID"])
            for config in client.api.configs(filters=by_label):
                _gone(client.api.remove_config, config["ID"])
            for network in client.api.networks(filters=by_label):
                _gone(client.api.remove_network, network["Id"])

    def discard_checkpoints(self, name: str) -> None:
        """Remove a run's folder from the shared disk; without one, the server has it."""
        if not self.access.shared_folder:
            return
        with self._asked(f"The checkpoints of {name} stay") as client:
            shared_folder.remove(client, self.access, name)

    def _start(self, client: DockerClient, plan: GroupPlan) -> None:
        """Create what is not there yet of a group."""
        found = client.api.services(filters=filters_of(self.access, plan.id))
        there = {service["Spec"]["Labels"][PROCESS] for service in found}
        missing = [process for process in plan.processes if process.name not in there]
        if not missing:
            return
        listed = client.api.nodes()
        constraints = {process.name: self._constraints(process, listed) for process in missing}
        self._log_in(client)
        image = _image_of(client, plan.environment_reference)
        network = self._network(client, plan.id)
        configs = {RUNNER: self._config(client, plan.id, "runner", runner_zip())}
        if bundle := ca_bundle_of(missing[0]):
            configs[CA_BUNDLE] = self._config(client, plan.id, "ca", bundle)
        checkpoints = ""
        if plan.checkpoints and self.access.shared_folder:
            checkpoints = shared_folder.make(client, self.access, plan.checkpoints, image)
        for process in missing:
            client.api.create_service(
                **service_of(
                    name_of(self.access, plan.id, process.name),
                    process,
                    image=image,
                    labels=labels_of(self.access, plan.id, process.name),
                    constraints=constraints[process.name],
                    network=network,
                    settings=self._secret(client, plan.id, process),
                    configs=configs,
                    checkpoints=checkpoints,
                )
            )

    def _log_in(self, client: DockerClient) -> None:
        """Have the nodes pull with the target's login: it goes out with every service."""
        access = self.access
        if access.registry_user:
            client.login(access.registry_user, access.registry_password, registry=access.registry)

    def _constraints(self, process: ProcessPlan, listed: Sequence[Mapping[str, Any]]) -> list[str]:
        """Hold a process to the node it was given, or to those that may be used."""
        names = names_of(listed)
        if not process.node:
            return [f"node.id!={key}" for key, name in names.items() if not self._may_use(name)]
        chosen = next((node for node in listed if names[node["ID"]] == process.node), None)
        if chosen is None:
            raise BackendError(
                f"{process.name} was given node {process.node}, which is not in the swarm any more."
            )
        if trouble := trouble_of(chosen):
            raise BackendError(f"{process.name} was given node {process.node}. {trouble}")
        return [f"node.id=={chosen['ID']}"]

    def _network(self, client: DockerClient, group: str) -> str:
        name = name_of(self.access, group)
        for network in client.api.networks(names=[name]):
            if network["Name"] == name:
                return str(network["Id"])
        labels = labels_of(self.access, group)
        made = client.api.create_network(name, driver="overlay", labels=labels, attachable=False)
        return str(made["Id"])

    def _config(self, client: DockerClient, group: str, what: str, content: bytes) -> Stored:
        name = f"{name_of(self.access, group)}-{what}"
        for config in client.api.configs(filters={"name": name}):
            if config["Spec"]["Name"] == name:
                return Stored(config["ID"], name)
        made = client.api.create_config(name, content, labels=labels_of(self.access, group))
        return Stored(made["ID"], name)

    def _secret(self, client: DockerClient, group: str, process: ProcessPlan) -> Stored:
        name = name_of(self.access, group, process.name)
        for secret in client.api.secrets(filters={"name": name}):
            if secret["Spec"]["Name"] == name:
                return Stored(secret["ID"], name)
        content = settings_of(group, process, _url_for(process))
        labels = labels_of(self.access, group, process.name)
        made = client.api.create_secret(name, content, labels=labels)
        return Stored(made["ID"], name)

    def _remove_services(self, client: DockerClient, group: str) -> None:
        for service in client.api.services(filters=filters_of(self.access, group)):
            _gone(client.api.remove_service, service["ID"])

    @contextmanager
    def _asked(self, what: str) -> Iterator[DockerClient]:
        """Give the client of the manager, as the engine's own; see `Engine.asked`."""
        try:
            with self._engine.asked(what) as client:
                yield client
        except Unreachable:
            raise
        except BackendError as error:
            if any(words in str(error) for words in NO_LEADER):
                raise Unreachable(LEADERLESS) from error
            raise

    def _may_use(self, node: str) -> bool:
        return not self.access.nodes or node in self.access.nodes

    def _mine(self) -> dict[str, list[str]]:
        return {"label": [f"{INSTALLATION}={self.access.installation}"]}


def _url_for(process: ProcessPlan) -> str:
    url = process.environment["TRAINYARD_URL"]
    if is_loopback(url):
        raise BackendError(
            f"The nodes of a swarm cannot reach this server at {url}: give the target a web URL, or"
            " set TRAINYARD_URL, to an address that every node reaches."
        )
    return url


def _image_of(client: DockerClient, reference: str) -> str:
    """Name an image so that a node that has it does not look for it elsewhere.

    One that is in no registry is named by its ID, which is the same in every engine it is loaded
    into.
    """
    if "@" in reference:
        return reference
    try:
        return str(client.api.inspect_image(reference)["Id"])
    except ImageNotFound as error:
        raise BackendError(f"The environment {reference} is not there.") from error


def _gone(remove: Callable[[str], Any], key: str) -> None:
    with suppress(NotFound):
        remove(key)
