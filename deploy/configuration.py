"""What a service is asked to be: which model, on what, with how much; read strictly."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from deploy.memory import GB, default_gb
from deploy.models import NAME_RULE, service_name_validator
from deploy.terms import MOST_REPLICAS, TERMS, read_terms
from models.models import ModelVersion
from models.registration import MOST_CORES, MOST_GB, MOST_GPUS
from runs.reading import Reader
from workspace.environments import CURATED
from workspace.errors import FieldError, Invalid

SERVICE_NAME = re.compile(service_name_validator.regex)
MODEL_REFERENCE = re.compile(r"[^\x00/:@]{1,255}([:@][^\x00/:@]{1,64})?")
MOST_REVISIONS = 1_000_000_000
NUMBER = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Resources:
    """What each replica may use: cores, GB of memory and GPUs; None means no limit."""

    cpu: float | None = None
    memory_gb: float | None = None
    gpu: int | None = None

    @property
    def memory_bytes(self) -> int | None:
        return None if self.memory_gb is None else int(self.memory_gb * GB)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Wish:
    """What a caller said of a service; None is what was not said, or as `said` tells emptied."""

    name: str = ""
    model: str | None = None
    resources: Resources | None = None
    replicas: int | None = None
    target: str | None = None
    weight: int | None = None
    is_shadow: bool = False
    terms: Mapping[str, Any] = field(default_factory=dict)
    shares: Mapping[int, int] | None = None
    shadow: int | None = None
    said: frozenset[str] = frozenset()

    @property
    def is_of_new_revision(self) -> bool:
        return self.model is not None or self.resources is not None

    @property
    def is_beside(self) -> bool:
        """Tell a revision that stays beside the one that serves from one that takes over."""
        return self.weight is not None or self.is_shadow


def read_deployment(data: object) -> Wish:
    """Read the body that makes a service. Raises Invalid with every error."""
    reader = Reader(data)
    name = reader.text("name", pattern=SERVICE_NAME, hint=NAME_RULE)
    wish = Wish(
        name=name,
        model=_model(reader, required=True),
        resources=_resources(reader),
        replicas=reader.optional_integer("replicas", low=1, high=MOST_REPLICAS),
        target=reader.text("target", default="") if reader.take("target") else None,
        terms=read_terms(reader),
    )
    _finish(reader, ("name", "model", "resources", "replicas", "target", *TERMS))
    return wish


def read_change(data: object) -> Wish:
    """Read the body that changes a service."""
    reader = Reader(data)
    shadow = reader.take("shadow")
    wish = Wish(
        model=_model(reader, required=False),
        resources=_resources(reader),
        replicas=reader.optional_integer("replicas", low=1, high=MOST_REPLICAS),
        weight=reader.optional_integer("weight", low=1, high=99),
        is_shadow=shadow is True,
        terms=read_terms(reader),
        shares=_shares(reader),
        shadow=None if isinstance(shadow, bool) else _revision_number(reader, "shadow"),
        said=frozenset(reader.data),
    )
    if wish.is_beside and not wish.is_of_new_revision:
        field = "shadow" if wish.is_shadow else "weight"
        reader.refuse(field, "It is of a new revision: say its model or resources as well.")
    if wish.is_shadow and wish.weight is not None:
        reader.refuse("weight", "A shadow answers nobody, so it has no weight.")
    if "traffic" in wish.said and wish.is_of_new_revision:
        reader.refuse("traffic", "Use weight for the percentage of a new revision.")
    _finish(reader, ("model", "resources", "replicas", "weight", "shadow", "traffic", *TERMS))
    return wish


def read_revision(data: object) -> int | None:
    """Read the body that names a revision, or none."""
    reader = Reader({} if data is None else data)
    number = _revision_number(reader, "revision")
    _finish(reader, ("revision",))
    return number


def _revision_number(reader: Reader, name: str) -> int | None:
    return reader.optional_integer(name, low=1, high=MOST_REVISIONS)


def _shares(reader: Reader) -> dict[int, int] | None:
    if reader.take("traffic") is None:
        return None
    inner = Reader(reader.mapping("traffic"), prefix="traffic", errors=reader.errors)
    shares: dict[int, int] = {}
    for name in inner.data:
        if not NUMBER.fullmatch(name):
            inner.refuse(name[:100], "Name revisions by their numbers.")
            continue
        share = inner.optional_integer(name, low=0, high=100)
        if share is None:
            inner.refuse(name, "Use a percentage from 0 to 100.")
        shares[int(name)] = share or 0
    return shares


def _finish(reader: Reader, known: tuple[str, ...]) -> None:
    if not reader.is_object:
        raise Invalid.of(FieldError("body", f"Send a JSON object with {', '.join(known)}."))
    try:
        reader.finish(known)
    except Invalid as error:
        raise Invalid.of(*error.errors) from None


def _model(reader: Reader, *, required: bool) -> str | None:
    if reader.take("model") is None and not required:
        return None
    hint = "a model as NAME:VERSION, NAME:STAGE, NAME@ALIAS or NAME"
    return reader.text("model", pattern=MODEL_REFERENCE, hint=hint) or None


def _resources(reader: Reader) -> Resources | None:
    if reader.take("resources") is None:
        return None
    inner = Reader(reader.mapping("resources"), prefix="resources", errors=reader.errors)
    resources = Resources(
        cpu=inner.decimal("cpu", low=0.01, high=MOST_CORES),
        memory_gb=inner.decimal("memory_gb", low=0.01, high=MOST_GB),
        gpu=inner.optional_integer("gpu", low=0, high=MOST_GPUS),
    )
    inner.finish(("cpu", "memory_gb", "gpu"))
    return resources


def default_resources(version: ModelVersion) -> Resources:
    """Give what a version's registration asks for, with memory that its size calls for."""
    asked: Mapping[str, Any] = version.resource_configuration
    memory_gb = asked.get("memory_in_gb") or default_gb(version)
    return Resources(asked.get("cpu"), memory_gb, asked.get("gpu"))


def curated_version(version: ModelVersion) -> str:
    """Give the framework version whose environment serves a model, such as 2.15 for 2.15.1.

    Raises Invalid, with the list, where there is none.
    """
    release = ".".join(version.framework_version.split(".")[:2])
    if release in CURATED:
        return release
    raise Invalid.of(
        FieldError(
            "model",
            f"{version} is registered for {version.framework} {version.framework_version}; models"
            f" can be served with {', '.join(CURATED)}. Register it again with one of these as its"
            " framework_version.",
        )
    )
