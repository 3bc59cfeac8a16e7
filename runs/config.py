"""A run's configuration: the Azure ML estimator's names, read strictly, every error at once."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator
from pydantic.json_schema import SkipJsonSchema

from runs.config_fields import (
    FILE_NAME,
    FILE_NAME_HINT,
    HIDDEN,
    IMAGE,
    SHM_SIZE,
    SHM_UNITS,
    VARIABLE_NAME_SCHEMA,
    ExperimentName,
    RunName,
    ScriptParams,
    VariableName,
    VariableValue,
    is_plain_word,
    looks_secret,
    refuse_datasets,
)
from runs.distribution import MAX_PROCESSES, Distribution, Mode, ProcessCount
from workspace.compute.access import ImageLogin
from workspace.compute.environment_spec import CURATED
from workspace.platform.errors import FieldError, Invalid
from workspace.platform.validation import (
    OneOf,
    OptionalSourcePath,
    Regex,
    SourcePath,
    StrictModel,
    Text,
    Texts,
    error_at,
    validate,
)
from workspace.secrets.services import NAME_HINT, SECRET_NAME
from workspace.tags import DESCRIPTION, TAGS, Description, Tags

MAX_DURATION_SECONDS = 90 * 24 * 3600
CONTAINER_FIELDS = ("conda_packages", "conda_dependencies_file", "custom_docker_image", "shm_size")


class RestartOn(StrEnum):
    """Which failures of an attempt are followed by another, as long as `max_restarts` lasts.

    A system's failure is an exit code from 128 to 255 or the loss of a process or its node.
    """

    SYSTEM_FAILURE = "system_failure"
    ANY_FAILURE = "any_failure"


class ImageRegistryDetails(StrictModel):
    """Where a private image is, and who may pull it. Stored encrypted and never returned."""

    address: Annotated[
        str, Regex(IMAGE, "a registry's name, such as registry.example.com", optional=True)
    ] = Field(
        default="",
        description="Host of the registry, such as registry.example.com. It is put before the"
        " image's name where that does not start with it.",
    )
    username: Text = Field(description="User name at the registry.")
    password: Text = Field(repr=False, description="Password or access token of that user.")


class SecretReference(StrictModel):
    """A secret of the team that processes get, as a variable's value or as a file."""

    secret: Annotated[str, Regex(SECRET_NAME, NAME_HINT)] = Field(description="Name of the secret.")
    file: Annotated[str, Regex(FILE_NAME, FILE_NAME_HINT, optional=True)] = Field(
        default="",
        description="Name of a file to write the value to, in a private folder. The variable then"
        " holds the file's path.",
    )


