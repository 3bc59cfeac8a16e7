"""Two versions of a model side by side: what is known of each, and where they differ."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from models.models import ModelVersion
from models.selectors import manifest_of
from runs.metrics.series import last_values
from runs.models import Run


@dataclass(frozen=True)
class ComparisonRow:
    """One thing that is known of two versions, as it is in each; None where it is not."""

    name: str
    a: Any
    b: Any

    @property
    def differs(self) -> bool:
        return bool(self.a != self.b)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"differs": self.differs}


def compare(a: ModelVersion, b: ModelVersion) -> dict[str, list[ComparisonRow]]:
    """Return what two versions are, by subject; files are told by their digests."""
    return {
        "facts": _rows(_facts_of(a), _facts_of(b)),
        "signatures": _rows(_tensors_of(a), _tensors_of(b), sort=True),
        "metrics": _rows(_last_values_of(a.run), _last_values_of(b.run), sort=True),
        "tags": _rows(a.tags | a.properties, b.tags | b.properties, sort=True),
        "files": _rows(_files_of(a), _files_of(b), sort=True),
    }


def _last_values_of(run: Run | None) -> dict[str, float | str]:
    return last_values([run.pk])[run.pk] if run else {}


def _facts_of(version: ModelVersion) -> dict[str, Any]:
    return {
        "framework": f"{version.framework} {version.framework_version}",
        "stage": version.stage,
        "run": version.origin.get("run"),
        "files": version.file_count,
        "bytes": version.total_bytes,
        "digest": version.manifest_digest,
    }


def _tensors_of(version: ModelVersion) -> dict[str, str]:
    return {
        f"{key} {side[:-1]} {name}": format_tensor(tensor)
        for key, signature in version.signatures.items()
        for side in ("inputs", "outputs")
        for name, tensor in signature[side].items()
    }


def format_tensor(tensor: Mapping[str, Any]) -> str:
    return f"{format_dtype(tensor)}, {format_shape(tensor['shape'])}"


def format_dtype(tensor: Mapping[str, Any]) -> str:
    """Write a type, with `ragged` or `sparse` where the tensor is not dense."""
    if "encoding" not in tensor:
        return str(tensor["dtype"])
    known = "" if tensor["dtype"] == "invalid" else f" {tensor['dtype']}"
    return f"{tensor['encoding']}{known}"


def format_shape(shape: list[int] | None) -> str:
    """Write a shape with `any` for a length that is left open."""
    if shape is None:
        return "any"
    if not shape:
        return "scalar"
    return " x ".join("any" if size < 0 else str(size) for size in shape)


def _files_of(version: ModelVersion) -> dict[str, str]:
    return {entry.path: entry.digest for entry in manifest_of(version).entries}


def _rows(a: Mapping[str, Any], b: Mapping[str, Any], *, sort: bool = False) -> list[ComparisonRow]:
    names: Iterable[str] = {**a, **b}
    return [
        ComparisonRow(name, a.get(name), b.get(name)) for name in (sorted(names) if sort else names)
    ]
