"""A package of one's own that an ignore rule leaves out is named, and no stranger's is advised."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from runs.models import Snapshot
from runs.preflight.findings import PreflightFinding
from runs.supervision.error_hints import error_hint_of
from tests.factories import make_target
from tests.reports.ways_in import Submit
from tests.runs.preflight.preflight_checks import findings_of
from tests.runs.source.test_uploads import Browser, batch, manifest
from workspace.models import Team

TEMPLATE = b"__pycache__/\n*.py[cod]\nbuild/\ndist/\ndownloads/\nlib/\nvar/\n*.log\n"
FILES = {
    "train.py": b"from lib.net import build\n",
    "lib/__init__.py": b"",
    "lib/net.py": b"def build(): pass\n",
    ".gitignore": TEMPLATE,
}
MESSAGE = (
    "train.py:1 imports lib/net.py, which is there but is left out by .gitignore line 6: lib/."
)


@pytest.mark.django_db
def test_a7_a_run_by_rest_is_warned_with_the_rule_and_the_way_out(submit: Submit):
    (warning,) = submit(FILES)["warnings"]

    assert warning["message"] == MESSAGE
    assert "Add !lib/ to .gitignore" in warning["remedy"]
    assert ".amlignore" in warning["remedy"]
    assert "pip_packages" not in json.dumps(warning)


@pytest.mark.django_db
def test_a7_the_way_out_is_one(submit: Submit):
    assert submit({**FILES, ".gitignore": TEMPLATE + b"!lib/\n"})["warnings"] == []
    assert submit({**FILES, ".amlignore": b"*.log\n"})["warnings"] == []


@pytest.mark.django_db
def test_a7_a_folder_on_the_page_is_warned_of_on_the_form(
    bob: User, team: Team, client: Client, broker: object
):
    make_target(team)
    browser = Browser(bob, team)
    listed = manifest(FILES)
    plan = browser.post(
        "plan", {"files": listed, "ignore": {"name": ".gitignore", "text": TEMPLATE.decode()}}
    )
    kept = [file for file in listed if file["path"] in {each["path"] for each in plan["kept"]}]
    browser.send("blobs", batch(kept, *(FILES[file["path"]] for file in kept)))
    digest = browser.post("snapshots", {"files": kept, "ignored": plan["ignored_sources"]}, 201)[
        "digest"
    ]
    client.force_login(bob)

    answer = client.post(
        f"/t/{team.slug}/runs/new/preview/",
        {
            "snapshot": digest,
            "experiment": "digits",
            "entry_script": "train.py",
            "compute_target": "local",
            "framework_version": "2.21",
            "mode": "single",
        },
    )

    assert MESSAGE in answer.content.decode()
    assert "Add lib to" not in answer.content.decode()


@pytest.mark.django_db
def test_a7_the_same_files_are_the_same_snapshot_with_what_the_latest_upload_left_out(
    bob: User, team: Team
):
    browser = Browser(bob, team)
    ignored = [{"path": "lib/net.py", "rule": ".gitignore line 6: lib/"}]
    browser.upload({"train.py": b"import lib.net\n"})
    files = {"files": manifest({"train.py": b"import lib.net\n"})}

    browser.post("snapshots", {**files, "ignored": ignored}, 201)
    browser.post("snapshots", files, 201)

    assert Snapshot.objects.get().ignored_files == [["lib/net.py", ".gitignore line 6: lib/"]]
    browser.post("snapshots", {**files, "ignored": []}, 201)
    assert Snapshot.objects.get().ignored_files == []


@pytest.mark.django_db
def test_a7_a_file_that_the_configuration_names_is_told_to_be_left_out(submit: Submit):
    files = {**FILES, "run.py": b"", "requirements.txt": b"tqdm\n", ".gitignore": b"r*.*\n"}

    answer = submit(files, 400, entry_script="run.py", pip_requirements_file="requirements.txt")

    said = {error["field"]: error["message"] for error in answer["errors"]}
    assert "run.py is left out by .gitignore line 1: r*.*." in said["entry_script"]
    assert "requirements.txt is left out by" in said["pip_requirements_file"]


def told(files: Mapping[str, str], *ignored: str, **config: Any) -> list[PreflightFinding]:
    rules = dict.fromkeys(ignored, ".gitignore line 1: x")
    return findings_of(files, ignored_files=rules, **config)


@pytest.mark.parametrize(
    ("files", "ignored"),
    [
        ({"train.py": "import data.loader\n", "data/__init__.py": ""}, "data/loader.py"),
        ({"train.py": "from data import loader\n", "data/a.py": ""}, "data/loader.py"),
        ({"train.py": "import data.loader as d\n"}, "data/loader/__init__.py"),
        ({"train.py": "import loader\n"}, "loader.py"),
        (
            {"train.py": "import a.b\n", "a/__init__.py": "", "a/b.py": "from .c import d\n"},
            "a/c.py",
        ),
    ],
)
def test_a7_every_way_to_import_a_file_that_is_left_out_is_seen(
    files: dict[str, str], ignored: str
):
    (finding,) = told(files, ignored)

    assert (finding.level, finding.code) == ("warn", "module-ignored")
    assert ignored in finding.message


@pytest.mark.parametrize(
    ("files", "ignored", "more"),
    [
        ({"train.py": "import yaml\n"}, "yaml.py", {"pip_packages": ["pyyaml"]}),
        ({"train.py": "import json\n"}, "json/__init__.py", {}),
        ({"train.py": "import numpy\n"}, "numpy/__init__.py", {}),
        ({"train.py": "import lib\n", "lib.py": ""}, "lib/__init__.py", {}),
        ({"train.py": "print()\n"}, "lib.py", {}),
        ({"train.py": "try:\n    import lib\nexcept ImportError:\n    pass\n"}, "lib.py", {}),
    ],
)
def test_a7_what_the_program_finds_elsewhere_or_can_do_without_is_not_warned_of(
    files: dict[str, str], ignored: str, more: dict[str, Any]
):
    assert told(files, ignored, **more) == []


def test_a7_a_failure_names_the_rule_and_advises_no_package():
    lines = ["ModuleNotFoundError: No module named 'lib.net'"]

    hint = error_hint_of(lines, ignored_files={"lib/net.py": ".gitignore line 6: lib/"})
    other = error_hint_of(lines, ignored_files={"planet.py": ".gitignore line 6: lib/"})

    assert hint
    assert "lib/net.py was left out of the upload by .gitignore line 6: lib/" in hint.title
    assert "Add !lib/" in hint.remedy
    assert other
    assert "pip_packages" in other.remedy
