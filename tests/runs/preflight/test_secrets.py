"""What looks like a secret is warned of, on every way in, with the way out."""

import json

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from runs.config_fields import HIDDEN, looks_secret
from runs.models import Run
from tests.factories import bearer, make_target
from tests.runs.preflight.preflight_checks import codes_of, findings_of
from tests.runs.source.archive_builders import tar_gz_of, zip_of
from workspace.models import Team

RUNS = "/api/v1/teams/default/runs"
SCRIPT = b"print('hello')\n"
SOURCE = {"train.py": SCRIPT, ".env": b"A=1\n", "keys/id_rsa": b"key\n", "lib.py": SCRIPT}
SECRETIVE = {"AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI", "DATABASE": "postgres://bob:pw@db/x"}


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY",
        "API_KEY",
        "APIKEY",
        "WANDB_API_KEY",
        "HF_TOKEN",
        "token",
        "--password",
        "--api-key",
        "DB_PASSWD",
        "SSH_PASSPHRASE",
        "GOOGLE_CREDENTIALS",
        "SECRET",
        "MySecret",
        "AWSSECRETKEY",
    ],
)
def test_names_that_say_secret(name: str) -> None:
    assert looks_secret(name, "some-value")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKENIZERS_PARALLELISM", "false"),
        ("MAX_TOKENS", "512"),
        ("KEYBOARD", "de"),
        ("MONKEY", "yes"),
        ("PASSENGERS", "3"),
        ("BYPASS_CACHE", "1"),
        ("TF_CPP_MIN_LOG_LEVEL", "2"),
        ("COMPASS", "north"),
        ("API_KEY", ""),
        ("--token", 5),
        ("--secret", None),
        ("URL", "https://example.com:443/a@b"),
        ("label_key", "category"),
        ("sort_key", "accuracy"),
        ("primary_key", "customer_id"),
        ("primary_key", "transactions_of_2024"),
        ("--monitor-key", "val_loss"),
        ("--feature-keys", ["age", "income"]),
        ("KEY", "accuracy"),
        ("pad_token", "<|endoftext|>"),
        ("--eos-token", "endoftext"),
        ("separator_token", "[SEP]"),
        ("--token-type", "wordpiece"),
        ("--token", "<s>"),
    ],
)
def test_names_that_do_not(name: str, value: object) -> None:
    assert not looks_secret(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LICENSE_KEY", "b5f1c0a94ad3417e8f0e"),
        ("--key", "sk-proj-Zk3vQ8sLw2Xn7Tb1Rd5h"),
        ("token_of_bob", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
    ],
)
def test_what_may_be_a_key_or_token_is_one_where_its_value_looks_random(
    name: str, value: str
) -> None:
    assert looks_secret(name, value)
    assert not looks_secret(name, "customer")


def test_each_thing_that_looks_like_a_secret_is_warned_of() -> None:
    found = findings_of(
        SOURCE,
        environment_variables={**SECRETIVE, "PLAIN": "1"},
        script_params={"--hf-token": "hf_abc", "--epochs": "3"},
    )

    assert [(f.level, f.code, f.field, f.path) for f in found] == [
        ("warn", "secret-file", "source", ".env"),
        ("warn", "secret-file", "source", "keys/id_rsa"),
        ("warn", "secret-value", "environment_variables", ""),
        ("warn", "secret-value", "environment_variables", ""),
        ("warn", "secret-value", "script_params", ""),
    ]
    assert all("secret of the team" in f.remedy for f in found)
    assert not any("wJalrXUtnFEMI" in f.message for f in found)


def test_of_very_many_files_some_are_named_and_the_rest_counted() -> None:
    files = {"train.py": SCRIPT} | {f"{number}.pem": b"key" for number in range(50)}

    found = findings_of(files)

    assert len(found) == 11
    assert found[-1].message == "40 more files look like secrets."


def test_an_ordinary_directory_is_not_warned_of() -> None:
    assert codes_of({"train.py": SCRIPT, ".env.example": b"A=\n", "id_rsa.pub": b"key"}) == []


@pytest.mark.django_db
@pytest.mark.usefixtures("broker")
class TestEveryWayIn:
    @pytest.fixture(autouse=True)
    def target(self, team: Team) -> None:
        make_target(team)

    @pytest.mark.parametrize(
        ("name", "content"),
        [("source.zip", zip_of(SOURCE)), ("source.tar.gz", tar_gz_of(SOURCE))],
    )
    def test_an_archive_over_rest(
        self, client: Client, bob: User, name: str, content: bytes
    ) -> None:
        config = {"experiment": "digits", "entry_script": "train.py"}
        form = {"source": SimpleUploadedFile(name, content), "config": json.dumps(config)}

        answer = client.post(RUNS, form, headers=bearer(bob))

        assert answer.status_code == 201
        paths = [warning["path"] for warning in answer.json()["warnings"]]
        assert paths == [".env", "keys/id_rsa"]

    def test_an_archive_over_the_page(self, client: Client, bob: User) -> None:
        client.force_login(bob)
        form = {"source": SimpleUploadedFile("source.zip", zip_of(SOURCE))}

        came = client.post("/t/default/runs/new/archive/", form)
        snapshot = came.headers["Location"].partition("snapshot=")[2]
        fields = {"snapshot": snapshot, "experiment": "digits", "entry_script": "train.py"}
        fields |= {"compute_target": "local"}
        preview = client.post("/t/default/runs/new/preview/", fields).text

        assert ".env looks like a secret" in preview
        assert "keys/id_rsa looks like a secret" in preview

    def test_files_over_rest_as_the_page_sends_them(self, client: Client, bob: User) -> None:
        at = "/api/v1/teams/default/uploads"
        stored = client.post(
            f"{at}/archives?filename=a.zip",
            zip_of(SOURCE),
            "application/octet-stream",
            headers=bearer(bob),
        ).json()
        listed = [{"path": path, "size": 1} for path in SOURCE]
        plan = client.post(
            f"{at}/plan", {"files": listed}, "application/json", headers=bearer(bob)
        ).json()
        snapshot = client.post(
            f"{at}/snapshots", {"files": stored["files"]}, "application/json", headers=bearer(bob)
        ).json()

        for answer in (stored["plan"], plan, snapshot):
            assert [found["path"] for found in answer["secrets"]] == [".env", "keys/id_rsa"]


@pytest.mark.django_db
@pytest.mark.usefixtures("broker")
def test_viewers_see_that_such_a_variable_is_set_but_not_its_value(
    client: Client, team: Team, bob: User, vera: User
) -> None:
    make_target(team)
    config = {
        "experiment": "digits",
        "entry_script": "train.py",
        "environment_variables": {**SECRETIVE, "PLAIN": "seen"},
        "script_params": {"--hf-token": "hf_abc", "--epochs": "3"},
    }
    source = SimpleUploadedFile("source.zip", zip_of({"train.py": SCRIPT}))
    form = {"source": source, "config": json.dumps(config)}
    assert client.post(RUNS, form, headers=bearer(bob)).status_code == 201
    run = Run.objects.get()
    hidden = ("wJalrXUtnFEMI", "bob:pw", "hf_abc")

    def seen_by(person: User) -> str:
        client.force_login(person)
        page = client.get(f"/t/default/runs/{run.number}/configuration/").text
        client.logout()
        return page + client.get(f"{RUNS}/{run.number}", headers=bearer(person)).text

    viewer = seen_by(vera)
    assert not any(value in viewer for value in hidden)
    assert all(shown in viewer for shown in ("AWS_SECRET_ACCESS_KEY", HIDDEN, "seen"))
    assert all(value in seen_by(bob) for value in hidden)
