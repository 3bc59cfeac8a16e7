import json

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from runs.models import Run, Snapshot
from tests.factories import make_target
from tests.runs.pages.new_run_form import PAGE, SCRIPT, fields, page, snapshot, value_of, words
from tests.runs.source.archive_builders import zip_of, zip_with
from tests.runs.source.test_snapshots import snapshot_of
from workspace.compute.access import ImageLogin
from workspace.environments.services import decrypted_login
from workspace.models import Team
from workspace.secrets.services import store_secret

__all__ = ["page", "snapshot"]

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.usefixtures("broker"),
]


def test_a_member_is_asked_for_files_first(page: Client):
    answer = page.get(PAGE)

    assert "Drop a folder here" in words(answer)


def test_a_viewer_may_not_and_a_stranger_finds_nothing(
    client: Client, team: Team, vera: User, charlie: User
):
    for person, status in ((vera, 403), (charlie, 404)):
        client.force_login(person)
        assert client.get(PAGE).status_code == status
        assert client.post(f"{PAGE}archive/").status_code == status
        assert client.post(f"{PAGE}preview/").status_code == status


def test_a_browser_without_javascript_sends_an_archive(page: Client, team: Team):
    make_target(team)
    archive = SimpleUploadedFile("a.zip", zip_of({"train.py": SCRIPT}))

    answer = page.post(f"{PAGE}archive/", {"source": archive}, follow=True)

    assert answer.redirect_chain == [(f"{PAGE}?snapshot={Snapshot.objects.get().digest}", 302)]
    assert value_of(answer, "entry_script") == "train.py"


def test_a_bad_archive_is_answered_on_the_page(page: Client):
    archive = SimpleUploadedFile("a.zip", zip_with((b"../a.py", SCRIPT)))

    answer = page.post(f"{PAGE}archive/", {"source": archive})

    assert answer.status_code == 400
    assert "../a.py: it has .. in it" in words(answer)
    assert "Choose a .zip or .tar.gz" in words(page.post(f"{PAGE}archive/"))


def test_the_form_offers_what_the_files_hold(page: Client, snapshot: Snapshot):
    answer = page.get(PAGE, {"snapshot": snapshot.digest, "name": "digits"})

    assert value_of(answer, "experiment") == "digits"
    assert value_of(answer, "entry_script") == "train.py"
    assert value_of(answer, "pip_requirements_file") == "requirements.txt"
    assert '<option value="lib/model.py">' in answer.content.decode()
    assert "CPUs" in words(answer)


def test_a_snapshot_of_another_team_is_not_found(page: Client):
    assert page.get(PAGE, {"snapshot": "0" * 64}).status_code == 404
    assert page.post(PAGE, {"snapshot": "0" * 64}).status_code == 404


def test_a_filled_in_form_submits_a_run(page: Client, snapshot: Snapshot):
    given = fields(
        snapshot,
        mode="parameter_server",
        worker_count="2",
        parameter_server_count="1",
        cluster_layout="chief",
        param_name=["--epochs", "--flag", ""],
        param_value=["3", "", ""],
        variable_name=["SEED"],
        variable_value=["7"],
        pip_packages="scikit-learn==1.7.0\n",
        max_hours="1",
        max_minutes="30",
        priority="5",
    )

    answer = page.post(PAGE, given)

    run = Run.objects.get()
    assert answer.status_code == 302
    assert answer["Location"] == f"/t/default/runs/{run.number}/"
    config = run.config
    assert dict(config["script_params"]) == {"--epochs": "3", "--flag": ""}
    assert config["environment_variables"] == {"SEED": "7"}
    assert config["distributed_training"]["chief"] is True
    assert config["distributed_training"]["worker_count"] == 2
    assert config["max_run_duration_seconds"] == 5400
    assert (config["priority"], config["pip_packages"]) == (5, ["scikit-learn==1.7.0"])


def test_a_form_that_is_sent_twice_makes_one_run(page: Client, snapshot: Snapshot):
    for _ in range(2):
        answer = page.post(PAGE, fields(snapshot))
        assert answer["Location"] == f"/t/default/runs/{Run.objects.get().number}/"


def test_a_form_that_is_gone_back_to_and_changed_makes_another_run(
    page: Client, snapshot: Snapshot
):
    page.post(PAGE, fields(snapshot))
    changed = fields(snapshot, experiment="letters")
    answer = page.post(PAGE, changed)
    assert answer.status_code == 409
    assert "on the page, submit again" in words(answer)
    page.post(PAGE, changed | {"idempotency_key": value_of(answer, "idempotency_key")})
    assert Run.objects.count() == 2


def test_a_run_gets_secrets_of_its_team_by_name(
    page: Client, team: Team, bob: User, snapshot: Snapshot
):
    store_secret(team=team, by=bob, name="aws-key", value="wJalrXUtnFEMI")
    given = fields(
        snapshot,
        secret_name=["AWS_KEY", "ACCOUNT", ""],
        secret_value=["aws-key", "gone", ""],
        secret_file=["", "account.json", ""],
    )

    offered = page.get(PAGE, {"snapshot": snapshot.digest}).text
    refused = page.post(PAGE, given)
    page.post(PAGE, given | {"secret_value": ["aws-key", "aws-key", ""]})

    assert '<option value="aws-key">' in offered
    assert refused.status_code == 422
    assert "The team has no secret 'gone'." in words(refused)
    rows = refused.context["form"].secrets
    assert [(row.name, row.value, row.file, bool(row.error)) for row in rows] == [
        ("AWS_KEY", "aws-key", "", False),
        ("ACCOUNT", "gone", "account.json", True),
    ]
    assert Run.objects.get().config["secrets"] == {
        "AWS_KEY": {"secret": "aws-key", "file": ""},
        "ACCOUNT": {"secret": "aws-key", "file": "account.json"},
    }
    assert "wJalrXUtnFEMI" not in offered + refused.text


