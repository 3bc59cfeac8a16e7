"""The pages of the registry."""

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from models.models import ModelVersion
from runs.models import Run
from tests.factories import make_run
from tests.models.saved_models import as_zip, model_files, put_outputs
from workspace.models import Team

MODELS = "/t/default/models/"


@pytest.fixture
def run(team: Team, bob: User) -> Run:
    run = make_run(team, bob)
    put_outputs(run, model_files("outputs/digits/1") | model_files("outputs/cats"))
    return run


def test_a_model_of_a_run_is_registered_on_the_page(client: Client, bob: User, run: Run) -> None:
    client.force_login(bob)
    page = client.get(f"{MODELS}register/?run={run.number}&path=outputs/digits/1")
    assert page.status_code == 200
    assert page.context["form"].initial == {"path": "outputs/digits/1", "name": "digits"}
    answer = client.post(
        f"{MODELS}register/?run={run.number}",
        {
            "path": "outputs/digits/1",
            "name": "digits",
            "tags": "stage: test\nseed: 7",
            "memory_in_gb": "0.5",
        },
    )
    assert answer["Location"] == f"{MODELS}digits/versions/1/"
    version = ModelVersion.objects.get()
    assert version.tags == {"stage": "test", "seed": "7"}
    assert version.resource_configuration == {"memory_in_gb": 0.5}
    shown = client.get(answer["Location"]).content.decode()
    for text in ("serving_default", "float32", "any x 4", "saved_model.pb", f"run {run.number}"):
        assert text in shown
    assert "digits" in client.get(MODELS).content.decode()
    assert "stage: test" in client.get(f"{MODELS}digits/").content.decode()


def test_an_archive_is_registered_on_the_page(client: Client, bob: User, team: Team) -> None:
    client.force_login(bob)
    archive = SimpleUploadedFile("m.zip", as_zip(model_files()).read())
    answer = client.post(f"{MODELS}register/", {"name": "m", "archive": archive})
    assert answer.status_code == 302
    assert ModelVersion.objects.get().framework_version == "2.21.0"


def test_what_is_wrong_stands_beside_its_field(client: Client, bob: User, team: Team) -> None:
    client.force_login(bob)
    archive = SimpleUploadedFile("m.zip", as_zip({"model.keras": b"x"}).read())
    answer = client.post(f"{MODELS}register/", {"name": "m", "archive": archive})
    assert answer.status_code == 422
    assert "a Keras archive" in answer.context["form"].errors["archive"][0]
    archive.seek(0)
    answer = client.post(f"{MODELS}register/", {"name": "no way", "archive": archive, "cpu": "-1"})
    assert set(answer.context["form"].errors) == {"name", "cpu"}


def test_a_run_without_a_model_says_how_to_leave_one(client: Client, bob: User, team: Team) -> None:
    client.force_login(bob)
    run = make_run(team, bob)
    page = client.get(f"{MODELS}register/?run={run.number}").content.decode()
    assert "No SavedModel in the outputs" in page


def test_what_people_wrote_is_escaped(client: Client, bob: User, run: Run) -> None:
    client.force_login(bob)
    client.post(
        f"{MODELS}register/?run={run.number}",
        {"path": "outputs/cats", "name": "cats", "tags": "<b>: <script>", "description": "<i>"},
    )
    shown = client.get(f"{MODELS}cats/versions/1/").content.decode()
    assert "<script>alert" not in shown
    assert "<b>: <script>" not in shown
    assert "&lt;b&gt;: &lt;script&gt;" in shown


def test_pages_are_for_the_team_and_registering_for_its_members(
    client: Client, bob: User, vera: User, charlie: User, run: Run
) -> None:
    client.force_login(bob)
    client.post(f"{MODELS}register/?run={run.number}", {"path": "outputs/cats", "name": "cats"})
    pages = ("", "cats/", "cats/versions/1/")
    client.force_login(vera)
    assert [client.get(MODELS + page).status_code for page in pages] == [200, 200, 200]
    assert client.get(f"{MODELS}register/").status_code == 403
    assert client.get(f"{MODELS}dogs/").status_code == 404
    client.force_login(charlie)
    assert {client.get(MODELS + page).status_code for page in (*pages, "register/")} == {404}
