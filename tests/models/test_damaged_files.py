"""Files that were damaged after they were registered, and uploads that are not what they seem."""

import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import Settings

from deploy.models import Replica
from deploy.supervision.model_source import model_tar
from models.files import FilesDamaged
from models.models import JobState, ModelVersion, OnnxConversion
from models.selectors import manifest_of, manifests_in_use, missing_files
from runs.files.folders import run_folder
from runs.models import ProcessGroup, Run, RunFile
from runs.source.blobs import store_for
from runs.source.cleanup import remove_unused_uploads
from tests.factories import bearer, make_process, make_run
from tests.models.api.test_registration import MODELS, register, upload
from tests.models.registry import make_service, make_version
from tests.models.saved_models import as_tar_gz, as_zip, model_files, put_outputs
from workspace.models import Team

DOWNLOAD = f"{MODELS}/digits/versions/1/download"


def spoil(version: ModelVersion, name: str) -> str:
    """Change a stored file as a failing disk does, its size kept; return its digest."""
    entry = next(entry for entry in manifest_of(version).entries if entry.path == name)
    place = store_for(version.model.team).path(entry.digest)
    place.write_bytes(bytes(byte ^ 1 for byte in place.read_bytes()))
    return entry.digest


@pytest.fixture
def spoiled(team: Team, bob: User) -> tuple[ModelVersion, str]:
    version = make_version(team, bob)
    return version, spoil(version, "variables/variables.data-00000-of-00001")


@pytest.mark.parametrize("format", ["tar.gz", "zip"])
def test_a_damaged_file_is_named_and_nothing_of_the_version_is_sent(
    client: Client, bob: User, spoiled: tuple[ModelVersion, str], format: str
) -> None:
    answer = client.get(f"{DOWNLOAD}?format={format}", headers=bearer(bob))
    assert answer.status_code == 409
    said = answer.json()["detail"]
    assert "variables/variables.data-00000-of-00001 of digits:1 is damaged in the storage" in said
    assert spoiled[1] in said


def test_a_lost_file_is_named(client: Client, team: Team, bob: User) -> None:
    version = make_version(team, bob)
    store_for(team).path(manifest_of(version).entries[0].digest).unlink()
    answer = client.get(DOWNLOAD, headers=bearer(bob))
    assert answer.status_code == 409
    assert "saved_model.pb of digits:1 is missing from the storage" in answer.json()["detail"]


@pytest.mark.parametrize("content", [b"", b'{"version":1,"files":[]}'])
def test_a_damaged_list_of_files_is_told_and_stops_no_sweep(
    client: Client, team: Team, bob: User, home: Path, content: bytes
) -> None:
    version = make_version(team, bob)
    entries = manifest_of(version).entries
    store_for(team).path(version.manifest_digest).write_bytes(content)
    for path in home.rglob("*"):
        if path.is_file():
            os.utime(path, (1_000_000_000, 1_000_000_000))
    remove_unused_uploads(also_in_use=manifests_in_use)
    assert all(store_for(team).size(entry.digest) is not None for entry in entries)
    words = "The list of digits:1's files is damaged in the storage."
    for address in (DOWNLOAD, f"{MODELS}/digits/versions/1"):
        answer = client.get(address, headers=bearer(bob))
        assert answer.status_code == 409
        assert words in answer.json()["detail"]
    change = client.patch(
        f"{MODELS}/digits/versions/1",
        '{"stage": "production"}',
        content_type="application/json",
        headers=bearer(bob),
    )
    assert change.status_code == 409
    assert ModelVersion.objects.get().stage != "production"
    assert missing_files(version) == ["The list of files"]
    client.force_login(bob)
    assert client.get("/t/default/models/digits/versions/1/").status_code == 409


@pytest.mark.parametrize("content", [None, b"{}"])
def test_a_conversion_whose_list_of_files_is_gone_or_damaged_can_be_made_again(
    client: Client, team: Team, bob: User, content: bytes | None
) -> None:
    version = make_version(team, bob)
    digest = "0" * 64
    OnnxConversion.objects.create(version=version, state=JobState.DONE, manifest_digest=digest)
    if content is not None:
        place = store_for(team).path(digest)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    onnx = f"{MODELS}/digits/versions/1/onnx"
    answer = client.get(f"{onnx}/download", headers=bearer(bob))
    assert answer.status_code == 409
    assert "The ONNX file of digits:1 is missing from the storage, or damaged" in answer.text
    assert client.post(onnx, headers=bearer(bob)).json()["state"] == "waiting"