def test_a_double_click_makes_one_run(page: Client, snapshot: Snapshot):
    first, second = (page.post(PAGE, fields(snapshot)) for _ in range(2))

    assert first["Location"] == second["Location"]
    assert Run.objects.count() == 1


def test_every_error_stands_beside_its_field_and_nothing_typed_is_lost(
    page: Client, snapshot: Snapshot
):
    given = fields(
        snapshot,
        experiment="",
        entry_script="nope.py",
        mode="multi_worker",
        worker_count="many",
        cpus_per_process="-1",
        max_hours="soon",
        variable_name=["TF_CONFIG", "GOOD"],
        variable_value=["x", "y"],
    )

    answer = page.post(PAGE, given)

    assert answer.status_code == 422
    assert not Run.objects.exists()
    errors = answer.context["form"].errors
    assert {"experiment", "entry_script", "worker_count", "cpus_per_process", "max_hours"} <= set(
        errors
    )
    said = words(answer)
    assert "experiment is required" in said
    assert "nope.py is not in the source directory" in said
    assert "TF_CONFIG is set by Trainyard" in said
    assert value_of(answer, "worker_count") == "many"


def test_a_value_without_a_name_and_a_name_given_twice_are_refused(
    page: Client, snapshot: Snapshot
):
    given = fields(
        snapshot,
        param_name=["", "--a", "--a"],
        param_value=["lost", "1", "2"],
    )

    answer = page.post(PAGE, given)

    assert answer.status_code == 422
    assert "Enter a name for this value." in words(answer)
    assert "This name is used twice." in words(answer)
    assert not Run.objects.exists()


def test_the_preview_shows_processes_roles_resources_and_tf_config(
    page: Client, snapshot: Snapshot
):
    given = fields(
        snapshot, mode="multi_worker", worker_count="2", cpus_per_process="0.5", memory_gb="0.25"
    )

    answer = page.post(f"{PAGE}preview/", given)

    said = words(answer)
    assert "worker-0" in said
    assert "worker-1" in said
    assert "0.5 CPUs and 0.25 GB memory" in said
    assert '"type": "worker"' in said
    assert not Run.objects.exists()


def test_the_preview_says_what_is_missing(page: Client, snapshot: Snapshot):
    answer = page.post(f"{PAGE}preview/", fields(snapshot, experiment=""))

    assert answer.status_code == 200
    assert "Not ready to submit yet" in words(answer)
    assert "experiment is required" in words(answer)


def test_what_the_preflight_refuses_may_be_submitted_all_the_same(
    page: Client, team: Team, snapshot: Snapshot
):
    broken = snapshot_of(team, {"train.py": b"def broken(:\n"})

    answer = page.post(PAGE, fields(broken))

    assert answer.status_code == 422
    assert "Submit anyway" in words(answer)
    assert "train.py:1" in words(answer)
    assert not Run.objects.exists()
    assert page.post(PAGE, fields(broken, force="on")).status_code == 302
    assert Run.objects.count() == 1


def test_mpi_is_chosen_by_nodes_and_ranks_and_shows_its_mpirun(
    page: Client, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("workspace.compute.local.machine.has_mpirun", lambda: True)
    given = fields(
        snapshot, mode="mpi", node_count="2", process_count_per_node="3", worker_count="2"
    )

    said = words(page.post(f"{PAGE}preview/", given))
    assert "launcher-0 no CPU or memory limit mpirun -np 6 --hostfile hosts" in said
    assert "TF_CONFIG" not in said

    assert page.post(PAGE, given).status_code == 302
    run = Run.objects.get()
    assert run.config["node_count"] == 2
    assert run.config["distributed_training"]["process_count_per_node"] == 3
    again = page.get(PAGE, {"from": str(run.number)})
    assert value_of(again, "node_count") == "2"
    assert value_of(again, "process_count_per_node") == "3"


def test_without_mpirun_on_this_machine_mpi_is_refused_with_how_to_install_it(
    page: Client, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("workspace.compute.local.machine.has_mpirun", lambda: False)

    answer = page.post(PAGE, fields(snapshot, mode="mpi", process_count_per_node="2"))

    assert answer.status_code == 422
    assert "apt-get install openmpi-bin" in words(answer)
    assert not Run.objects.exists()


def test_the_form_says_what_a_container_needs_and_never_shows_the_password_again(
    page: Client, team: Team, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("runs.submit_check.use_problem", lambda *of: "")
    monkeypatch.setattr("runs.submit_check._target_errors", lambda *of: [])
    make_target(team, "engine", kind="docker", address="unix:///nowhere.sock")
    given = {
        "snapshot": snapshot.digest,
        "experiment": "digits",
        "entry_script": "train.py",
        "compute_target": "engine",
        "custom_docker_image": "registry.example.com/mine:1",
        "image_username": "ana",
        "image_password": "open-sesame",
        "shm_size": "2g",
        "force": "on",
    }
    refused = page.post(PAGE, {**given, "image_username": "", "conda_packages": "ffmpeg"})
    assert "username is required" in words(refused)
    assert "put conda packages into the image" in words(refused)
    assert "open-sesame" not in refused.text

    answer = page.post(PAGE, given)
    assert answer.status_code == 302, words(answer)
    run = Run.objects.latest("number")
    assert run.config["custom_docker_image"] == "registry.example.com/mine:1"
    assert run.config["shm_size"] == "2g"
    assert decrypted_login(run.encrypted_image_login) == ImageLogin("ana", "open-sesame")
    assert "open-sesame" not in json.dumps(run.config) + run.encrypted_image_login
