"""The pages that find, change, compare, bring and delete versions."""

import json
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from models.imports.execution import job_home, recover_abandoned, remove_leftover_directories
from models.imports.keras_files import HDF5_MAGIC
from models.imports.sandbox import job_directory
from models.models import JobState, ModelImport, ModelVersion, OnnxConversion
from models.templatetags.registry import compared
from tests.models.registry import make_service, make_version
from tests.models.saved_models import as_zip, model_files
from workspace.models import AuditEntry, Team
from workspace.templatetags.ui import filesize

MODELS = "/t/default/models/"
PAGE = f"{MODELS}digits/versions/1/"


@pytest.fixture
def version(client: Client, team: Team, bob: User) -> ModelVersion:
    client.force_login(bob)
    graph = {"ops": ("ReadFile",)}
    return make_version(team, bob, graph=graph, tags={"seed": "7"}, properties={"data": "v1"})


def text_of(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_page_tells_scan_properties_and_digest(client: Client, version: ModelVersion) -> None:
    shown = text_of(client, PAGE)
    assert "It reads files of the server when it loads or answers: ReadFile." in shown
    assert "<dt>data</dt><dd>v1</dd>" in shown
    assert version.manifest_digest in shown


def test_stage_description_and_tags_are_changed_on_the_page(
    client: Client, team: Team, bob: User, version: ModelVersion
) -> None:
    make_version(team, bob, stage="production")
    changes = {
        "stage": "production",
        "archive_others": "on",
        "description": "Now the one.",
        "tags": "kind: image",
    }
    assert client.post(f"{PAGE}change/", changes)["Location"] == PAGE
    version.refresh_from_db()
    assert (version.stage, version.description) == ("production", "Now the one.")
    assert version.tags == {"kind": "image"}
    assert ModelVersion.objects.get(version=2).stage == "archived"
    assert "Archived" in text_of(client, f"{MODELS}digits/")
    refused = client.post(f"{PAGE}change/", {"stage": "live"})
    assert refused.status_code == 422
    assert "stage" in refused.context["change_form"].errors


def test_an_alias_is_given_and_removed_on_the_page(client: Client, version: ModelVersion) -> None:
    client.post(f"{PAGE}alias/", {"alias": "champion"})
    assert "digits@champion" in text_of(client, PAGE)
    assert "@champion" in text_of(client, f"{MODELS}digits/")
    assert client.post(f"{PAGE}alias/", {"alias": "no way"}).status_code == 422
    client.post(f"{MODELS}digits/aliases/champion/remove/")
    assert "None. An alias names" in text_of(client, PAGE)


def test_sizes_are_compared_in_the_units_of_all_pages() -> None:
    assert compared(1_500_000, "bytes") == filesize(1_500_000)


def test_two_versions_are_compared_on_a_page(
    client: Client, team: Team, bob: User, version: ModelVersion
) -> None:
    make_version(team, bob, graph={"inputs": {"x": (1, [-1, 9])}})
    assert "Compare version" in text_of(client, f"{MODELS}digits/")
    shown = text_of(client, f"{MODELS}digits/compare/?a=1&b=2")
    assert "float32, any x 4" in shown
    assert "float32, any x 9" in shown
    assert "differs" in shown
    assert client.get(f"{MODELS}digits/compare/?a=1").status_code == 404


def test_models_are_searched_on_the_page(
    client: Client, team: Team, bob: User, version: ModelVersion
) -> None:
    make_version(team, bob, "cats")
    shown = text_of(client, f"{MODELS}?tag=seed")
    assert "/models/digits/" in shown
    assert "/models/cats/" not in shown
    assert "No models match" in text_of(client, f"{MODELS}?q=horses")
    assert "Use one of none" in text_of(client, f"{MODELS}?stage=live")


def test_a_version_is_deleted_on_its_page_once_no_service_uses_it(
    client: Client, version: ModelVersion
) -> None:
    service = make_service(version)
    assert "Can't be deleted while scorer uses it" in text_of(client, PAGE)
    assert client.post(f"{PAGE}delete/")["Location"] == PAGE
    assert client.post(f"{MODELS}digits/delete/")["Location"] == f"{MODELS}digits/"
    service.delete()
    assert client.post(f"{PAGE}delete/")["Location"] == MODELS
    assert client.get(PAGE).status_code == 404
    assert "No models yet" in text_of(client, MODELS)
    assert AuditEntry.objects.filter(action="model.delete").count() == 1


def test_a_folder_is_registered_with_the_paths_that_the_page_sends(
    client: Client, team: Team, bob: User
) -> None:
    client.force_login(bob)

    def send(paths: object) -> object:
        files = [
            SimpleUploadedFile(path.rpartition("/")[2], content)
            for path, content in model_files("cats").items()
        ]
        fields = {"name": "cats", "folder": files, "folder_paths": json.dumps(paths)}
        return client.post(f"{MODELS}register/", fields)

    paths = list(model_files("cats"))
    for wrong in ([], paths[:1], ["../x", *paths[1:]], [1, 2, 3], None):
        answer = send(wrong)
        assert answer.status_code == 422  # type: ignore[attr-defined]
        assert not ModelVersion.objects.exists()
    assert send(paths)["Location"] == f"{MODELS}cats/versions/1/"  # type: ignore[index]
    assert ModelVersion.objects.get().file_count == 3


def test_nothing_chosen_is_said_beside_the_field(client: Client, team: Team, bob: User) -> None:
    client.force_login(bob)
    answer = client.post(f"{MODELS}register/", {"name": "cats"})
    assert answer.context["form"].errors["archive"] == ["Choose a file or a folder."]


def test_a_keras_file_is_followed_on_a_page_of_its_own(
    client: Client, team: Team, bob: User
) -> None:
    client.force_login(bob)
    file = SimpleUploadedFile("digits.keras", as_zip({"config.json": b"{}"}).read())
    answer = client.post(f"{MODELS}register/", {"name": "digits", "archive": file})
    page = "/t/default/model-imports/1/"
    assert answer["Location"] == page
    assert "Queued." in text_of(client, page)
    assert "is being imported into digits" in text_of(client, MODELS)
    assert not ModelVersion.objects.exists()
    brought = ModelImport.objects.get()
    ModelImport.objects.update(state=JobState.FAILED, error="It has a Lambda layer.")
    job_home(brought).mkdir(parents=True)
    (job_home(brought) / "log").write_text("It was <saved> with Keras 3.")
    shown = text_of(client, page)
    assert "It has a Lambda layer." in shown
    assert "It was &lt;saved&gt; with Keras 3." in shown


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("m.keras", b"PK\3\4 and no more", "is damaged or was cut short"),
        ("m.h5", b"not HDF", "does not begin as one: it is damaged"),
        ("m.h5", b"", "empty"),
        ("m.keras", HDF5_MAGIC, "is an HDF5 file: rename it so that it ends in .h5"),
        ("m.KERAS", as_zip({"config.json": b"{}"}).read(), "in lowercase letters"),
    ],
)
def test_half_a_keras_file_is_refused_at_once(
    client: Client, team: Team, bob: User, name: str, content: bytes, words: str
) -> None:
    client.force_login(bob)
    file = SimpleUploadedFile(name, content)
    answer = client.post(f"{MODELS}register/", {"name": "m", "archive": file})
    assert answer.status_code == 422
    assert words in answer.context["form"].errors["archive"][0]
    assert not ModelImport.objects.exists()


