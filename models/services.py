"""The verbs of the registry."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F

from models.models import MAX_FRAMEWORK_VERSION, MAX_SAVED_WITH, ModelVersion, RegisteredModel
from models.registration import FRAMEWORK, Registration
from models.sources import StoredSavedModel, from_archive, from_folder, from_run, from_uploads
from runs.models import Run
from runs.source.blobs import BlobStore, store_for
from workspace.audit import audit
from workspace.models import Team


def register_from_run(
    *, by: User | None, run: Run, path: str, registration: Registration
) -> ModelVersion:
    """Register the SavedModel in a folder of a run's outputs as the next version of a model."""
    return _register(
        team=run.team, by=by, run=run, registration=registration, fetch=partial(from_run, run, path)
    )


def register_from_archive(
    *,
    team: Team,
    by: User | None,
    file: BinaryIO,
    filename: str,
    path: str = "",
    registration: Registration,
) -> ModelVersion:
    """Register the SavedModel in a .zip or .tar.gz as the next version of a model."""
    return _register(
        team=team,
        by=by,
        run=None,
        registration=registration,
        fetch=partial(from_archive, file, filename, path),
    )


def register_from_uploads(
    *, team: Team, by: User | None, files: Mapping[str, BinaryIO], registration: Registration
) -> ModelVersion:
    """Register the SavedModel in a folder that a browser sent file by file."""
    return _register(
        team=team, by=by, run=None, registration=registration, fetch=partial(from_uploads, files)
    )


def register_from_folder(
    *,
    team: Team,
    by: User | None,
    run: Run | None,
    folder: Path,
    path: str,
    registration: Registration,
    when_made: Callable[[ModelVersion], None],
) -> ModelVersion:
    """Register the SavedModel in a folder of ours; `path` says what it was made of.

    `when_made` is called in the transaction: there is no version without what it writes.
    """
    return _register(
        team=team,
        by=by,
        run=run,
        registration=registration,
        fetch=partial(from_folder, folder, path),
        when_made=when_made,
    )


def _register(
    *,
    team: Team,
    by: User | None,
    run: Run | None,
    registration: Registration,
    fetch: Callable[[BlobStore], StoredSavedModel],
    when_made: Callable[[ModelVersion], None] | None = None,
) -> ModelVersion:
    store = store_for(team)
    found = fetch(store)
    saved_with = found.saved_model.tensorflow_version[:MAX_SAVED_WITH]
    # The manifest is stored before the row is written, so a version that exists is whole.
    store.put_lasting(found.manifest.content)
    with transaction.atomic():
        model, _ = RegisteredModel.objects.get_or_create(team=team, name=registration.name)
        # The update holds the model's row until commit, so no two versions get one number.
        RegisteredModel.objects.filter(pk=model.pk).update(last_version=F("last_version") + 1)
        model.refresh_from_db(fields=["last_version"])
        version = ModelVersion.objects.create(
            model=model,
            version=model.last_version,
            run=run,
            origin=_origin(run),
            path=found.folder,
            framework=FRAMEWORK,
            framework_version=registration.framework_version
            or _version_of_run(run)
            or saved_with[:MAX_FRAMEWORK_VERSION],
            saved_with=saved_with,
            resource_configuration=registration.resource_configuration.model_dump(
                exclude_none=True
            ),
            tags=registration.tags,
            properties=registration.properties,
            stage=registration.stage,
            description=registration.description,
            signatures=found.saved_model.signatures,
            scan=found.saved_model.scan,
            manifest_digest=found.manifest.digest,
            file_count=len(found.manifest.entries),
            total_bytes=found.manifest.total_bytes,
            created_by=by,
        )
        audit(
            team=team,
            actor=by,
            action="model.register",
            subject=str(version),
            run=run.number if run else None,
        )
        if when_made is not None:
            when_made(version)
    return version


def _origin(run: Run | None) -> dict[str, Any]:
    if run is None:
        return {}
    return {
        "run": run.number,
        "experiment": run.experiment.name,
        "snapshot": run.snapshot.digest if run.snapshot else None,
    }


def _version_of_run(run: Run | None) -> str:
    return str(run.config.get("framework_version", "")) if run else ""
