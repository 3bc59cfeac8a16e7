"""What the REST API tells of models and versions."""

from datetime import datetime
from typing import Any

from ninja import Schema

from models import selectors
from models.models import ModelImport, ModelVersion, OnnxConversion, RegisteredModel


class VersionOut(Schema):
    id: str
    name: str
    version: int
    framework: str
    framework_version: str
    saved_with: str
    resource_configuration: dict[str, Any]
    stage: str
    aliases: list[str]
    tags: dict[str, str]
    properties: dict[str, str]
    description: str
    signatures: dict[str, Any]
    file_count: int
    total_bytes: int
    run: int | None
    experiment: str | None
    snapshot: str | None
    path: str
    created_by: str | None
    created_at: datetime
    url: str

    @staticmethod
    def resolve_id(version: ModelVersion) -> str:
        return str(version)

    @staticmethod
    def resolve_name(version: ModelVersion) -> str:
        return version.model.name

    @staticmethod
    def resolve_aliases(version: ModelVersion) -> list[str]:
        return sorted(alias.name for alias in version.aliases.all())

    @staticmethod
    def resolve_run(version: ModelVersion) -> Any:
        return version.origin.get("run")

    @staticmethod
    def resolve_experiment(version: ModelVersion) -> Any:
        return version.origin.get("experiment")

    @staticmethod
    def resolve_snapshot(version: ModelVersion) -> Any:
        return version.origin.get("snapshot")

    @staticmethod
    def resolve_created_by(version: ModelVersion) -> str | None:
        return version.created_by.get_username() if version.created_by else None

    @staticmethod
    def resolve_url(version: ModelVersion) -> str:
        model = version.model
        return f"/t/{model.team.slug}/models/{model.name}/versions/{version.version}/"


class ModelFileOut(Schema):
    path: str
    size: int
    digest: str


class ScanFindingOut(Schema):
    level: str
    kind: str
    message: str


class VersionDetail(VersionOut):
    """A version with its files, and what a reader should know of its graph."""

    digest: str
    files: list[ModelFileOut]
    scan: list[ScanFindingOut]

    @staticmethod
    def resolve_digest(version: ModelVersion) -> str:
        return version.manifest_digest

    @staticmethod
    def resolve_scan(version: ModelVersion) -> list[dict[str, Any]]:
        return selectors.scan_of(version)

    @staticmethod
    def resolve_files(version: ModelVersion) -> list[dict[str, Any]]:
        return selectors.manifest_of(version).to_json()


class ComparisonRowOut(Schema):
    name: str
    a: Any
    b: Any
    differs: bool


class ComparisonOut(Schema):
    a: str
    b: str
    facts: list[ComparisonRowOut]
    signatures: list[ComparisonRowOut]
    metrics: list[ComparisonRowOut]
    tags: list[ComparisonRowOut]
    files: list[ComparisonRowOut]


class ModelOut(Schema):
    name: str
    latest_version: int
    created_at: datetime

    @staticmethod
    def resolve_latest_version(model: RegisteredModel) -> int:
        newest: int = model.newest  # type: ignore[attr-defined]
        return newest


class ModelDetail(ModelOut):
    versions: list[VersionOut]

    @staticmethod
    def resolve_versions(model: RegisteredModel) -> list[ModelVersion]:
        return list(selectors.versions_of(model))


class ModelJobOut(Schema):
    state: str
    step: str
    error: str
    created_by: str | None
    created_at: datetime
    ended_at: datetime | None

    @staticmethod
    def resolve_created_by(work: OnnxConversion | ModelImport) -> str | None:
        return work.created_by.get_username() if work.created_by else None


class OnnxConversionOut(ModelJobOut):
    """A version as ONNX; `parity` is there once it is done."""

    version: str
    opset: int | None
    size_bytes: int | None
    parity: dict[str, Any]

    @staticmethod
    def resolve_version(conversion: OnnxConversion) -> str:
        return str(conversion.version)


class ModelImportOut(ModelJobOut):
    """A Keras file on its way; `version` names what it became once it is done."""

    number: int
    file: str
    name: str
    version: str | None
    url: str

    @staticmethod
    def resolve_file(brought: ModelImport) -> str:
        return brought.filename

    @staticmethod
    def resolve_name(brought: ModelImport) -> str:
        return str(brought.registration["name"])

    @staticmethod
    def resolve_version(brought: ModelImport) -> str | None:
        return str(brought.version) if brought.version else None

    @staticmethod
    def resolve_url(brought: ModelImport) -> str:
        return f"/t/{brought.team.slug}/model-imports/{brought.number}/"
