"""A run's configuration: the Azure ML estimator's names, read strictly, every error at once."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from runs.reading import Reader
from workspace.compute.access import ImageLogin
from workspace.environments import CURATED

MAX_DURATION_SECONDS = 90 * 24 * 3600
MAX_PROCESSES = 1000
RESERVED_VARIABLES = re.compile(r"TRAINYARD_.*|TF_CONFIG", re.ASCII)
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
EXPERIMENT_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,100}")

ScriptParams = dict[str, str | int | float | bool | list[str | int | float] | None]


class Mode(StrEnum):
    SINGLE = "single"
    MULTI_WORKER = "multi_worker"
    PARAMETER_SERVER = "parameter_server"
    MPI = "mpi"


MODE_FIELDS: dict[Mode, frozenset[str]] = {
    Mode.SINGLE: frozenset(),
    Mode.MULTI_WORKER: frozenset({"worker_count"}),
    Mode.PARAMETER_SERVER: frozenset(
        {"worker_count", "parameter_server_count", "chief", "evaluator"}
    ),
    Mode.MPI: frozenset({"process_count_per_node"}),
}

LATER_FIELDS = {
    "inputs": "datasets are not built yet; put small data into the source directory",
}
CONTAINER_FIELDS = ("conda_packages", "conda_dependencies_file", "custom_docker_image", "shm_size")
INSTEAD_OF_CONDA_FILE = ("conda_packages", "pip_packages", "pip_requirements_file")
NOT_IN_CUSTOM_IMAGE = ("conda_packages", "conda_dependencies_file")
IMAGE = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._/:@]{0,299}")
SIZE = re.compile(r"([1-9][0-9]{0,9})([kmg]?)b?", re.IGNORECASE)
UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


class RestartOn(StrEnum):
    """Which failures of an attempt are followed by another, as long as `max_restarts` lasts.

    A system's failure is an exit code from 128 to 255 or the loss of a process or its node.
    """

    SYSTEM_FAILURE = "system_failure"
    ANY_FAILURE = "any_failure"


@dataclass(frozen=True)
class Distribution:
    """How a run is spread: its mode and how many processes of each role."""

    type: Mode = Mode.SINGLE
    worker_count: int = 1
    parameter_server_count: int = 0
    chief: bool = False
    evaluator: bool = False
    process_count_per_node: int = 1

    def roles(self, hosts: int = 0) -> list[tuple[str, int]]:
        """Give every role with its count, in the order in which processes are listed.

        `hosts`: the workers on which an MPI launcher starts ranks; none where it starts all itself.
        """
        if self.type == Mode.MPI:
            return [("launcher", 1), *([("worker", hosts)] if hosts else [])]
        if self.type == Mode.PARAMETER_SERVER:
            counts = [
                ("chief", int(self.chief)),
                ("worker", self.worker_count),
                ("ps", self.parameter_server_count),
                ("evaluator", int(self.evaluator)),
            ]
            return [(role, count) for role, count in counts if count]
        if self.type == Mode.MULTI_WORKER:
            return [("worker", self.worker_count)]
        return [("worker", 1)]


@dataclass(frozen=True)
class RunConfig:
    """A valid configuration. Memory in GB (10^9 bytes), cpus in cores, durations in seconds."""

    experiment: str
    entry_script: str
    compute_target: str = "local"
    script_params: ScriptParams = field(default_factory=dict)
    framework_version: str = next(iter(CURATED))
    node_count: int = 1
    distributed_training: Distribution = Distribution()
    use_gpu: bool = False
    gpus_per_process: int = 0
    cpus_per_process: float | None = None
    memory_gb: float | None = None
    pip_packages: tuple[str, ...] = ()
    pip_requirements_file: str = ""
    conda_packages: tuple[str, ...] = ()
    conda_dependencies_file: str = ""
    custom_docker_image: str = ""
    image_login: ImageLogin | None = None
    shm_size: str = ""
    environment_variables: dict[str, str] = field(default_factory=dict)
    resume_from: int | None = None
    max_restarts: int = 0
    restart_on: RestartOn = RestartOn.SYSTEM_FAILURE
    max_run_duration_seconds: int | None = None
    start_timeout_seconds: int = 300
    grace_seconds: int = 30
    priority: int | None = None

    @property
    def mode(self) -> Mode:
        return self.distributed_training.type

    @property
    def ranks(self) -> int:
        """The number of MPI ranks."""
        return self.node_count * self.distributed_training.process_count_per_node

    @property
    def memory_bytes(self) -> int | None:
        return None if self.memory_gb is None else int(self.memory_gb * 1e9)

    @property
    def shm_bytes(self) -> int | None:
        found = SIZE.fullmatch(self.shm_size)
        return int(found[1]) * UNITS[found[2].lower()] if found else None

    @property
    def start_deadline(self) -> timedelta:
        return timedelta(seconds=self.start_timeout_seconds)

    def arguments(self) -> list[str]:
        """Give the entry script's arguments as Azure ML flattens `script_params`.

        A list gives each of its items, None and '' give a bare flag.
        """
        flat: list[str] = []
        for key, value in self.script_params.items():
            flat.append(key)
            if isinstance(value, list):
                flat.extend(str(item) for item in value)
            elif value is not None and value != "":
                flat.append(str(value))
        return flat

    def to_json(self) -> dict[str, Any]:
        """Give what may be shown: all but the login, which is kept apart and sealed."""
        return {name: value for name, value in asdict(self).items() if name != "image_login"}

    def to_row(self) -> dict[str, Any]:
        """Give what is stored: parameters as pairs, as PostgreSQL sorts the names of objects."""
        return self.to_json() | {"script_params": list(self.script_params.items())}

    @classmethod
    def from_row(cls, data: Mapping[str, Any]) -> "RunConfig":
        """Read what `to_row` gave; it was valid then."""
        distribution = data["distributed_training"]
        return cls(
            **{
                **data,
                "script_params": dict(data["script_params"]),
                "pip_packages": tuple(data["pip_packages"]),
                "conda_packages": tuple(data["conda_packages"]),
                "restart_on": RestartOn(data["restart_on"]),
                "distributed_training": Distribution(
                    **{**distribution, "type": Mode(distribution["type"])}
                ),
            }
        )


def parse(data: object) -> RunConfig:
    """Read a configuration as submitted. Raises Invalid with every error, each naming its field."""
    reader = Reader(data)
    later = {
        name: why
        for name, why in LATER_FIELDS.items()
        if reader.take(name) not in (None, "", [], {}, 0)
    }
    for name, why in later.items():
        reader.refuse(name, f"Leave {name} out: {why}.")
    node_count = reader.integer("node_count", 1, low=1, high=MAX_PROCESSES)
    per_node = reader.integer("process_count_per_node", 1, low=1, high=MAX_PROCESSES)
    distribution = _distribution(reader, node_count, per_node)
    use_gpu = reader.boolean("use_gpu", default=False)
    config = RunConfig(
        experiment=reader.text("experiment", pattern=EXPERIMENT_NAME, hint="1 to 100 characters"),
        entry_script=reader.path("entry_script", required=True),
        compute_target=reader.text("compute_target", default="local"),
        script_params=_script_params(reader),
        framework_version=reader.choice("framework_version", list(CURATED)),
        node_count=node_count,
        distributed_training=distribution,
        use_gpu=use_gpu,
        gpus_per_process=reader.integer(
            "gpus_per_process", int(use_gpu), low=int(use_gpu), high=64
        ),
        cpus_per_process=reader.decimal("cpus_per_process", low=0.01, high=4096),
        memory_gb=reader.decimal("memory_gb", low=0.01, high=1e6),
        pip_packages=tuple(reader.texts("pip_packages")),
        pip_requirements_file=reader.path("pip_requirements_file"),
        conda_packages=tuple(reader.texts("conda_packages")),
        conda_dependencies_file=reader.path("conda_dependencies_file"),
        custom_docker_image=_image(reader),
        image_login=_image_login(reader),
        shm_size=_optional_text(reader, "shm_size", SIZE, "a size such as 2g or 512m"),
        environment_variables=_variables(reader),
        resume_from=reader.optional_integer("resume_from", low=1, high=10**9),
        max_restarts=reader.integer("max_restarts", 0, low=0, high=100),
        restart_on=RestartOn(reader.choice("restart_on", [one.value for one in RestartOn])),
        max_run_duration_seconds=reader.optional_integer(
            "max_run_duration_seconds", low=1, high=MAX_DURATION_SECONDS
        ),
        start_timeout_seconds=reader.integer("start_timeout_seconds", 300, low=1, high=86_400),
        grace_seconds=reader.integer("grace_seconds", 30, low=0, high=3600),
        priority=reader.optional_integer("priority", low=-100, high=100),
    )
    if config.gpus_per_process and not use_gpu:
        reader.refuse("use_gpu", "gpus_per_process is above 0: set use_gpu to true too.")
    if config.mode == Mode.MPI and config.ranks > MAX_PROCESSES:
        reader.refuse(
            "distributed_training.process_count_per_node",
            f"{config.ranks} ranks are more than {MAX_PROCESSES}.",
        )
    _check_environment(reader, config)
    known = {*RunConfig.__dataclass_fields__, *LATER_FIELDS} - {"image_login"}
    reader.finish(known={*known, "process_count_per_node", "image_registry_details"})
    return config


def _distribution(reader: Reader, node_count: int, per_node: int) -> Distribution:
    given = reader.take("distributed_training")
    if given is None:
        if node_count > 1 or per_node > 1:
            reader.refuse(
                "distributed_training",
                "'distributed_training' must be specified when node_count > 1 or"
                " process_count_per_node > 1.",
            )
        return Distribution()
    inner = Reader(given, prefix="distributed_training", errors=reader.errors)
    mode = Mode(inner.choice("type", [mode.value for mode in Mode]))
    known = MODE_FIELDS[mode] | {"type"}
    distribution = Distribution(type=mode)
    if mode == Mode.MULTI_WORKER:
        distribution = Distribution(
            type=mode,
            worker_count=inner.integer("worker_count", node_count, low=1, high=MAX_PROCESSES),
        )
    elif mode == Mode.PARAMETER_SERVER:
        distribution = Distribution(
            type=mode,
            worker_count=inner.integer("worker_count", 1, low=1, high=MAX_PROCESSES),
            parameter_server_count=inner.integer(
                "parameter_server_count", 1, low=1, high=MAX_PROCESSES
            ),
            chief=inner.boolean("chief", default=False),
            evaluator=inner.boolean("evaluator", default=False),
        )
        if distribution.evaluator and not distribution.chief:
            inner.refuse("evaluator", "An evaluator needs a chief: set chief to true too.")
    elif mode == Mode.MPI:
        distribution = Distribution(
            type=mode,
            process_count_per_node=inner.integer(
                "process_count_per_node", per_node, low=1, high=MAX_PROCESSES
            ),
        )
    if inner.is_object:
        inner.finish(known=known)
    return distribution


def _optional_text(reader: Reader, name: str, pattern: re.Pattern[str], hint: str) -> str:
    given = reader.take(name)
    if given is None or given == "":
        return ""
    return reader.text(name, pattern=pattern, hint=hint)


def _image(reader: Reader) -> str:
    """Give the name of the image, with the address of its registry where that is given apart."""
    name = _optional_text(reader, "custom_docker_image", IMAGE, "an image's name")
    address = reader.mapping("image_registry_details").get("address")
    if not (name and isinstance(address, str) and address):
        return name
    return name if name.startswith(f"{address}/") else f"{address}/{name}"


def _image_login(reader: Reader) -> ImageLogin | None:
    """Read Azure ML's image_registry_details: {address, username, password}."""
    given = reader.mapping("image_registry_details")
    if not given:
        return None
    inner = Reader(given, prefix="image_registry_details", errors=reader.errors)
    if inner.take("address") not in (None, ""):
        inner.text("address", pattern=IMAGE, hint="a registry's name, such as registry.example.com")
    login = ImageLogin(inner.text("username"), inner.text("password"))
    inner.finish(known={"address", "username", "password"})
    if not reader.take("custom_docker_image"):
        reader.refuse("image_registry_details", "Name the image in custom_docker_image too.")
    return login


