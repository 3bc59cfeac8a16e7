"""How a service is run, beside what it runs: scaled, tested, rolled back, kept with its callers."""

import json
import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from workspace.platform.validation import JsonObject, Regex, StrictModel

MAX_REPLICAS = 32
HEADER_NAME = re.compile(r"[A-Za-z][-A-Za-z0-9]{0,63}")
BY_KEY = "key"
MAX_SMOKE_TEST_BYTES = 1_000_000
# Traffic is written down every ten seconds, so less would be mistaken for idleness.
SHORTEST_IDLE_SECONDS = 30
LONGEST_PAUSE_SECONDS = 24 * 3600
ORIGIN = re.compile(
    r"(?P<start>[a-z][a-z0-9+.-]{0,31}://([a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\]))"
    r"(:(?P<port>\d{1,5}))?",
    re.ASCII | re.IGNORECASE,
)
USUAL_PORTS = {80: "http://", 443: "https://"}
MAX_ORIGINS = 50
MAX_PORT = 2**16
MAX_SHOWN = 100
# As Azure ML's deployment configurations name them.
AZUREML_AUTOSCALE_ENABLED = "autoscale_enabled"
AZUREML_AUTOSCALE_FIELDS = {
    f"autoscale_{name}": name for name in ("min_replicas", "max_replicas", "target_utilization")
}
OF_AZUREML = "Azure ML's name for {} of autoscale."

ReplicaCount = Annotated[int, Field(ge=1, le=MAX_REPLICAS)]


class AutoscaleOptions(StrictModel):
    """Replicas by requests in flight."""

    min_replicas: ReplicaCount = Field(
        default=1, description="Fewest replicas, while the service is not scaled to zero."
    )
    max_replicas: ReplicaCount = Field(
        default=10, validate_default=True, description="Most replicas; at least min_replicas."
    )
    target_utilization: int = Field(
        default=70,
        ge=1,
        le=100,
        description="Percent of `requests_per_replica` that replicas are kept at.",
    )
    requests_per_replica: int = Field(
        default=1, ge=1, le=10_000, description="Concurrent requests that one replica can take."
    )
    cool_down_seconds: int = Field(
        default=300,
        ge=0,
        le=LONGEST_PAUSE_SECONDS,
        description="Seconds that the load must stay lower before replicas are removed.",
    )
    idle_seconds: int | None = Field(
        default=None,
        ge=SHORTEST_IDLE_SECONDS,
        le=LONGEST_PAUSE_SECONDS,
        description="Seconds without a request after which a service scales to zero. null: never.",
    )

    @field_validator("max_replicas")
    @classmethod
    def _is_not_below_min_replicas(cls, value: int, info: ValidationInfo) -> int:
        least = info.data.get("min_replicas", 0)
        if value < least:
            raise ValueError(f"Use at least min_replicas, which is {least}.")
        return value


