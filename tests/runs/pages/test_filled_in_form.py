"""How the form of a new run is filled in: from a run, from other files, from a run.json."""

import json

import pytest
from django.contrib.auth.models import User
from django.test import Client

from runs.config import RunConfig, parse
from runs.models import Run, Snapshot
from tests.factories import make_run, make_target
from tests.runs.pages.new_run_form import PAGE, SCRIPT, page, snapshot, value_of, words
from tests.runs.source.test_snapshots import snapshot_of
from workspace.models import Team
from workspace.secrets.services import store_secret

__all__ = ["page", "snapshot"]

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.usefixtures("broker"),
]

CONFIG = {
    "experiment": "digits",
    "entry_script": "lib/model.py",
    "compute_target": "local",
    "framework_version": "2.15",
    "script_params": {"--epochs": 3, "--sizes": [64, "32"], "--flag": None, "--name": "ü <b>"},
    "distributed_training": {
        "type": "parameter_server",
        "worker_count": 3,
        "parameter_server_count": 2,
        "chief": True,
        "evaluator": True,
    },
    "cpus_per_process": 0.01,
    "memory_gb": 0.01,
    "pip_packages": ["rich==14.0.0", "tqdm"],
    "pip_requirements_file": "requirements.txt",
    "environment_variables": {"SEED": "7"},
    "max_run_duration_seconds": 5400,
    "priority": -3,
}


def test_submitting_again_fills_in_the_form_and_means_the_same(
    page: Client, team: Team, bob: User, snapshot: Snapshot
):
    store_secret(team=team, by=bob, name="gcp", value="of-the-account")
    before = parse(CONFIG | {"secrets": {"ACCOUNT": {"secret": "gcp", "file": "a.json"}}})
    run = make_run(team, bob, snapshot=snapshot, config=json.loads(json.dumps(before.to_row())))

    answer = page.get(PAGE, {"from": run.number})
    form = answer.context["form"]
    again = {name: form[name].value() or "" for name in form.fields}
    again |= {
        "snapshot": snapshot.digest,
        "param_name": [row.name for row in form.params],
        "param_value": [row.value for row in form.params],
        "param_kind": [row.kind for row in form.params],
        "variable_name": [row.name for row in form.variables],
        "variable_value": [row.value for row in form.variables],
        "secret_name": [row.name for row in form.secrets],
        "secret_value": [row.value for row in form.secrets],
        "secret_file": [row.file for row in form.secrets],
        "force": "on",
    }
    answer = page.post(f"{PAGE}?from={run.number}", again)

    assert answer.status_code == 302, words(answer)
    after = Run.objects.latest("number")
    assert after.number != run.number
    assert RunConfig.from_row(after.config).arguments() == before.arguments()
    for name in set(before.to_json()) - {"script_params"}:
        assert after.config[name] == json.loads(json.dumps(before.to_json()))[name], name


def test_other_files_may_be_brought_for_a_run_again(
    page: Client, team: Team, bob: User, snapshot: Snapshot
):
    run = make_run(team, bob, snapshot=snapshot, config=parse(CONFIG).to_row())

    answer = page.get(PAGE, {"from": str(run.number), "upload": "1"})

    assert "Drop a folder here" in words(answer)
    assert f'data-next="{PAGE}?from={run.number}"' in answer.content.decode()


def test_names_that_look_like_markup_are_only_text(page: Client, team: Team):
    make_target(team)
    odd = snapshot_of(team, {"<img src=x onerror=alert(1)>.py": SCRIPT})

    answer = page.get(PAGE, {"snapshot": odd.digest, "name": '"><script>alert(1)</script>'})

    assert b"<img src=x" not in answer.content
    assert b"<script>alert" not in answer.content


def test_a_run_json_among_the_files_fills_in_the_form(page: Client, team: Team):
    make_target(team)
    config = {
        "$schema": "http://127.0.0.1:8000/api/v1/schemas/run.json",
        "experiment": "from-the-file",
        "entry_script": "train.py",
        "distributed_training": {"type": "multi_worker", "worker_count": 3},
        "script_params": {"--epochs": 7},
    }
    files = {"train.py": SCRIPT, "run.json": json.dumps(config).encode()}

    answer = page.get(PAGE, {"snapshot": snapshot_of(team, files).digest})

    assert value_of(answer, "experiment") == "from-the-file"
    assert value_of(answer, "worker_count") == "3"
    assert value_of(answer, "param_name") == "--epochs"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "It is not JSON"),
        (b"\xff", "It is not JSON"),
        (b"[" * 90_000, "It is not JSON"),
        (b'{"experiment": 3, "entry_script": "train.py"}', "experiment"),
        (b" " * 200_000, "at most 100,000 are read"),
    ],
    ids=["cut", "bytes", "deep", "refused", "long"],
)
def test_a_run_json_that_cannot_be_used_is_named_and_the_form_guesses(
    page: Client, team: Team, content: bytes, why: str
):
    make_target(team)
    files = {"train.py": SCRIPT, "run.json": content}

    answer = page.get(PAGE, {"snapshot": snapshot_of(team, files).digest})

    assert "run.json could not be used" in words(answer)
    assert why in words(answer)
    assert value_of(answer, "entry_script") == "train.py"
