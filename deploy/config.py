"""The configurations of services: what is deployed, on what, and what is changed."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from deploy.memory_requirements import GB, default_gb
from deploy.models import NAME_RULE, KeySlot, service_name_validator
from deploy.service_options import ReplicaCount, ServiceOptions
from models.models import ModelVersion
from models.registration import MAX_CORES, MAX_GPUS, MAX_MEMORY_GB
from workspace.platform.validation import ANYTHING, Regex, StrictModel

SERVICE_NAME = re.compile(service_name_validator.regex)
MODEL_REFERENCE = re.compile(r"[^\x00/:@]{1,255}([:@][^\x00/:@]{1,64})?")
MODEL_HINT = "a model as NAME:VERSION, NAME:STAGE, NAME@ALIAS or NAME"
MAX_REVISIONS = 1_000_000_000
NUMBER = re.compile(r"[1-9][0-9]{0,8}")

DEFAULT_TARGET = "local"


def _revision_key(key: str) -> str:
    if not NUMBER.fullmatch(key):
        raise ValueError("Name revisions by their numbers.")
    return key


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


RevisionKey = Annotated[str, AfterValidator(_revision_key)]
ModelReference = Annotated[str, Regex(MODEL_REFERENCE, MODEL_HINT)]
RevisionNumber = Annotated[int, Field(ge=1, le=MAX_REVISIONS)]
Percentage = Annotated[int, Field(ge=0, le=100)]


class ServiceResources(StrictModel):
    """What each replica may use. null means no limit, and no GPUs."""

    cpu: float | None = Field(default=None, ge=0.01, le=MAX_CORES, description="CPU cores.")
    memory_gb: float | None = Field(
        default=None, ge=0.01, le=MAX_MEMORY_GB, description="Memory in GB (10^9 bytes)."
    )
    gpu: int | None = Field(default=None, ge=0, le=MAX_GPUS, description="Whole GPUs.")

    @property
    def memory_bytes(self) -> int | None:
        return None if self.memory_gb is None else int(self.memory_gb * GB)

    def to_json(self) -> dict[str, Any]:
        return self.model_dump()


class NewService(ServiceOptions):
    """A model version to deploy as a service."""

    name: Annotated[str, Regex(SERVICE_NAME, NAME_RULE)] = Field(
        description=f"{NAME_RULE[0].upper()}{NAME_RULE[1:]}."
    )
    model: ModelReference = Field(description=f"{MODEL_HINT[0].upper()}{MODEL_HINT[1:]}.")
    resources: ServiceResources | None = Field(
        default=None,
        description="Of each replica. Default: what the model version was registered with, and"
        " memory by the size of its variables.",
    )
    replicas: ReplicaCount = Field(default=1, description="Number of replicas.")
    target: Annotated[str, Regex(ANYTHING, "the name of a target", optional=True)] = Field(
        default=DEFAULT_TARGET, description="Name of the compute target."
    )


class ServiceChange(ServiceOptions):
    """Changes of a service. What is not given stays as it is."""

    model: ModelReference | None = Field(
        default=None, description=f"{MODEL_HINT[0].upper()}{MODEL_HINT[1:]}. Makes a new revision."
    )
    resources: ServiceResources | None = Field(
        default=None, description="Of each replica. Makes a new revision."
    )
    replicas: ReplicaCount | None = Field(
        default=None, description="Number of replicas. Rejected while autoscale is on."
    )
    shadow: RevisionNumber | bool | None = Field(
        default=None,
        description="The revision that receives copies of requests and whose responses are"
        " discarded; true for a new revision; null for none.",
    )
    weight: int | None = Field(
        default=None,
        ge=1,
        le=99,
        description="Traffic percentage of a new revision. The other revisions keep the rest.",
    )
    traffic: dict[RevisionKey, Percentage] | None = Field(
        default=None,
        description="Traffic percentages by revision number, which sum to 100. Revisions with 0"
        " are stopped. null sends all traffic to the newest.",
        examples=[{"1": 90, "2": 10}],
    )

    @field_validator("shadow", "weight")
    @classmethod
    def _needs_a_new_revision(cls, value: Any, info: ValidationInfo) -> Any:
        is_asked = value is True if info.field_name == "shadow" else value is not None
        if is_asked and not _makes_revision(info):
            raise ValueError("Only for a new revision: set model or resources too.")
        if info.field_name == "weight" and info.data.get("shadow") is True:
            raise ValueError("A shadow receives no traffic of its own, so it has no weight.")
        return value

    @field_validator("traffic")
    @classmethod
    def _is_of_known_revisions(cls, value: Any, info: ValidationInfo) -> Any:
        if _makes_revision(info):
            raise ValueError("Use weight for the percentage of a new revision.")
        return value

    @property
    def makes_revision(self) -> bool:
        return self.model is not None or self.resources is not None

    @property
    def is_shadow(self) -> bool:
        """Return whether the new revision is a shadow."""
        return self.shadow is True

    @property
    def shadow_number(self) -> int | None:
        """Return the revision that is to be the shadow, if any."""
        return None if isinstance(self.shadow, bool) else self.shadow

    @property
    def weights(self) -> dict[int, int] | None:
        """Return the traffic percentages by revision number; None is all to the newest."""
        traffic = self.traffic
        return None if traffic is None else {int(key): share for key, share in traffic.items()}


class RevisionChoice(StrictModel):
    revision: RevisionNumber | None = Field(
        default=None, description="Default: the newest earlier one that served something else."
    )


class KeyChoice(StrictModel):
    slot: Annotated[KeySlot, Field(strict=False), BeforeValidator(_lower)] = Field(
        default=KeySlot.PRIMARY, description="The key to replace."
    )


def _makes_revision(info: ValidationInfo) -> bool:
    """Return whether model or resources were given; what is wrong with them is told already."""
    return any(info.data.get(name, "wrong") is not None for name in ("model", "resources"))


def default_resources(version: ModelVersion) -> ServiceResources:
    """Return the resources of a version's registration, or else what its size calls for."""
    given: Mapping[str, Any] = version.resource_configuration
    memory_gb = given.get("memory_in_gb") or default_gb(version)
    return ServiceResources(cpu=given.get("cpu"), memory_gb=memory_gb, gpu=given.get("gpu"))
