"""What a version is registered as, and what can be changed of it later."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator, model_validator

from models.models import NAME_RULE, Stage, model_name_validator
from workspace.platform.errors import FieldError, Invalid
from workspace.platform.validation import ANYTHING, Regex, StrictModel
from workspace.tags import DESCRIPTION, TAG_CHANGES, TAGS, Description, TagChanges, Tags

FRAMEWORK = "TensorFlow"
MODEL_NAME = re.compile(model_name_validator.regex)
VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){1,2}((a|b|-?rc)\d{1,3}|[-.]dev\d{1,8})?", re.ASCII)
RESERVED_NAME = "register"  # of the address of the page that registers models
ALIAS_LENGTH = 64
MAX_CORES = 4096
MAX_MEMORY_GB = 1e6
MAX_GPUS = 64


def _name(name: str) -> str:
    if name == RESERVED_NAME:
        raise ValueError("This name is taken by a page. Choose another.")
    return name


def _framework(name: str) -> str:
    if name not in ("", FRAMEWORK):
        raise ValueError(f"Only {FRAMEWORK} models, saved as SavedModels, are supported.")
    return FRAMEWORK


STAGES = "Stage of the version. Services may name a model by stage."
OptionalText = Annotated[str, Regex(ANYTHING, "1 to 1,000 characters", optional=True)]


class ResourceConfiguration(StrictModel):
    """The resources that each replica of a service has by default."""

    cpu: float | None = Field(default=None, ge=0.01, le=MAX_CORES, description="CPU cores.")
    memory_in_gb: float | None = Field(
        default=None,
        ge=0.01,
        le=MAX_MEMORY_GB,
        description="Memory in GB (10^9 bytes). Azure ML's spelling memoryInGB is accepted too.",
    )
    gpu: int | None = Field(default=None, ge=0, le=MAX_GPUS, description="Whole GPUs.")

    @model_validator(mode="before")
    @classmethod
    def _with_azureml_name(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "memoryInGB" not in data:
            return data
        others = {name: value for name, value in data.items() if name != "memoryInGB"}
        return {**others, "memory_in_gb": data["memoryInGB"]}


class Registration(StrictModel):
    """What to register a SavedModel as."""

    name: Annotated[str, Regex(MODEL_NAME, NAME_RULE), AfterValidator(_name)] = Field(
        description="An existing name adds a version; a new name creates a model."
    )
    framework: Annotated[str, AfterValidator(_framework)] = Field(
        default=FRAMEWORK, description=f"{FRAMEWORK}, the only one."
    )
    framework_version: Annotated[str, Regex(VERSION, "a version such as 2.15.1", optional=True)] = (
        Field(default="", description="Default: the run's, or the one in the model.")
    )
    resource_configuration: ResourceConfiguration = Field(
        default=ResourceConfiguration(), description="Default resources of a replica."
    )
    tags: Tags = Field(default={}, description=TAGS)
    properties: Tags = Field(default={}, description=f"{TAGS} They can't be changed later.")
    stage: Annotated[Stage, Field(strict=False)] = Field(default=Stage.NONE, description=STAGES)
    description: Description = Field(default="", description=DESCRIPTION)

    def to_json(self) -> dict[str, Any]:
        """Return what `Registration(**data)` makes again, without what a subclass adds."""
        return self.model_dump(mode="json", include=set(Registration.model_fields))


class RegistrationOfUpload(Registration):
    """What to register an uploaded archive or Keras file as."""

    path: OptionalText = Field(
        default="", description="Path of the SavedModel. Needed only where there are several."
    )
    allow_code: bool = Field(
        default=False,
        description="Run the Python code of Lambda layers when a Keras file is converted.",
    )
    sha256: OptionalText = Field(default="", description="The file is checked against it.")


class RegistrationOfRun(Registration):
    """What to register a folder or Keras file of a run's outputs as."""

    run: int = Field(ge=1, lt=2**31, description="Number of the run.")
    path: OptionalText = Field(
        default="", description="Path in the outputs. Needed only where there are several models."
    )
    allow_code: bool = Field(
        default=False,
        description="Run the Python code of Lambda layers when a Keras file is converted.",
    )


class VersionChange(StrictModel):
    """Changes of a version. What is not given stays as it is."""

    stage: Annotated[Stage, Field(strict=False)] | None = Field(default=None, description=STAGES)
    archive_others: bool = Field(
        default=False, description="Archive the versions currently in this stage."
    )
    description: Description | None = Field(default=None, description=DESCRIPTION)
    tags: TagChanges | None = Field(default=None, description=TAG_CHANGES)
    properties: Any = Field(default=None, description="Can't be changed.")

    @field_validator("properties")
    @classmethod
    def _is_not_given(cls, value: Any) -> Any:
        if value is not None:
            raise ValueError("Properties are set once, when a version is registered.")
        return value


class AliasTarget(StrictModel):
    version: int | str = Field(description="Number, stage or @ALIAS of a version.")


def check_alias(name: str) -> str:
    """Check the name of an alias. Raises Invalid."""
    if len(name) > ALIAS_LENGTH or not MODEL_NAME.fullmatch(name):
        hint = NAME_RULE.replace("255", str(ALIAS_LENGTH))
        raise Invalid.of(FieldError("alias", f"Use {hint}."))
    return name