class RunConfig(StrictModel):
    """The configuration of a run: what to train, on what, with how much, and for how long."""

    schema_reference: str = Field(
        default="",
        validation_alias="$schema",
        description="Address of this schema, for editors. Ignored.",
        json_schema_extra={"writeOnly": True},
    )
    experiment: ExperimentName = Field(
        description="Name of the experiment, which groups runs that you compare. A new name"
        " creates an experiment. Blanks at its ends are taken off."
    )
    name: RunName = Field(
        default="", description="Name of the run, for people. It can be changed later."
    )
    description: Description = Field(default="", description=DESCRIPTION)
    tags: Tags = Field(default={}, description=TAGS)
    entry_script: SourcePath = Field(
        description="Python file to start: a path inside the source directory, relative to its root"
    )
    compute_target: Text = Field(
        default="local", description="Name of the compute target to run on."
    )
    script_params: ScriptParams = Field(
        default={},
        description="Command-line arguments of the script: names with their values. A list gives"
        " several values; null and empty text give a flag without a value.",
    )
    framework_version: Annotated[str, OneOf(tuple(CURATED))] = Field(
        default=next(iter(CURATED)),
        description="Version of TensorFlow.",
    )
    node_count: ProcessCount = Field(
        default=1, description="Number of nodes. More than 1 needs distributed_training."
    )
    process_count_per_node: ProcessCount = Field(
        default=1,
        description="Number of MPI ranks on each node, as Azure ML's older estimators name it."
        " Prefer distributed_training.process_count_per_node.",
        json_schema_extra={"writeOnly": True},
    )
    distributed_training: Distribution = Field(
        default=Distribution(),
        validate_default=True,
        description="How the run is distributed. Default: a single process.",
        json_schema_extra={"default": {"type": "single"}},
    )
    use_gpu: bool = Field(default=False, description="Whether processes use GPUs.")
    gpus_per_process: Annotated[int, Field(ge=0, le=64)] = Field(
        default_factory=lambda data: int(data.get("use_gpu", False)),
        description="Number of GPUs of each process. Default: 1 with use_gpu, else 0.",
    )
    cpus_per_process: Annotated[float, Field(ge=0.01, le=4096)] | None = Field(
        default=None, description="CPU limit of each process, in cores. Default: no limit."
    )
    memory_gb: Annotated[float, Field(ge=0.01, le=1e6)] | None = Field(
        default=None,
        description="Memory limit of each process, in GB (10^9 bytes). Default: no limit.",
    )
    image_registry_details: Annotated[
        ImageRegistryDetails | None, BeforeValidator(lambda given: None if given == {} else given)
    ] = Field(
        default=None,
        repr=False,
        description="Registry and login of custom_docker_image. Stored encrypted, never returned.",
        json_schema_extra={"writeOnly": True},
    )
    custom_docker_image: Annotated[str, Regex(IMAGE, "an image's name", optional=True)] = Field(
        default="",
        validate_default=True,
        description="Image to run in, instead of one that is built for the run. Only pip packages"
        " can be added to it. Container targets only.",
    )
    conda_dependencies_file: OptionalSourcePath = Field(
        default="",
        description="Conda environment file (.yml) of the source directory. It lists all packages."
        " Container targets only.",
    )
    conda_packages: Texts = Field(
        default=(), description="Packages to install with conda. Container targets only."
    )
    pip_packages: Texts = Field(
        default=(), description="Packages to install with pip, such as scikit-learn==1.7."
    )
    pip_requirements_file: OptionalSourcePath = Field(
        default="", description="Requirements file (.txt) of the source directory."
    )
    shm_size: Annotated[str, Regex(SHM_SIZE, "a size such as 2g or 512m", optional=True)] = Field(
        default="",
        description="Size of /dev/shm, such as 2g or 512m (units: k, m, g, of 1,024). Default: the"
        " engine's. Container targets only.",
    )
    environment_variables: dict[VariableName, VariableValue] = Field(
        default={},
        description="Environment variables of the processes. TF_CONFIG and names that start with"
        " TRAINYARD_ are reserved.",
        json_schema_extra={"propertyNames": {"pattern": VARIABLE_NAME_SCHEMA}},
    )
    secrets: dict[VariableName, SecretReference] = Field(
        default={},
        description="Environment variables whose values are secrets of the team, such as"
        ' {"AWS_KEY": {"secret": "aws-key"}}. Values are masked in logs.',
        json_schema_extra={"propertyNames": {"pattern": VARIABLE_NAME_SCHEMA}},
    )
    inputs: SkipJsonSchema[Annotated[object, AfterValidator(refuse_datasets)]] = None
    resume_from: Annotated[int, Field(ge=1, le=10**9)] | None = Field(
        default=None,
        description="Number of a run of this team whose outputs the script gets as --resume-from.",
    )
    max_restarts: Annotated[int, Field(ge=0, le=100)] = Field(
        default=0,
        description="How many times the run starts again after a failure, with the same checkpoint"
        " directory.",
    )
    restart_on: Annotated[RestartOn, Field(strict=False)] = Field(
        default=RestartOn.SYSTEM_FAILURE,
        description="Which failures are followed by a restart: exit codes from 128 on and lost"
        " processes or nodes (system_failure), or every failure (any_failure).",
    )
    max_run_duration_seconds: Annotated[int, Field(ge=1, le=MAX_DURATION_SECONDS)] | None = Field(
        default=None,
        description="Time limit of the run, in seconds from when its processes run. Default: no"
        " limit.",
    )
    start_timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = Field(
        default=300,
        description="Time in which all processes have to report that they are ready, in seconds.",
    )
    grace_seconds: Annotated[int, Field(ge=0, le=3600)] = Field(
        default=30,
        description="Time from SIGTERM to SIGKILL when processes are stopped, in seconds.",
    )
    priority: Annotated[int, Field(ge=-100, le=100)] | None = Field(
        default=None,
        description="Place in the queue: higher starts first, below 0 may be preempted. Default:"
        " the target's.",
    )

    @field_validator("secrets")
    @classmethod
    def _one_value_and_file_each(
        cls, value: dict[str, SecretReference], info: ValidationInfo
    ) -> dict[str, SecretReference]:
        files: set[str] = set()
        for variable, reference in value.items():
            if variable in info.data.get("environment_variables", {}):
                message = f"{variable} is in environment_variables too: leave it out of one."
                raise error_at(variable, message)
            if reference.file in files:
                raise error_at((variable, "file"), f"Two secrets have the file {reference.file}.")
            files |= {reference.file} - {""}
        return value

    @field_validator("distributed_training")
    @classmethod
    def _complete_distribution(cls, value: Distribution, info: ValidationInfo) -> Distribution:
        """Take the counts that Azure ML's estimators have beside the mode."""
        nodes = info.data.get("node_count", 1)
        per_node = info.data.get("process_count_per_node", 1)
        if not value.model_fields_set and (nodes > 1 or per_node > 1):
            raise ValueError(
                "'distributed_training' must be specified when node_count > 1 or"
                " process_count_per_node > 1."
            )
        outer = {Mode.MULTI_WORKER: ("worker_count", nodes)}
        outer[Mode.MPI] = ("process_count_per_node", per_node)
        if value.type in outer and outer[value.type][0] not in value.model_fields_set:
            value = value.model_copy(update=dict([outer[value.type]]))
        ranks = nodes * value.process_count_per_node
        if value.type == Mode.MPI and ranks > MAX_PROCESSES:
            message = f"{ranks:,} ranks are more than {MAX_PROCESSES:,}."
            raise error_at("process_count_per_node", message)
        return value

    @field_validator("gpus_per_process")
    @classmethod
    def _agrees_with_use_gpu(cls, value: int, info: ValidationInfo) -> int:
        use_gpu = info.data.get("use_gpu")
        if use_gpu and not value:
            raise ValueError("Use at least 1 GPU where use_gpu is true; it is 0.")
        if value and use_gpu is False:
            message = "gpus_per_process is above 0: set use_gpu to true too."
            raise error_at("use_gpu", message, beside=True)
        return value

    @field_validator("custom_docker_image")
    @classmethod
    def _with_registry(cls, value: str, info: ValidationInfo) -> str:
        """Return the name of the image, with the registry's address where that is given apart."""
        if not value and info.data.get("image_registry_details", "invalid"):
            message = "Name the image in custom_docker_image too."
            raise error_at("image_registry_details", message, beside=True)
        details = info.data.get("image_registry_details")
        if not details or not details.address or value.startswith(f"{details.address}/"):
            return value
        return f"{details.address}/{value}"

    @field_validator("conda_dependencies_file", "conda_packages")
    @classmethod
    def _no_conda_in_custom_image(cls, value: object, info: ValidationInfo) -> object:
        if value and info.data.get("custom_docker_image"):
            raise ValueError(
                "Nothing but pip packages can be added to a custom_docker_image: leave"
                f" {info.field_name} out, and put conda packages into the image."
            )
        return value

    @field_validator("conda_packages", "pip_packages", "pip_requirements_file")
    @classmethod
    def _not_beside_conda_file(cls, value: object, info: ValidationInfo) -> object:
        if value and info.data.get("conda_dependencies_file"):
            raise ValueError(
                f"conda_dependencies_file lists all packages: leave {info.field_name} out, and"
                " write what it has into that file."
            )
        return value

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
        found = SHM_SIZE.fullmatch(self.shm_size)
        return int(found[1]) * SHM_UNITS[found[2].lower()] if found else None

    @property
    def start_deadline(self) -> timedelta:
        return timedelta(seconds=self.start_timeout_seconds)

    @property
    def image_login(self) -> ImageLogin | None:
        """The login that a submitted configuration brings; a stored one has none."""
        details = self.image_registry_details
        return ImageLogin(details.username, details.password) if details else None

    def arguments(self) -> list[str]:
        """Return the entry script's arguments as Azure ML flattens `script_params`.

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
        """Return what may be shown, and submitted again: all but the login, which is kept apart."""
        config = self.model_dump(mode="json", exclude=NOT_RETURNED)
        return config | {"distributed_training": self.distributed_training.to_json()}

    def for_viewers(self) -> "RunConfig":
        """Return it without the values that look like secrets, which were not given as such."""
        return self.model_copy(
            update={
                field: {
                    name: HIDDEN if looks_secret(name, value) else value
                    for name, value in getattr(self, field).items()
                }
                for field in ("environment_variables", "script_params")
            }
        )

    def secret_looking_values(self) -> list[str]:
        """Return what `for_viewers` hides and logs are masked for: masking a word ruins a log."""
        given = (*self.environment_variables.items(), *self.script_params.items())
        return [
            str(part)
            for name, value in given
            if looks_secret(name, value)
            for part in (value if isinstance(value, list) else [value])
            if not is_plain_word(part)
        ]

    def to_row(self) -> dict[str, Any]:
        """Return what is stored: parameters as pairs, as PostgreSQL sorts the names of objects."""
        return self.to_json() | {"script_params": list(self.script_params.items())}

    @classmethod
    def from_row(cls, data: Mapping[str, Any]) -> "RunConfig":
        """Read what `to_row` returned. It was valid then, so it is not validated again."""
        distribution = data["distributed_training"]
        return _BLANK.model_copy(
            update={
                **data,
                "script_params": dict(data["script_params"]),
                "pip_packages": tuple(data["pip_packages"]),
                "conda_packages": tuple(data["conda_packages"]),
                "secrets": {
                    variable: SecretReference.model_construct(**reference)
                    for variable, reference in data.get("secrets", {}).items()
                },
                "restart_on": RestartOn(data["restart_on"]),
                "distributed_training": Distribution().model_copy(
                    update={**distribution, "type": Mode(distribution["type"])}
                ),
            }
        )


# What stored configurations are copied from: far quicker than pydantic's `model_construct`.
_BLANK = RunConfig(experiment="-", entry_script="-")
# The ranks for each node are in distributed_training.
NOT_RETURNED = {"schema_reference", "process_count_per_node", "image_registry_details", "inputs"}


# For fields that have no default, where they are missing or wrong.
STAND_INS = {"experiment": "unnamed", "entry_script": "unnamed.py"}


def parse_valid_fields(data: object) -> tuple[RunConfig | None, list[FieldError]]:
    """Read a configuration with defaults for the fields that are wrong, and return their errors.

    None where even so there is no configuration.
    """
    try:
        return parse(data), []
    except Invalid as invalid:
        errors = list(invalid.errors)
    if not isinstance(data, Mapping):
        return None, errors
    wrong = {error.field.partition(".")[0] for error in errors}
    valid = {
        name: value
        for name, value in data.items()
        if name in RunConfig.model_fields and name not in wrong
    }
    try:
        return parse({**STAND_INS, **valid}), errors
    except Invalid:
        return None, errors


def parse(data: object) -> RunConfig:
    """Read a configuration as submitted. Raises Invalid with every error, each naming its field."""
    return validate(RunConfig, data, message="The configuration has errors.")