def _check_environment(reader: Reader, config: RunConfig) -> None:
    """Refuse fields that say twice what is installed, as Azure ML's estimator does."""
    if config.conda_dependencies_file:
        for name in INSTEAD_OF_CONDA_FILE:
            if getattr(config, name):
                reader.refuse(
                    name,
                    f"conda_dependencies_file lists all packages: leave {name} out, and write what"
                    " it has into that file.",
                )
    if config.custom_docker_image:
        for name in NOT_IN_CUSTOM_IMAGE:
            if getattr(config, name):
                reader.refuse(
                    name,
                    "Nothing but pip packages can be added to a custom_docker_image: leave"
                    f" {name} out, and put conda packages into the image.",
                )


def _script_params(reader: Reader) -> ScriptParams:
    params: ScriptParams = {}
    for key, value in reader.mapping("script_params").items():
        name = f"script_params.{key}"
        items = value if isinstance(value, list) else [value]
        if not all(item is None or isinstance(item, str | int | float) for item in items):
            reader.refuse(name, "Use text, a number, true, false, null or a list of those.")
        elif any("\0" in str(item) for item in [key, *items]):
            reader.refuse(name, "A NUL character cannot be passed to a program.")
        elif sum(len(str(item)) for item in items) > 100_000:
            reader.refuse(name, "It is longer than 100,000 characters: put it into a file.")
        else:
            params[key] = value
    return params


def _variables(reader: Reader) -> dict[str, str]:
    variables: dict[str, str] = {}
    for name, value in reader.mapping("environment_variables").items():
        where = f"environment_variables.{name}"
        if not VARIABLE_NAME.fullmatch(name):
            reader.refuse(where, "A name has letters, digits and _, and starts with no digit.")
        elif RESERVED_VARIABLES.fullmatch(name):
            reader.refuse(where, f"{name} is set by Trainyard and cannot be given.")
        elif not isinstance(value, str | int | float) or isinstance(value, bool):
            reader.refuse(where, "Use text or a number.")
        elif "\0" in str(value) or len(str(value)) > 100_000:
            reader.refuse(where, "Use at most 100,000 characters, none of them NUL.")
        else:
            variables[name] = str(value)
    return variables
