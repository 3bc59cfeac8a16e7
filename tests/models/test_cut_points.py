"""Who is killed at any point of a registration or conversion leaves whole versions or none."""

import io
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction

from models.imports import execution, keras_files, onnx_conversion
from models.imports.execution import recover_abandoned, remove_leftover_directories
from models.imports.jobs import convert_to_onnx, import_keras_file
from models.imports.onnx_conversion import FILE, request_onnx_conversion
from models.imports.sandbox import JobDirectory
from models.models import JobState, ModelImport, ModelVersion, OnnxConversion, RegisteredModel
from models.registration import Registration
from models.selectors import manifest_of, manifests_in_use
from models.services import register_from_archive, register_from_run
from runs.models import Run
from runs.source.blobs import store_for
from runs.source.cleanup import remove_unused_uploads
from runs.source.snapshots import stored_manifest
from runs.states import RunStatus
from tests.cut_points import CutPoints, Killed, every_cut
from tests.deploy.conftest import validate_once
from tests.factories import make_run
from tests.models.registry import make_version
from tests.models.saved_models import as_zip, model_files, put_outputs
from workspace.models import AuditEntry, Team
from workspace.platform import background_jobs

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
LONG_AGO = (1_000_000_000, 1_000_000_000)
ONNX = b"the version as ONNX"


@pytest.fixture(autouse=True)
def _quick_converters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.sources.validate", validate_once)
    monkeypatch.setattr(background_jobs, "HEARTBEAT_TIMEOUT", timedelta(0))
    monkeypatch.setattr(execution, "enqueue", lambda job: None)
    monkeypatch.setattr(keras_files, "run_converter", convert)
    monkeypatch.setattr(onnx_conversion, "run_converter", convert)


def convert(
    work: object, team: Team, spec: object, name: str, directory: JobDirectory, *further: object
) -> dict[str, Any]:
    """Write what the converters write."""
    if name == "savedmodel_to_onnx.py":
        (directory.target / FILE).write_bytes(ONNX)
        return {"opset": 18, "parity": {}}
    for path, content in model_files().items():
        place = directory.target / "model" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return {}


def do(points: CutPoints, work: Callable[[], object]) -> None:
    with suppress(Killed), points.watched():
        work()
        points.reach("the answer")


def stored_after_tidying_up(home: Path) -> tuple[set[str], list[Path]]:
    """Tidy up when all files are old; return the blobs that are there then, and what jobs left."""
    for path in home.rglob("*"):
        os.utime(path, LONG_AGO)
    remove_unused_uploads(also_in_use=manifests_in_use)
    remove_leftover_directories()
    blobs = {path.name for path in home.glob("blobs/*/*/*")}
    return blobs, [*home.glob("uploads/*"), *home.glob("work/*/tmp*")]


def check_files(team: Team, home: Path, said: str) -> None:
    """Check that all that the registry has is stored whole, and nothing else."""
    expected: set[str] = set()
    for digest in manifests_in_use(team):
        entries = stored_manifest(store_for(team), digest).entries
        expected |= {digest, *(entry.digest for entry in entries)}
        for entry in entries:
            assert store_for(team).size(entry.digest) == entry.size, said
    assert stored_after_tidying_up(home) == (expected, []), said
    registered = AuditEntry.objects.filter(action="model.register").count()
    assert registered == ModelVersion.objects.count(), said
    for version in ModelVersion.objects.all():
        sizes = {entry.path: entry.size for entry in manifest_of(version).entries}
        assert sizes == {path: len(data) for path, data in model_files().items()}, said
        assert version.total_bytes == sum(sizes.values()), said
    for model in RegisteredModel.objects.all():
        assert model.last_version == model.versions.count() > 0, said


def register_upload(team: Team, by: User) -> ModelVersion:
    return register_from_archive(
        team=team,
        by=by,
        file=as_zip(model_files()),
        filename="m.zip",
        registration=Registration(name="digits"),
    )


def register_outputs(team: Team, by: User) -> ModelVersion:
    registration = Registration(name="digits")
    return register_from_run(by=by, run=Run.objects.get(), path="", registration=registration)


@pytest.mark.parametrize("register", [register_upload, register_outputs])
def test_a_registration_that_is_killed_at_any_point_makes_a_whole_version_or_none(
    team: Team, bob: User, home: Path, register: Callable[[Team, User], ModelVersion]
) -> None:
    put_outputs(make_run(team, bob, RunStatus.COMPLETED), model_files("outputs"))
    for points in every_cut(at_least=12):
        with transaction.atomic():
            do(points, partial(register, team, bob))
            said = f"killed at {points.where}"
            check_files(team, home, said)
            if not ModelVersion.objects.exists():
                assert register(team, bob).version == 1, said
                check_files(team, home, said)
            transaction.set_rollback(True)
        shutil.rmtree(home / "blobs", ignore_errors=True)


def test_an_import_whose_worker_is_killed_is_done_or_failed_as_its_version_is_there_or_not(
    team: Team, bob: User, home: Path
) -> None:
    def start() -> ModelImport:
        return keras_files.start_import(
            team=team,
            by=bob,
            file=io.BytesIO(as_zip({"config.json": b"{}"}).read()),
            filename="digits.keras",
            registration=Registration(name="digits", framework_version="2.21"),
            allows_code=False,
        )

    for points in every_cut(at_least=20):
        with transaction.atomic():
            do(points, start)
            said = f"killed at {points.where}"
            check_files(team, home, said)
            import_ = ModelImport.objects.first() or start()
            do(points, partial(import_keras_file, import_.pk))
            recover_abandoned()
            import_keras_file(import_.pk)  # the queue's job, again
            import_.refresh_from_db()
            version = ModelVersion.objects.first()
            assert import_.version == version, said
            assert import_.state == (JobState.DONE if version else JobState.FAILED), said
            assert bool(import_.error) == (version is None), said
            assert import_.step == "", said
            check_files(team, home, said)
            transaction.set_rollback(True)
        shutil.rmtree(home / "blobs", ignore_errors=True)


def test_a_conversion_whose_worker_is_killed_is_made_whole_when_it_is_asked_for_again(
    team: Team, bob: User, home: Path
) -> None:
    version = make_version(team, bob, framework_version="2.21")
    for points in every_cut(at_least=15):
        with transaction.atomic():
            do(points, lambda: request_onnx_conversion(version=version, by=bob))
            said = f"killed at {points.where}"
            for _ in range(2):
                made = request_onnx_conversion(version=version, by=bob)
                do(points, partial(convert_to_onnx, made.pk))
                recover_abandoned()
                check_files(team, home, said)
                made.refresh_from_db()
                if made.state == JobState.DONE:
                    break
                assert made.state == JobState.WAITING or made.error == execution.ABANDONED, said
            said = f"killed at {points.where}"
            assert made.state == JobState.DONE, said
            manifest = stored_manifest(store_for(team), made.manifest_digest)
            assert [entry.path for entry in manifest.entries] == [FILE], said
            assert (made.size_bytes, OnnxConversion.objects.count()) == (len(ONNX), 1), said
            check_files(team, home, said)
            transaction.set_rollback(True)