def test_a_conversion_is_asked_for_and_followed_on_the_page(
    client: Client, version: ModelVersion
) -> None:
    assert "Convert to ONNX" in text_of(client, PAGE)
    client.post(f"{PAGE}convert/")
    client.post(f"{PAGE}convert/")
    assert "Queued." in text_of(client, f"{PAGE}onnx/")
    parity = {
        "signature": "serving_default",
        "rows": 4,
        "is_close": True,
        "outputs": {"y": {"absolute": 1.5e-7, "relative": 2.5e-6, "is_close": True}},
    }
    OnnxConversion.objects.update(state=JobState.DONE, parity=parity, opset=18, size_bytes=1000)
    shown = text_of(client, f"{PAGE}onnx/")
    assert "Outputs match the SavedModel" in shown
    assert "1.5e-07" in shown
    assert "opset 18" in shown


def test_work_whose_worker_died_fails_in_words(
    client: Client, version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.post(f"{PAGE}convert/")
    OnnxConversion.objects.update(state=JobState.RUNNING, heartbeat_at="2026-01-01T00:00:00Z")
    monkeypatch.setattr("workspace.platform.background_jobs.HEARTBEAT_TIMEOUT", timedelta(0))
    with job_directory(OnnxConversion.objects.get()) as directory:
        (directory.source / "weights").write_bytes(b"w")
        recover_abandoned()
        assert not directory.source.parent.exists()
    assert OnnxConversion.objects.get().state == JobState.FAILED
    assert "The worker stopped before the job finished." in text_of(client, f"{PAGE}onnx/")
    client.post(f"{PAGE}convert/")
    assert OnnxConversion.objects.get().state == JobState.WAITING


def test_what_dead_workers_left_goes_and_what_is_in_use_stays(
    client: Client, version: ModelVersion
) -> None:
    client.post(f"{PAGE}convert/")
    work = OnnxConversion.objects.get()
    with job_directory(work) as directory:
        log = job_home(work) / "log"
        log.write_text("Converting")
        OnnxConversion.objects.update(state=JobState.RUNNING)
        remove_leftover_directories()
        assert directory.source.exists()
        OnnxConversion.objects.update(state=JobState.FAILED)
        remove_leftover_directories()
        assert not directory.source.parent.exists()
        assert log.exists()


def test_viewers_see_no_way_to_change_and_have_none(
    client: Client, vera: User, version: ModelVersion
) -> None:
    client.force_login(vera)
    shown = text_of(client, PAGE)
    for words in ("Change stage", "Add alias", "Convert to ONNX", "Delete this version"):
        assert words not in shown
    for path in ("change/", "alias/", "convert/", "delete/"):
        assert client.post(PAGE + path).status_code == 403
    assert client.post(f"{MODELS}digits/delete/").status_code == 403
