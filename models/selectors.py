"""Reads of the registry that need more than one line."""

from dataclasses import dataclass

from django.db.models import OuterRef, QuerySet, Subquery

from models.models import ModelVersion, RegisteredModel
from models.savedmodel import folders_of
from runs.blobs import store_for
from runs.files import outputs_of
from runs.models import Run
from runs.snapshots import Manifest
from workspace.errors import NotFound
from workspace.models import Team


@dataclass(frozen=True)
class Offer:
    """A SavedModel among a run's outputs, and a name to register it under."""

    path: str
    name: str


def models_of(team: Team) -> QuerySet[RegisteredModel]:
    """Give a team's models, the one with the newest version first, with `newest` annotated."""
    newest = ModelVersion.objects.filter(model=OuterRef("pk")).order_by("-version")
    return (
        RegisteredModel.objects.filter(team=team, last_version__gt=0)
        .annotate(newest_at=Subquery(newest.values("created_at")[:1]))
        .order_by("-newest_at")
    )


def model_of(team: Team, name: str) -> RegisteredModel:
    # PostgreSQL takes no NUL in a text, not even to look for it.
    model = models_of(team).filter(name=name.replace("\0", "?")).first()
    if model is None:
        raise NotFound(f"{team.name} has no model {name!r}.")
    return model


def versions_of(model: RegisteredModel) -> QuerySet[ModelVersion]:
    """Give a model's versions with their lineage, the newest first."""
    return (
        ModelVersion.objects.filter(model=model)
        .select_related("model__team", "run__experiment", "run__snapshot", "created_by")
        .order_by("-version")
    )


def versions_of_team(team: Team) -> QuerySet[ModelVersion]:
    """Give every version of a team's models, by name, the newest first."""
    return (
        ModelVersion.objects.filter(model__team=team)
        .select_related("model__team")
        .order_by("model__name", "-version")
    )


def version_of(team: Team, name: str, number: int) -> ModelVersion:
    model = model_of(team, name)
    version = versions_of(model).filter(version=number).first()
    if version is None:
        raise NotFound(f"Model {name} has no version {number}; its newest is {model.last_version}.")
    return version


def manifest_of(version: ModelVersion) -> Manifest:
    """Give the files of a version."""
    path = store_for(version.model.team).path(version.manifest_digest)
    try:
        return Manifest.from_content(path.read_bytes())
    except FileNotFoundError:
        raise NotFound(f"The files of {version} are gone from the storage.") from None


def manifests_kept_for(team: Team) -> QuerySet[ModelVersion, str]:
    """Give the digests of the manifests of every version that a team has."""
    return ModelVersion.objects.filter(model__team=team).values_list("manifest_digest", flat=True)


def lost_files(version: ModelVersion) -> list[str]:
    """Name the files of a version that the storage has no longer, or not whole."""
    entries = manifest_of(version).entries
    store = store_for(version.model.team)
    lost = set(store.missing({entry.digest: entry.size for entry in entries}))
    return [entry.path for entry in entries if entry.digest in lost]


def saved_models_in(run: Run) -> list[Offer]:
    """Find every SavedModel among a run's outputs."""
    return [
        Offer(folder, _name_for(folder, run))
        for folder in folders_of(file.path for file in outputs_of(run))
    ]


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
