"""Keras files brought from outside: taken, converted by a worker, and then registered."""

import zipfile
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Max, Q, QuerySet
from django.utils import timezone

from models.models import Import, WorkState
from models.registration import Registration
from models.savedmodel import HDF5_SUFFIXES
from models.services import register_from_folder
from models.work import Say, ask_for
from models.workshop import bench_for, release_for, run_program
from runs.blobs import BlobStore, TooManyBytes, store_for
from runs.files import OUTPUTS, outputs_of
from runs.models import Run
from runs.snapshots import Entry, Manifest, stored_manifest
from workspace.environments import EnvironmentSpec
from workspace.errors import FieldError, Invalid, NotFound, TooLarge
from workspace.models import Team
from workspace.services import audit

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
LONGEST_NAME = 200
SHOWN = 50


def imports_of(team: Team) -> QuerySet[Import]:
    """Give a team's newest imports."""
    found = Import.objects.filter(team=team).order_by("-number")
    return found.select_related("team", "created_by", "version__model")[:SHOWN]


def unfinished_imports_of(team: Team) -> QuerySet[Import]:
    """Give the imports that go on, and those that failed in the last day."""
    recent = timezone.now() - timedelta(days=1)
    goes_on = Q(state__in=[WorkState.WAITING, WorkState.RUNNING])
    failed = Q(state=WorkState.FAILED, ended_at__gt=recent)
    return Import.objects.filter(goes_on | failed, team=team).order_by("-number")[:SHOWN]


def import_of(team: Team, number: int) -> Import:
    found = Import.objects.filter(team=team, number=number)
    import_ = found.select_related("team", "created_by", "run", "version__model__team").first()
    if import_ is None:
        raise NotFound(f"{team.name} has no import {number}.")
    return import_


def begin_import(
    *,
    team: Team,
    by: User | None,
    file: BinaryIO,
    filename: str,
    registration: Registration,
    allows_code: bool,
    run: Run | None = None,
    field: str = "archive",
) -> Import:
    """Take a Keras file, and have it converted and registered. Raises Invalid for what is none."""
    name = PurePosixPath(filename).name[-LONGEST_NAME:]
    problem = _problem_with(file, name)
    if problem:
        raise Invalid(problem, errors=[FieldError(field, problem)])
    store = store_for(team)
    manifest = _stored(store, file, name, field)
    with transaction.atomic():
        Team.objects.select_for_update().get(pk=team.pk)  # so that each gets a number of its own
        last = Import.objects.filter(team=team).aggregate(last=Max("number"))["last"] or 0
        made = Import.objects.create(
            team=team,
            number=last + 1,
            run=run,
            filename=name,
            manifest_digest=manifest.digest,
            registration=asdict(registration),
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
        ask_for(made)
    return made


def begin_import_of_run(
    *, run: Run, by: User | None, path: str, registration: Registration, allows_code: bool
) -> Import:
    """Bring a Keras file of a run's outputs; `path` may be written with or without outputs/."""
    outputs = {file.path: file for file in outputs_of(run)}
    asked = path.strip("/")
    found = outputs.get(asked) or outputs.get(f"{OUTPUTS}/{asked}")
    if found is None:
        message = f"Run {run.number} has no file {asked!r} among its outputs."
        raise Invalid(message, errors=[FieldError("path", message)])
    named = replace(
        registration,
        framework_version=registration.framework_version
        or str(run.config.get("framework_version", "")),
    )
    with found.location.open("rb") as file:
        return begin_import(
            team=run.team,
            by=by,
            file=file,
            filename=found.path,
            registration=named,
            allows_code=allows_code,
            run=run,
            field="path",
        )


def bring(import_: Import, say: Say) -> dict[str, Any]:
    """Convert a file to a SavedModel and register that; give what to note of it."""
    team, registration = import_.team, Registration(**import_.registration)
    release = release_for(registration.framework_version)
    manifest = stored_manifest(store_for(team), import_.manifest_digest)
    with bench_for(import_) as bench:
        bench.put(team, manifest)
        job = {"filename": import_.filename, "allows_code": import_.allows_code}
        spec = EnvironmentSpec.of(release)
        run_program(import_, team, spec, "keras_to_savedmodel.py", bench, job, say)
        version = register_from_folder(
            team=team,
            by=import_.created_by,
            run=import_.run,
            folder=bench.target / "model",
            path=import_.filename,
            registration=replace(registration, framework_version=""),
        )
    return {"version": version}


def _problem_with(file: BinaryIO, name: str) -> str:
    file.seek(0)
    start = file.read(len(HDF5_MAGIC))
    if not start:
        return f"{name} is empty."
    if not name.endswith((".keras", *HDF5_SUFFIXES)):
        return f"{name} has to end in .keras or .h5, in small letters: rename it to what it is."
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
    manifest = Manifest.of([Entry(name, digest, size)])
    store.put_lasting(manifest.content)
    return manifest
