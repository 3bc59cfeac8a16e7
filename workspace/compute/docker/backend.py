"""The docker target: each process in a container of its own on one Docker Engine."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar

from docker.errors import APIError, NotFound
from docker.models.networks import Network
from docker.types import DeviceRequest, LogConfig, Mount

from runner.constants import GRACE_FILE, OUT_OF_MEMORY, URL_VARIABLE
from workspace.compute import containers
from workspace.compute.access import TargetAccess
from workspace.compute.base import (
    BackendError,
    GroupPlan,
    Node,
    ProcessPlan,
    ProcessStatus,
    ProcessStatusState,
)
from workspace.compute.connection_test import ConnectionStep, ServerAddress
from workspace.compute.containers import ArchiveFile, filters_of, labels_of, name_of, volume_of
from workspace.compute.docker.published_ports import port_publishing, published_ports_of
from workspace.compute.docker.recovery import OutputRecovery
from workspace.compute.engine import identity, machine
from workspace.compute.engine.connection_test import EngineConnectionTest
from workspace.compute.images.image_backend import ImageBackend

MAX_PARALLEL = 8
CREATED = "created"
ENDED = {"exited", "dead"}
ALREADY_STOPPED = "is not running"  # the engine trips over a container that ends as it is removed
CONTAINER_LOG_LIMIT = {"max-size": "1m", "max-file": "1"}  # what programs print goes to the runner
T = TypeVar("T")
R = TypeVar("R")


class DockerBackend(ImageBackend):
    """Runs groups of processes as containers on a network of their own."""

    def __init__(self, access: TargetAccess) -> None:
        super().__init__(access)
        self._recovery = OutputRecovery(self.engine)

    def check(self) -> Sequence[Node]:
        return [machine.engine_node(self.engine)]

    def machines_id(self) -> str:
        return identity.machines_id(self.access)

    def connection_test(self, server: ServerAddress) -> Iterator[list[ConnectionStep]]:
        return EngineConnectionTest(self.access, self, server).run()

    def keeps_checkpoints(self) -> bool:
        return True

    def start(self, plan: GroupPlan) -> None:
        states = {found["name"]: found["state"] for found in self._found(plan.id)}
        if all(states.get(process.name, CREATED) != CREATED for process in plan.processes):
            return
        try:
            self._start(plan, states)
        except BackendError as error:
            if not error.retryable:
                self.remove(plan.id)
            raise

    def observe(self, group_id: str) -> Sequence[ProcessStatus]:
        return [self._process_status(found) for found in self._found(group_id)]

    def stop(self, group_id: str, grace: timedelta) -> None:
        words = f"{grace.total_seconds()}".encode()
        order = containers.archive(
            [ArchiveFile(f"{containers.PROCESS_DIRECTORY}/{GRACE_FILE}", 0o600, words)]
        )

        def ask(found: Mapping[str, str]) -> None:
            with self.engine.asked(f"{found['name']} could not be stopped") as client:
                try:
                    client.api.put_archive(found["id"], "/", order)
                    client.api.kill(found["id"], "SIGTERM")
                except APIError as error:
                    _ignore_if_stopped(error)

        _each(ask, [one for one in self._found(group_id) if one["state"] == "running"])

    def kill(self, group_id: str) -> None:
        def end(found: Mapping[str, str]) -> None:
            with self.engine.asked(f"{found['name']} could not be killed") as client:
                try:
                    client.api.kill(found["id"])
                except APIError as error:
                    _ignore_if_stopped(error)

        living = [one for one in self._found(group_id) if one["state"] not in {CREATED, *ENDED}]
        _each(end, living)

    def recover_outputs(self, group_id: str, names: Sequence[str]) -> Sequence[str]:
        return [
            found["name"]
            for found in self._found(group_id)
            if found["name"] in names
            and found["state"] in ENDED
            and self._recovery.is_recovering(group_id, found["name"], found["id"])
        ]

    def remove(self, group_id: str) -> None:
        def take_away(found: Mapping[str, str]) -> None:
            with self.engine.asked(f"The container of {found['name']} stays") as client:
                try:
                    client.api.remove_container(found["id"], force=True, v=True)
                except NotFound:
                    return
                except APIError as error:
                    if ALREADY_STOPPED not in str(error):
                        raise
                    client.api.remove_container(found["id"], force=True, v=True)

        _each(take_away, self._found(group_id))
        with self.engine.asked(f"The network of {group_id} stays") as client:
            for network in client.networks.list(filters=filters_of(self.access, group_id)):
                _remove_network(network)
        self._recovery.forget(group_id)

    def group_ids(self) -> set[str]:
        filters = {
            "label": [f"{containers.INSTALLATION}={self.access.installation}", containers.GROUP]
        }
        with self.engine.asked("Containers and networks could not be listed") as client:
            found = client.api.containers(all=True, filters=filters)
            found += client.api.networks(filters=filters)
        return {one["Labels"][containers.GROUP] for one in found}

    def remove_checkpoints(self, name: str) -> None:
        with self.engine.asked(f"The checkpoints of {name} stay") as client:
            try:
                client.api.remove_volume(volume_of(self.access, name))
            except NotFound:
                return

    def _found(self, group_id: str) -> list[dict[str, Any]]:
        """List the containers of a group, those that ended too."""
        with self.engine.asked(f"The containers of {group_id} could not be listed") as client:
            listed = client.api.containers(all=True, filters=filters_of(self.access, group_id))
        return sorted(
            (
                {
                    "id": one["Id"],
                    "name": one["Labels"][containers.PROCESS],
                    "state": one["State"],
                    "ports": one.get("Ports") or [],
                }
                for one in listed
            ),
            key=lambda one: one["name"],
        )

    def _process_status(self, found: Mapping[str, Any]) -> ProcessStatus:
        if found["state"] == CREATED:
            return ProcessStatus(found["name"], ProcessStatusState.GONE)
        if found["state"] not in ENDED:
            doors = published_ports_of(found["ports"], self.engine)
            return ProcessStatus(found["name"], ProcessStatusState.ALIVE, published_ports=doors)
        with self.engine.asked(f"{found['name']} could not be inspected") as client:
            try:
                state = client.api.inspect_container(found["id"])["State"]
            except NotFound:
                return ProcessStatus(found["name"], ProcessStatusState.GONE)
        reason = OUT_OF_MEMORY if state["OOMKilled"] else state["Error"]
        return ProcessStatus(found["name"], ProcessStatusState.EXITED, state["ExitCode"], reason)

    def _start(self, plan: GroupPlan, states: Mapping[str, str]) -> None:
        """Make what is missing, then start all that has not been started."""
        ours = [p for p in plan.processes if states.get(p.name, CREATED) == CREATED]
        contents = {
            process.name: containers.container_files(
                plan.id, process, self._reachable(process.environment[URL_VARIABLE])
            )
            for process in ours
        }
        with self.engine.asked("The network could not be created") as client:
            filters = filters_of(self.access, plan.id)
            if not client.networks.list(filters=filters):
                client.networks.create(
                    name_of(self.access, plan.id),
                    labels=labels_of(self.access, plan.id),
                    check_duplicate=True,
                )
        if plan.checkpoints:
            with self.engine.asked("The volume for checkpoints could not be created") as client:
                client.volumes.create(
                    volume_of(self.access, plan.checkpoints),
                    labels={
                        containers.INSTALLATION: self.access.installation,
                        containers.CHECKPOINTS: plan.checkpoints,
                    },
                )

        def make(process: ProcessPlan) -> None:
            self._make(plan, process, contents[process.name], is_there=process.name in states)

        _each(make, ours)
        _each(lambda process: self._launch(plan, process), ours)

    def _make(
        self, plan: GroupPlan, process: ProcessPlan, content: bytes, *, is_there: bool
    ) -> None:
        """Make a container with all that it needs, ready to be started."""
        with self.engine.asked(f"The container of {process.name} could not be created") as client:
            if not is_there:
                client.containers.create(
                    plan.environment_reference, **self._container(plan, process, client.api)
                )
            client.api.put_archive(name_of(self.access, plan.id, process.name), "/", content)

    def _launch(self, plan: GroupPlan, process: ProcessPlan) -> None:
        with self.engine.asked(f"{process.name} could not be started") as client:
            client.api.start(name_of(self.access, plan.id, process.name))

    def _container(self, plan: GroupPlan, process: ProcessPlan, api: Any) -> dict[str, Any]:
        network = name_of(self.access, plan.id)
        limit = containers.memory_limit(process)
        return {
            "command": list(containers.COMMAND),
            "entrypoint": [],
            "name": name_of(self.access, plan.id, process.name),
            "hostname": process.name,
            "labels": labels_of(self.access, plan.id, process.name),
            "user": containers.USER,
            "working_dir": "/",
            "environment": dict(containers.VARIABLES),
            "network": network,
            "ports": {
                f"{port}/tcp": (port_publishing(self.engine).bind_address, None)
                for port in containers.ports_of(process)
            },
            "networking_config": {
                network: api.create_endpoint_config(aliases=[process.name]),
            },
            "mounts": [
                Mount(containers.CHECKPOINT_FOLDER, volume_of(self.access, plan.checkpoints))
            ]
            if plan.checkpoints
            else [],
            "nano_cpus": None if process.cpus is None else int(process.cpus * 1e9),
            "mem_limit": limit,
            "memswap_limit": limit,
            "shm_size": process.shm_bytes,
            "pids_limit": containers.MAX_PIDS,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "device_requests": [
                DeviceRequest(device_ids=list(process.gpus), capabilities=[["gpu"]])
            ]
            if process.gpus
            else [],
            "log_config": LogConfig(type=LogConfig.types.JSON, config=CONTAINER_LOG_LIMIT),
            "healthcheck": {"test": ["NONE"]},
        }

    def _reachable(self, url: str) -> str:
        """Return the web's address as containers reach it."""
        if not containers.is_loopback(url):
            return url
        if not self.engine.is_local:
            raise BackendError(
                f"Containers on {self.engine.address} cannot reach this server at {url}: give the"
                " target a web URL, or set TRAINYARD_URL to an address that other machines reach."
            )
        return containers.with_host(url, machine.gateway(self.engine))


def _each(act: Callable[[T], R], all_of: Iterable[T]) -> list[R]:
    """Do something for each, several at a time; the first error is raised when all have ended."""
    items = list(all_of)
    if len(items) == 1:
        return [act(items[0])]
    with ThreadPoolExecutor(MAX_PARALLEL) as pool:
        return list(pool.map(act, items))


def _remove_network(network: Network) -> None:
    """Remove a network, also one in which an engine that crashed still counts lost containers."""
    try:
        network.reload()
        for container in network.attrs["Containers"] or {}:
            network.disconnect(container, force=True)
        network.remove()
    except NotFound:
        return


def _ignore_if_stopped(error: APIError) -> None:
    """Let it pass that a container is gone, or does not run any more."""
    if error.status_code not in (404, 409):
        raise error
