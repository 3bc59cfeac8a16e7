"""How a run is distributed: its mode and the number of processes of each role."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, GetJsonSchemaHandler, ValidationInfo, field_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from workspace.platform.validation import StrictModel

MAX_PROCESSES = 1000
ProcessCount = Annotated[int, Field(ge=1, le=MAX_PROCESSES)]


class Mode(StrEnum):
    SINGLE = "single"
    MULTI_WORKER = "multi_worker"
    PARAMETER_SERVER = "parameter_server"
    MPI = "mpi"


MODE_FIELDS: dict[Mode, tuple[str, ...]] = {
    Mode.SINGLE: (),
    Mode.MULTI_WORKER: ("worker_count",),
    Mode.PARAMETER_SERVER: ("worker_count", "parameter_server_count", "chief", "evaluator"),
    Mode.MPI: ("process_count_per_node",),
}
FIELDS_OF_MODES = frozenset(name for names in MODE_FIELDS.values() for name in names)


def _parameter_servers_by_default(data: dict[str, Any]) -> int:
    return int(data.get("type") == Mode.PARAMETER_SERVER)


class Distribution(StrictModel):
    """How a run is distributed: its mode and how many processes of each role."""

    type: Annotated[Mode, Field(strict=False)] = Field(
        default=Mode.SINGLE,
        description="single: one process. multi_worker: MultiWorkerMirroredStrategy."
        " parameter_server: ParameterServerStrategy or tf.estimator. mpi: Horovod or mpi4py.",
    )
    worker_count: ProcessCount = Field(
        default=1,
        description="multi_worker and parameter_server: number of workers. Default: node_count"
        " with multi_worker, 1 with parameter_server.",
    )
    parameter_server_count: ProcessCount = Field(
        default_factory=_parameter_servers_by_default,
        description="parameter_server: number of parameter servers. Default: 1.",
    )
    chief: bool = Field(
        default=False,
        description="parameter_server: start a chief, which decides when the run is over.",
    )
    evaluator: bool = Field(
        default=False, description="parameter_server: start an evaluator. Needs a chief."
    )
    process_count_per_node: ProcessCount = Field(
        default=1,
        description="mpi: number of ranks on each node. Default: the run's process_count_per_node.",
    )

    @field_validator(*FIELDS_OF_MODES, mode="before")
    @classmethod
    def _belongs_to_the_mode(cls, value: object, info: ValidationInfo) -> object:
        mode = info.data.get("type")
        if mode is not None and info.field_name not in MODE_FIELDS[mode]:
            known = ", ".join(MODE_FIELDS[mode]) or "no other field"
            raise ValueError(f"Type {mode} has no {info.field_name}; it has {known}.")
        return value

    @field_validator("evaluator")
    @classmethod
    def _evaluator_has_a_chief(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("chief") is False:
            raise ValueError("An evaluator needs a chief: set chief to true too.")
        return value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Add which fields each mode has, so that editors show those of other modes as errors."""
        own = handler(schema)
        handler.resolve_ref_schema(own)["allOf"] = [
            {
                "if": {
                    "properties": {"type": {"const": mode.value}},
                    "required": [] if mode == Mode.SINGLE else ["type"],
                },
                "then": {"properties": dict.fromkeys(sorted(FIELDS_OF_MODES - set(names)), False)},
            }
            for mode, names in MODE_FIELDS.items()
        ]
        return own

    def roles(self, hosts: int = 0) -> list[tuple[str, int]]:
        """Return every role with its count, in the order in which processes are listed.

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

    def to_json(self) -> dict[str, Any]:
        """Return the mode and its own fields."""
        return {
            "type": self.type.value,
            **{name: getattr(self, name) for name in MODE_FIELDS[self.type]},
        }