def test_no_replica_gets_a_damaged_file(spoiled: tuple[ModelVersion, str]) -> None:
    service = make_service(spoiled[0])
    group = ProcessGroup.objects.create(
        label="service-1-0", team=service.team, target=service.target
    )
    Replica.objects.create(revision=service.revisions.get(), number=0, group=group)
    with pytest.raises(FilesDamaged, match="is damaged in the storage"):
        model_tar(make_process(group, "server"))


def test_a_download_tells_the_digest_of_what_it_holds(
    client: Client, team: Team, bob: User
) -> None:
    version = make_version(team, bob)
    answer = client.get(DOWNLOAD, headers=bearer(bob))
    assert answer["X-Content-Digest"] == version.manifest_digest
    content = b"".join(answer.streaming_content)  # type: ignore[attr-defined]
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for entry in manifest_of(version).entries:
            member = archive.extractfile(f"1/{entry.path}")
            assert member is not None
            assert hashlib.sha256(member.read()).hexdigest() == entry.digest


def test_an_upload_is_held_against_the_digest_that_is_sent_with_it(
    client: Client, team: Team, bob: User
) -> None:
    content = as_zip(model_files()).read()
    good = hashlib.sha256(content).hexdigest()
    refused = upload(client, bob, content, sha256="0" * 64)
    assert refused.json()["errors"][0]["field"] == "sha256"
    assert f"arrived with the SHA-256 {good}" in refused.json()["detail"]
    assert upload(client, bob, content, sha256=good).status_code == 201


@pytest.mark.parametrize(("pack", "name"), [(as_zip, "m.zip"), (as_tar_gz, "m.tar.gz")])
def test_a_half_written_archive_is_refused(
    client: Client, bob: User, pack: Callable[[Any], io.BytesIO], name: str
) -> None:
    content = pack({**model_files(), "assets/noise": bytes(range(256)) * 64}).read()
    answer = upload(client, bob, content[: len(content) // 2], name)
    assert answer.status_code == 400
    assert "The archive cannot be used" in answer.json()["detail"]
    assert not ModelVersion.objects.exists()


@pytest.mark.slow
def test_an_archive_of_zeros_is_refused_before_it_is_unpacked(client: Client, bob: User) -> None:
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("saved_model.pb", "w", force_zip64=True) as file,
    ):
        for _ in range(256):
            file.write(bytes(2**20))
    answer = upload(client, bob, packed.getvalue())
    assert answer.status_code == 413
    assert "as only a zip bomb does" in answer.json()["detail"]


def test_a_model_larger_than_allowed_is_refused(
    client: Client, bob: User, settings: Settings
) -> None:
    settings.TRAINYARD_MODEL_MAX_BYTES = 100
    answer = upload(client, bob, as_zip(model_files()).read())
    assert answer.status_code == 413
    assert "unpacks to more than 100 bytes" in answer.json()["detail"]
    files = model_files("m")
    client.force_login(bob)
    sent = [SimpleUploadedFile("f", content) for content in files.values()]
    page = client.post(
        "/t/default/models/register/",
        {"name": "m", "folder": sent, "folder_paths": str(list(files)).replace("'", '"')},
    )
    assert "larger than the 100 bytes" in page.context["form"].errors["archive"][0]


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("saved_model.pb", 413, "over 2 GiB, more than TensorFlow can load"),
        ("variables/variables.index", 413, "far larger than that of any model"),
    ],
)
def test_five_gigabytes_of_zeros_are_refused_unread(
    client: Client, bob: User, run_with_model: Run, name: str, status: int, words: str
) -> None:
    size = 5 * 2**30
    with (run_folder(run_with_model.pk) / "outputs/m" / name).open("r+b") as file:
        file.truncate(0)
        file.truncate(size)  # sparse: it takes no room
    RunFile.objects.filter(path=f"outputs/m/{name}").update(size_bytes=size)
    answer = register(client, bob, {"run": run_with_model.number, "path": "m", "name": "m"})
    assert answer.status_code == status
    assert words in answer.json()["detail"]


@pytest.fixture
def run_with_model(team: Team, bob: User) -> Run:
    run = make_run(team, bob)
    put_outputs(run, model_files("outputs/m"))
    return run