class RollbackRule(StrictModel):
    """When the newest revision is rolled back, by its requests of the last minute."""

    p95_ms: float | None = Field(
        default=None,
        ge=0.1,
        le=600_000,
        description="The 95th percentile of latency in milliseconds that is allowed. null: any.",
    )
    error_rate: float | None = Field(
        default=None,
        ge=0,
        le=1,
        validate_default=True,
        description="The share of requests, 0 to 1, that may end in an error. null: any.",
    )
    min_requests: int = Field(
        default=20,
        ge=1,
        le=1_000_000,
        description="Requests in the minute below which nothing is decided.",
    )

    @field_validator("error_rate")
    @classmethod
    def _has_a_limit(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is None and info.data.get("p95_ms", 0) is None:
            raise ValueError("Set error_rate from 0 to 1, p95_ms, or both.")
        return value


def _smoke_test(body: dict[str, Any]) -> dict[str, Any]:
    if body and not body.keys() & {"instances", "inputs"}:
        raise ValueError("Use a request body of the model, with instances or inputs.")
    text = json.dumps(body)
    if len(text) > MAX_SMOKE_TEST_BYTES:
        raise ValueError(f"Use at most {MAX_SMOKE_TEST_BYTES:,} bytes; it has {len(text):,}.")
    return body


HeaderName = Annotated[
    str,
    Regex(HEADER_NAME, f'"{BY_KEY}" for the caller\'s key, or the name of a header', optional=True),
    AfterValidator(str.lower),
]


def _origin(text: str) -> str:
    """Return an origin as browsers send it: in lower case, without the scheme's usual port."""
    found = ORIGIN.fullmatch(text)
    port = int(found["port"]) if found and found["port"] else None
    if found is None or (port is not None and not 0 < port < MAX_PORT):
        raise ValueError(
            f"{text[:MAX_SHOWN]!r} is not an origin. Use scheme://host or scheme://host:port,"
            " without a path, such as https://app.example.com. * can't be used."
        )
    start = found["start"].lower()
    is_usual = port is None or start.startswith(USUAL_PORTS.get(port, " "))
    return start if is_usual else f"{start}:{port}"


def _without_repeats(origins: list[str]) -> list[str]:
    return list(dict.fromkeys(origins))


Origin = Annotated[str, AfterValidator(_origin)]
Origins = Annotated[list[Origin], Field(max_length=MAX_ORIGINS), AfterValidator(_without_repeats)]


def _none_if_empty(value: Any) -> Any:
    return None if value == {} else value


OffIfEmpty = BeforeValidator(_none_if_empty)


class ServiceOptions(StrictModel):
    """Options of a service. What is not given stays as it is; null turns an option off."""

    autoscale: Annotated[AutoscaleOptions | None, OffIfEmpty] = Field(
        default=None,
        description="Scales replicas by requests in flight. null: set `replicas` by hand.",
    )
    rollback: Annotated[RollbackRule | None, OffIfEmpty] = Field(
        default=None, description="Limits at which the newest revision is rolled back. null: never."
    )
    sticky_by: HeaderName | None = Field(
        default=None,
        description=f'Session affinity: "{BY_KEY}" for the caller\'s key, or the name of a header,'
        " keeps a caller at one revision. null: off.",
    )
    allowed_origins: Origins | None = Field(
        default=None,
        description="Origins whose web pages may call the service (CORS), each as scheme://host or"
        f" scheme://host:port, at most {MAX_ORIGINS}. null: none.",
        examples=[["https://app.example.com"]],
    )
    smoke_test_request: Annotated[JsonObject, AfterValidator(_smoke_test)] | None = Field(
        default=None,
        description="A request body that each replica must answer well before it receives"
        f" traffic, at most {MAX_SMOKE_TEST_BYTES:,} bytes. null: made from the signature.",
    )
    autoscale_enabled: bool | None = Field(
        default=None, description="Azure ML's switch for autoscale; false turns it off."
    )
    autoscale_min_replicas: ReplicaCount | None = Field(
        default=None, description=OF_AZUREML.format("min_replicas")
    )
    autoscale_max_replicas: ReplicaCount | None = Field(
        default=None, description=OF_AZUREML.format("max_replicas")
    )
    autoscale_target_utilization: int | None = Field(
        default=None, ge=1, le=100, description=OF_AZUREML.format("target_utilization")
    )

    @model_validator(mode="before")
    @classmethod
    def _with_azureml_names(cls, data: Any) -> Any:
        """Move Azure ML's flat fields into `autoscale`, which wins where both are given."""
        if not isinstance(data, dict):
            return data
        is_on = data.get(AZUREML_AUTOSCALE_ENABLED)
        names = {AZUREML_AUTOSCALE_ENABLED, *AZUREML_AUTOSCALE_FIELDS}
        if not names & data.keys() or not isinstance(is_on, bool | None):
            return data
        others = {name: value for name, value in data.items() if name not in names}
        if "autoscale" in others:
            return others
        flat = {
            option: data[name] for name, option in AZUREML_AUTOSCALE_FIELDS.items() if name in data
        }
        return {**others, "autoscale": None if is_on is False else flat or AutoscaleOptions()}

    def stored(self) -> dict[str, Any]:
        """Return the columns of a service that are given, as they are stored; off is empty."""
        empty: dict[str, Any] = {
            "autoscale": {},
            "rollback": {},
            "sticky_by": "",
            "allowed_origins": [],
            "smoke_test_request": None,
        }
        given = self.model_dump(include=self.model_fields_set & empty.keys())
        return {name: value or empty[name] for name, value in given.items()}
