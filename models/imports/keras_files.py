"""Imports of Keras files: uploaded, converted by a worker, and registered."""

import zipfile
from datetime import timedelta
from functools import partial
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Max, Q, QuerySet
from django.utils import timezone

from models.frameworks import tensorflow_release_for
from models.imports.execution import enqueue, set_step, set_version
from models.imports.keras_allowlist import allowed_objects
from models.imports.sandbox import job_directory, run_converter
from models.models import JobState, ModelImport
from models.registration import Registration
from models.savedmodel.folders import HDF5_SUFFIXES
from models.services import register_from_folder
from runs.files.store import OUTPUTS, outputs_of
from runs.models import Run
from runs.source.blobs import BlobStore, TooManyBytes, store_for
from runs.source.snapshots import Manifest, ManifestEntry, stored_manifest
from workspace.audit import audit
from workspace.compute.environment_spec import EnvironmentSpec
from workspace.models import Team
from workspace.platform.background_jobs import LogWriter
from workspace.platform.errors import FieldError, Invalid, NotFound, TooLarge

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
MAX_FILENAME_LENGTH = 200
SHOWN = 50


def imports_of(team: Team) -> QuerySet[ModelImport]:
    """Return a team's newest imports."""
    found = ModelImport.objects.filter(team=team).order_by("-number")
    return found.select_related("team", "created_by", "version__model")[:SHOWN]


def unfinished_imports_of(team: Team) -> QuerySet[ModelImport]:
    """Return the imports that wait or run, and those that failed in the last day."""
    recent = timezone.now() - timedelta(days=1)
    goes_on = Q(state__in=[JobState.WAITING, JobState.RUNNING])
    failed = Q(state=JobState.FAILED, ended_at__gt=recent)
    return ModelImport.objects.filter(goes_on | failed, team=team).order_by("-number")[:SHOWN]


def import_of(team: Team, number: int) -> ModelImport:
    found = ModelImport.objects.filter(team=team, number=number)
    import_ = found.select_related("team", "created_by", "run", "version__model__team").first()
    if import_ is None:
        raise NotFound(f"{team.name} has no import {number}.")
    return import_


def start_import(
    *,
    team: Team,
    by: User | None,
    file: BinaryIO,
    filename: str,
    registration: Registration,
    allows_code: bool,
    run: Run | None = None,
    field: str = "archive",
) -> ModelImport:
    """Store a Keras file and request its import. Raises Invalid for a file that is none."""
    name = PurePosixPath(filename).name[-MAX_FILENAME_LENGTH:]
    problem = _problem_with(file, name)
    if problem:
        raise Invalid(problem, errors=[FieldError(field, problem)])
    store = store_for(team)
    manifest = _stored(store, file, name, field)
    with transaction.atomic():
        Team.objects.select_for_update().get(pk=team.pk)  # so that each gets a number of its own
        last = ModelImport.objects.filter(team=team).aggregate(last=Max("number"))["last"] or 0
        made = ModelImport.objects.create(
            team=team,
            number=last + 1,
            run=run,
            filename=name,
            manifest_digest=manifest.digest,
            registration=registration.to_json(),
            allows_code=allows_code,
            created_by=by,
        )
        audit(
            team=team,
            actor=by,
            action="model.import",
            subject=registration.name,
            file=name,
            allows_code=allows_code,
        )
        enqueue(made)
    return made


def start_import_from_run(
    *, run: Run, by: User | None, path: str, registration: Registration, allows_code: bool
) -> ModelImport:
    """Import a Keras file of a run's outputs; `path` may begin with outputs/ or not."""
    outputs = {file.path: file for file in outputs_of(run)}
    asked = path.strip("/")
    found = outputs.get(asked) or outputs.get(f"{OUTPUTS}/{asked}")
    if found is None:
        message = f"Run {run.number} has no file {asked!r} among its outputs."
        raise Invalid(message, errors=[FieldError("path", message)])
    release = registration.framework_version or str(run.config.get("framework_version", ""))
    named = registration.model_copy(update={"framework_version": release})
    with found.location.open("rb") as file:
        return start_import(
            team=run.team,
            by=by,
            file=file,
            filename=found.path,
            registration=named,
            allows_code=allows_code,
            run=run,
            field="path",
        )


def import_keras_file(import_: ModelImport, write_log: LogWriter) -> dict[str, Any]:
    """Convert a file to a SavedModel and register it; return the columns to store."""
    team, registration = import_.team, Registration(**import_.registration)
    release = tensorflow_release_for(registration.framework_version)
    manifest = stored_manifest(store_for(team), import_.manifest_digest)
    with job_directory(import_) as directory:
        directory.put(team, manifest)
        job = {
            "filename": import_.filename,
            "allows_code": import_.allows_code,
            "allowed": allowed_objects(),
        }
        spec = EnvironmentSpec.of(release)
        run_converter(import_, team, spec, "keras_to_savedmodel.py", directory, job, write_log)
        set_step(import_, "Registering")
        version = register_from_folder(
            team=team,
            by=import_.created_by,
            run=import_.run,
            folder=directory.target / "model",
            path=import_.filename,
            registration=registration.model_copy(update={"framework_version": ""}),
            when_made=partial(set_version, import_),
        )
    return {"version": version}


def _problem_with(file: BinaryIO, name: str) -> str:
    file.seek(0)
    start = file.read(len(HDF5_MAGIC))
    if not start:
        return f"{name} is empty."
    if not name.endswith((".keras", *HDF5_SUFFIXES)):
        return f"{name} must end in .keras or .h5, in lowercase letters: rename it."
    if start == HDF5_MAGIC:
        is_named_so = name.endswith(HDF5_SUFFIXES)
        return "" if is_named_so else f"{name} is an HDF5 file: rename it so that it ends in .h5."
    if name.endswith(HDF5_SUFFIXES):
        return f"{name} is named as an HDF5 file, but does not begin as one: it is damaged."
    if not zipfile.is_zipfile(file):
        return f"{name} is damaged or was cut short: a .keras file is a whole zip archive."
    return ""


def _stored(store: BlobStore, file: BinaryIO, name: str, field: str) -> Manifest:
    file.seek(0)
    try:
        digest, size = store.put_stream(file, max_bytes=settings.TRAINYARD_MODEL_MAX_BYTES)
    except TooManyBytes:
        most = f"{settings.TRAINYARD_MODEL_MAX_BYTES:,}"
        message = f"{name} is larger than the {most} bytes that a model may have."
        raise TooLarge(message, errors=[FieldError(field, message)]) from None
    manifest = Manifest.of([ManifestEntry(name, digest, size)])
    store.put_lasting(manifest.content)
    return manifest
