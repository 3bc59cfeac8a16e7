"""How a service is run, beside what it runs: scaled, tried, gone back from; read strictly."""

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from runs.reading import Reader

MOST_REPLICAS = 32
HEADER_NAME = re.compile(r"[A-Za-z][-A-Za-z0-9]{0,63}")
BY_KEY = "key"
LARGEST_GOLDEN = 1_000_000
# Traffic is written down every ten seconds, so less would be mistaken for idleness.
SHORTEST_IDLE_SECONDS = 30
LONGEST_PAUSE_SECONDS = 24 * 3600
# As Azure ML's deployment configurations name them.
ENABLED = "autoscale_enabled"
FLAT = {
    f"autoscale_{name}": name for name in ("min_replicas", "max_replicas", "target_utilization")
}
TERMS = ("autoscale", "rollback", "sticky_by", "golden_request", ENABLED, *FLAT)


@dataclass(frozen=True)
class Autoscale:
    """Replicas by requests in flight; `target_utilization` is a percentage of what each can take.

    With `idle_seconds` a service that nobody asks for so long has none.
    """

    min_replicas: int = 1
    max_replicas: int = 10
    target_utilization: int = 70
    requests_per_replica: int = 1
    cool_down_seconds: int = 300
    idle_seconds: int | None = None


@dataclass(frozen=True)
class RollbackRule:
    """When the newest revision is taken back: over an error rate, or a 95th percentile."""

    error_rate: float | None = None
    p95_ms: float | None = None
    min_requests: int = 20


def read_terms(reader: Reader) -> dict[str, Any]:
    """Give those fields of a service that the body names, as they are stored; null empties one."""
    terms: dict[str, Any] = {}
    flat = {name: reader.data[name] for name in FLAT if name in reader.data}
    if "autoscale" in reader.data:
        inner = _inner(reader, "autoscale")
        terms["autoscale"] = _autoscale(inner) if inner else {}
    elif flat or ENABLED in reader.data:
        is_on = reader.boolean(ENABLED, default=True)
        terms["autoscale"] = (
            _autoscale(
                Reader(
                    {FLAT[name]: value for name, value in flat.items()},
                    prefix="autoscale",
                    errors=reader.errors,
                )
            )
            if is_on
            else {}
        )
    if "rollback" in reader.data:
        terms["rollback"] = _rollback(reader)
    if "sticky_by" in reader.data:
        terms["sticky_by"] = _sticky_by(reader)
    if "golden_request" in reader.data:
        terms["golden_request"] = _golden_request(reader)
    return terms


def _autoscale(inner: Reader) -> dict[str, Any]:
    usual = Autoscale()
    most = MOST_REPLICAS
    rule = Autoscale(
        min_replicas=inner.integer("min_replicas", usual.min_replicas, low=1, high=most),
        max_replicas=inner.integer("max_replicas", usual.max_replicas, low=1, high=most),
        target_utilization=inner.integer(
            "target_utilization", usual.target_utilization, low=1, high=100
        ),
        requests_per_replica=inner.integer(
            "requests_per_replica", usual.requests_per_replica, low=1, high=10_000
        ),
        cool_down_seconds=inner.integer(
            "cool_down_seconds", usual.cool_down_seconds, low=0, high=LONGEST_PAUSE_SECONDS
        ),
        idle_seconds=inner.optional_integer(
            "idle_seconds", low=SHORTEST_IDLE_SECONDS, high=LONGEST_PAUSE_SECONDS
        ),
    )
    if rule.min_replicas > rule.max_replicas:
        inner.refuse("max_replicas", f"Use at least min_replicas, which is {rule.min_replicas}.")
    inner.finish(tuple(asdict(rule)))
    return asdict(rule)


def _rollback(reader: Reader) -> dict[str, Any]:
    inner = _inner(reader, "rollback")
    if inner is None:
        return {}
    rule = RollbackRule(
        error_rate=inner.decimal("error_rate", low=0.0, high=1.0),
        p95_ms=inner.decimal("p95_ms", low=0.1, high=600_000.0),
        min_requests=inner.integer("min_requests", 20, low=1, high=1_000_000),
    )
    if inner.take("error_rate") is None and inner.take("p95_ms") is None:
        inner.refuse("error_rate", "Say an error_rate from 0 to 1, a p95_ms, or both.")
    inner.finish(tuple(asdict(rule)))
    return asdict(rule)


def _sticky_by(reader: Reader) -> str:
    if reader.take("sticky_by") in (None, ""):
        return ""
    hint = f'"{BY_KEY}" for the caller\'s key, or the name of a header'
    return reader.text("sticky_by", pattern=HEADER_NAME, hint=hint).lower()


def _golden_request(reader: Reader) -> dict[str, Any] | None:
    if reader.take("golden_request") is None:
        return None
    body = reader.mapping("golden_request")
    if body and not body.keys() & {"instances", "inputs"}:
        reader.refuse("golden_request", "Use a body of the model's: with instances, or inputs.")
    elif len(json.dumps(body)) > LARGEST_GOLDEN:
        reader.refuse("golden_request", f"Use one of at most {LARGEST_GOLDEN:,} bytes.")
    return body


def _inner(reader: Reader, name: str) -> Reader | None:
    """Give a reader of what is inside a field, or None where the field is null or empty."""
    if not reader.take(name):
        return None
    return Reader(reader.mapping(name), prefix=name, errors=reader.errors)
