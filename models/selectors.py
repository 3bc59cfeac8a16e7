"""Reads of the registry that need more than one line."""

from dataclasses import dataclass
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery

from models.models import (
    JobState,
    ModelAlias,
    ModelImport,
    ModelVersion,
    OnnxConversion,
    RegisteredModel,
    Stage,
)
from models.savedmodel.folders import GRAPH_FILE, folders_of, is_keras_file
from models.savedmodel.inspection import scan
from runs.files.store import outputs_of
from runs.models import Run
from runs.source.blobs import store_for
from runs.source.snapshots import DamagedManifest, Manifest, stored_manifest
from workspace.models import Team
from workspace.platform.errors import NotFound
from workspace.platform.requests import is_whole_number


@dataclass(frozen=True)
class ModelCandidate:
    """A SavedModel among a run's outputs, and a name to register it under."""

    path: str
    name: str


def existing_versions() -> QuerySet[ModelVersion]:
    """Return the versions that nobody deleted, with their model and team."""
    return ModelVersion.objects.filter(deleted_at=None).select_related("model__team")


def models_of(team: Team) -> QuerySet[RegisteredModel]:
    """Return a team's models, the one with the newest version first.

    `newest` (a number) and `newest_at` are annotated. A model without versions is none.
    """
    newest = ModelVersion.objects.filter(model=OuterRef("pk"), deleted_at=None).order_by("-version")
    return (
        RegisteredModel.objects.filter(team=team)
        .annotate(
            newest=Subquery(newest.values("version")[:1]),
            newest_at=Subquery(newest.values("created_at")[:1]),
        )
        .filter(newest__isnull=False)
        .order_by("-newest_at", "name")
    )


def model_of(team: Team, name: str) -> RegisteredModel:
    # PostgreSQL takes no NUL in a text, not even to look for it.
    model = models_of(team).filter(name=name.replace("\0", "?")).first()
    if model is None:
        raise NotFound(f"{team.name} has no model {name!r}.")
    return model


def versions_of(model: RegisteredModel) -> QuerySet[ModelVersion]:
    """Return a model's versions with their lineage, the newest first."""
    return (
        existing_versions()
        .filter(model=model)
        .select_related("model__team", "run__experiment", "run__snapshot", "created_by", "onnx")
        .prefetch_related("aliases")
        .order_by("-version")
    )


def versions_of_team(team: Team) -> QuerySet[ModelVersion]:
    """Return every version of a team's models, by name, the newest first."""
    return existing_versions().filter(model__team=team).order_by("model__name", "-version")


def version_of(team: Team, name: str, which: int | str) -> ModelVersion:
    """Return a version of a model by its number, its @alias, or its stage (the newest of it)."""
    model = model_of(team, name)
    found = versions_of(model)
    text = str(which)
    if text.startswith("@"):
        version = found.filter(aliases__name=text[1:].replace("\0", "?")).first()
        missing = f"Model {name} has no alias {text[1:]!r}."
    elif text in Stage.values:
        version = found.filter(stage=text).first()
        missing = f"Model {name} has no version with the stage {text}."
    elif is_whole_number(text):
        version = found.filter(version=int(text)).first()
        newest: int = model.newest  # type: ignore[attr-defined]
        missing = f"Model {name} has no version {text}; its newest is {newest}."
    else:
        raise NotFound(
            f"Model {name} has no version {text!r}: use a number, @ALIAS or one of the stages"
            f" {', '.join(Stage.values)}."
        )
    if version is None:
        raise NotFound(missing)
    return version


def alias_of(team: Team, name: str, alias: str) -> ModelAlias:
    """Return an alias of a model that stands for a version which is there."""
    aliases = ModelAlias.objects.select_related("model__team", "version__model")
    found = aliases.filter(model=model_of(team, name), name=alias.replace("\0", "?")).first()
    if found is None:
        raise NotFound(f"Model {name} has no alias {alias!r}.")
    return found


def version_named(team: Team, reference: str) -> ModelVersion:
    """Return the version that NAME:3, NAME:production, NAME@champion or NAME (newest) means."""
    name, mark, which = reference.partition("@" if "@" in reference else ":")
    if mark:
        return version_of(team, name, f"@{which}" if mark == "@" else which)
    model = model_of(team, name)
    return version_of(team, name, model.newest)  # type: ignore[attr-defined]


def manifest_of(version: ModelVersion) -> Manifest:
    """Return the files of a version."""
    try:
        return stored_manifest(store_for(version.model.team), version.manifest_digest)
    except FileNotFoundError:
        raise NotFound(f"The files of {version} are missing from the storage.") from None
    except DamagedManifest:
        raise DamagedManifest(
            f"The list of {version}'s files is damaged in the storage. Restore a backup, or"
            " register it again."
        ) from None


def scan_of(version: ModelVersion) -> list[dict[str, Any]]:
    """Return what a scan found; one registered before there were scans is scanned now."""
    if version.scan is None:
        sizes = {entry.path: entry.size for entry in manifest_of(version).entries}
        digests = {entry.path: entry.digest for entry in manifest_of(version).entries}
        graph_file = store_for(version.model.team).path(digests[GRAPH_FILE])
        version.scan = scan(graph_file, sizes)
        version.save(update_fields=["scan"])
    found: list[dict[str, Any]] = version.scan
    return found


def manifests_in_use(team: Team) -> list[str]:
    """Return the digests of the manifests of all that a team's registry has.

    They are of its versions, of those as ONNX, and of files that are yet to be converted.
    """
    versions = existing_versions().filter(model__team=team)
    converted = OnnxConversion.objects.filter(version__in=versions).exclude(manifest_digest="")
    coming = ModelImport.objects.filter(team=team, state__in=[JobState.WAITING, JobState.RUNNING])
    return [
        digest
        for kept in (versions, converted, coming)
        for digest in kept.values_list("manifest_digest", flat=True)
    ]


def missing_files(version: ModelVersion) -> list[str]:
    """Name the files of a version that the storage has no longer, or not whole."""
    try:
        entries = manifest_of(version).entries
    except DamagedManifest:
        return ["The list of files"]
    store = store_for(version.model.team)
    lost = set(store.missing({entry.digest: entry.size for entry in entries}))
    return [entry.path for entry in entries if entry.digest in lost]


def registrable_models_in(run: Run) -> list[ModelCandidate]:
    """Find every SavedModel among a run's outputs, and Keras files after them."""
    paths = [file.path for file in outputs_of(run)]
    keras = [path for path in paths if is_keras_file(path)]
    found = [ModelCandidate(folder, _name_for(folder, run)) for folder in folders_of(paths)]
    return [*(ModelCandidate(path, _name_for(_stem(path), run)) for path in keras), *found]


def _stem(path: str) -> str:
    return path.rpartition(".")[0]


def _name_for(folder: str, run: Run) -> str:
    """Suggest a name: the folder's that is not a number, nor means just a model."""
    vague = {"outputs", "model", "export", "saved_model", "savedmodel", "serving", "best_exporter"}
    for part in reversed(folder.split("/")):
        if not part.isdecimal() and part.lower() not in vague:
            return _as_name(part)
    return _as_name(run.experiment.name)


def _as_name(text: str) -> str:
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-._") else "-" for c in text)
    return kept.strip("-._")[:255] or "model"
