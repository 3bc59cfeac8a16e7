"""The swarm target: a service of one task for each process, on the nodes of a Docker Swarm."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

from docker import DockerClient
from docker.errors import APIError, ImageNotFound, NotFound

from runner.constants import URL_VARIABLE
from workspace.compute.access import ImageLogin
from workspace.compute.base import (
    BackendError,
    BuiltEnvironment,
    GroupPlan,
    Node,
    ProcessPlan,
    ProcessStatus,
    TargetUnreachable,
)
from workspace.compute.connection_test import ConnectionStep, ServerAddress
from workspace.compute.containers import (
    CA_BUNDLE,
    INSTALLATION,
    PROCESS,
    RUNNER,
    ca_bundle_of,
    filters_of,
    is_loopback,
    labels_of,
    name_of,
    settings_file,
)
from workspace.compute.engine import identity
from workspace.compute.images.image_backend import ImageBackend
from workspace.compute.outbound import ForbiddenAddress, is_ip_address
from workspace.compute.runner_zip import runner_zip
from workspace.compute.swarm import shared_folder
from workspace.compute.swarm.connection_test import SwarmConnectionTest
from workspace.compute.swarm.nodes import names_of, node_problem, nodes_in, reserved_gpus
from workspace.compute.swarm.services import SwarmFile, service_of
from workspace.compute.swarm.tasks import process_statuses

NO_REGISTRY = (
    b"This swarm has several nodes and its target has no registry: the image will be on one node"
    b" only. Give the target a registry, or load the image into the engine of every node.\n"
)
NO_LEADER = ("does not have a leader", "context deadline exceeded")
LEADERLESS = (
    "The swarm has no leader: half of its managers or more are unreachable. Until they return it"
    " reports nothing and starts nothing."
)


class SwarmBackend(ImageBackend):
    """Runs groups of processes as services, through one manager of the swarm."""

    def check(self) -> Sequence[Node]:
        with self._asked("The nodes of the swarm cannot be listed") as client:
            listed = client.api.nodes()
            ours = {
                service["ID"]
                for service in client.api.services(filters=self._installation_filter())
            }
            others = [task for task in client.api.tasks() if task.get("ServiceID") not in ours]
        nodes = nodes_in(listed, reserved_gpus(others))
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
        return super().prepare(digest, spec, log, login)

    def machines_id(self) -> str:
        return identity.swarm_id(self.access)

    def connection_test(self, server: ServerAddress) -> Iterator[list[ConnectionStep]]:
        return SwarmConnectionTest(self.access, self, server).run()

    def keeps_checkpoints(self) -> bool:
        return bool(self.access.shared_folder)

    def start(self, plan: GroupPlan) -> None:
        try:
            with self._asked(f"{plan.id} could not be started") as client:
                self._start(client, plan)
        except BackendError as error:
            if not error.retryable:
                with suppress(BackendError):  # what stays is removed with the group
                    self.remove(plan.id)
            raise

    def observe(self, group_id: str) -> Sequence[ProcessStatus]:
        with self._asked(f"The state of {group_id} cannot be read") as client:
            by_label = filters_of(self.access, group_id)
            services = client.api.services(filters=by_label)
            tasks = client.api.tasks(filters=by_label)
            nodes = {node["ID"]: node for node in client.api.nodes()}
        statuses = process_statuses(services, tasks, nodes, names_of(nodes.values()))
        if not self.access.outbound.is_restricted:
            return statuses
        return [self._reachable(status) for status in statuses]

    def _reachable(self, status: ProcessStatus) -> ProcessStatus:
        """Leave out published ports that lead to where this target may not lead the server.

        A name is none that a swarm gives, and may lead elsewhere each time that it is resolved.
        """
        try:
            for address in status.published_ports:
                host = address.rpartition(":")[0]
                if not is_ip_address(host):
                    raise ForbiddenAddress(host)
                self.access.outbound.resolve(host, 0)
        except OSError as error:
            return replace(status, published_ports=(), reason=f"Its node can't be used: {error}")
        return status

    def stop(self, group_id: str, grace: timedelta) -> None:
        """Leave it to the runners: they hear of it, and of the grace, with their next beat.

        A swarm signals a container only to end it, for good, on a clock of its own.
        """

    def kill(self, group_id: str) -> None:
        with self._asked(f"{group_id} could not be ended") as client:
            self._remove_services(client, group_id)

    def recover_outputs(self, group_id: str, names: Sequence[str]) -> Sequence[str]:
        """Recover nothing: a manager cannot reach into another node's containers."""
        return []

    def remove(self, group_id: str) -> None:
        with self._asked(f"{group_id} could not be removed") as client:
            by_label = filters_of(self.access, group_id)
            self._remove_services(client, group_id)
            for secret in client.api.secrets(filters=by_label):
                _remove_if_exists(client.api.remove_secret, secret["ID"])
            for config in client.api.configs(filters=by_label):
                _remove_if_exists(client.api.remove_config, config["ID"])
            for network in client.api.networks(filters=by_label):
                _remove_if_exists(client.api.remove_network, network["Id"])

    def remove_checkpoints(self, name: str) -> None:
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
        if trouble := node_problem(chosen):
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

    def _config(self, client: DockerClient, group: str, what: str, content: bytes) -> SwarmFile:
        name = f"{name_of(self.access, group)}-{what}"
        for config in client.api.configs(filters={"name": name}):
            if config["Spec"]["Name"] == name:
                return SwarmFile(config["ID"], name)
        made = client.api.create_config(name, content, labels=labels_of(self.access, group))
        return SwarmFile(made["ID"], name)

    def _secret(self, client: DockerClient, group: str, process: ProcessPlan) -> SwarmFile:
        name = name_of(self.access, group, process.name)
        for secret in client.api.secrets(filters={"name": name}):
            if secret["Spec"]["Name"] == name:
                return SwarmFile(secret["ID"], name)
        content = settings_file(group, process, _url_for(process))
        labels = labels_of(self.access, group, process.name)
        made = client.api.create_secret(name, content, labels=labels)
        return SwarmFile(made["ID"], name)

    def _remove_services(self, client: DockerClient, group: str) -> None:
        for service in client.api.services(filters=filters_of(self.access, group)):
            _remove_if_exists(client.api.remove_service, service["ID"])

    @contextmanager
    def _asked(self, what: str) -> Iterator[DockerClient]:
        """Yield the client of the manager, as the engine's own; see `Engine.asked`."""
        try:
            with self.engine.asked(what) as client:
                yield client
        except TargetUnreachable:
            raise
        except BackendError as error:
            if any(words in str(error) for words in NO_LEADER):
                raise TargetUnreachable(LEADERLESS) from error
            raise

    def _may_use(self, node: str) -> bool:
        return not self.access.nodes or node in self.access.nodes

    def _installation_filter(self) -> dict[str, list[str]]:
        return {"label": [f"{INSTALLATION}={self.access.installation}"]}


def _url_for(process: ProcessPlan) -> str:
    url = process.environment[URL_VARIABLE]
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


def _remove_if_exists(remove: Callable[[str], Any], key: str) -> None:
    """Remove something; a network that is going is still listed, and its removal fails with 500."""
    try:
        remove(key)
    except APIError as error:
        if not isinstance(error, NotFound) and "not found" not in str(error):
            raise
