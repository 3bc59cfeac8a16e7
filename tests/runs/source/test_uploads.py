import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from runs.models import Snapshot
from runs.source import snapshots
from runs.source.uploads import snapshot_from_archive
from tests.factories import bearer, make_team, make_user
from tests.runs.source.archive_builders import tar_entry, tar_gz_of, tar_with, zip_of, zip_with
from workspace.models import Scope, Team
from workspace.platform.errors import Invalid, TooLarge

pytestmark = pytest.mark.django_db

FILES = {"train.py": b"print('training')\n", "data/digits.csv": b"1,2\n3,4\n", "empty.txt": b""}


class Browser:
    """Calls the API of uploads as a page does, and keeps count of the bytes it sent."""

    def __init__(self, user: User, team: Team) -> None:
        self.client = Client(headers=bearer(user))
        self.root = f"/api/v1/teams/{team.slug}/uploads/"
        self.sent = 0

    def post(self, what: str, data: object, status: int = 200) -> Any:
        response = self.client.post(self.root + what, data, content_type="application/json")
        assert response.status_code == status, response.content
        return response.json()

    def send(self, what: str, body: bytes, status: int = 200) -> Any:
        self.sent += len(body)
        response = self.client.post(self.root + what, body, content_type="application/octet-stream")
        assert response.status_code == status, response.content
        return response.json()

    def upload(self, files: Mapping[str, bytes]) -> Any:
        """Upload a directory: the manifest, what is missing, the snapshot."""
        listed = manifest(files)
        missing = self.post("missing", {"files": listed})["missing"]
        wanted = [file for file in listed if file["digest"] in missing]
        if wanted:
            self.send("blobs", batch(wanted, *(files[file["path"]] for file in wanted)))
        return self.post("snapshots", {"files": listed}, 201)


def manifest(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    return [
        {
            "path": path,
            "digest": hashlib.sha256(body).hexdigest(),
            "size": len(body),
            "executable": False,
        }
        for path, body in files.items()
    ]


def batch(index: object, *bodies: bytes) -> bytes:
    encoded = json.dumps(index).encode()
    return len(encoded).to_bytes(4, "big") + encoded + b"".join(bodies)


def stored_files(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file()]


def source_of(digest: str) -> dict[str, bytes]:
    snapshot = Snapshot.objects.get(digest=digest)
    return {path: reader() for path, reader in snapshots.read(snapshot).items()}


@pytest.fixture
def browser(bob: User, team: Team) -> Browser:
    return Browser(bob, team)


def test_an_uploaded_directory_is_a_snapshot_of_every_file(browser: Browser):
    answer = browser.upload(FILES)

    assert answer["file_count"] == 3
    assert source_of(answer["digest"]) == FILES


def test_an_unchanged_directory_sends_no_file_again_and_a_changed_one_only_what_changed(
    browser: Browser,
):
    first = browser.upload(FILES)
    browser.sent = 0

    assert browser.upload(FILES) == first
    assert browser.sent == 0

    answer = browser.upload({**FILES, "train.py": b"print('changed')\n"})
    assert 0 < browser.sent < 300
    assert source_of(answer["digest"])["train.py"] == b"print('changed')\n"


def test_the_plan_says_what_is_sent_what_is_not_and_what_to_look_at(browser: Browser):
    files = {"train.py": 10, "big.bin": 500, "a.log": 3, ".git/HEAD": 9, ".env": 4, "k/id_rsa": 1}
    plan = browser.post(
        "plan",
        {
            "files": [{"path": path, "size": size} for path, size in files.items()],
            "ignore": {"name": ".gitignore", "text": "*.log\n"},
        },
    )

    assert {file["path"] for file in plan["kept"]} == {"train.py", "big.bin", ".env", "k/id_rsa"}
    assert plan["kept_bytes"] == 515
    assert {file["path"]: file["rule"] for file in plan["ignored"]} == {
        ".git/HEAD": "always: .git (version control, not source)",
        "a.log": ".gitignore line 1: *.log",
    }
    assert plan["largest"][0] == {"path": "big.bin", "size": 500}
    assert {secret["path"] for secret in plan["secrets"]} == {".env", "k/id_rsa"}
    assert plan["problem"] == ""


def test_the_plan_says_when_a_directory_is_too_large(browser: Browser, team: Team):
    plan = browser.post("plan", {"files": [{"path": "a.bin", "size": 10**9}]})

    assert "a.bin" in plan["problem"]
    assert "300 MB" in plan["problem"]


@pytest.mark.parametrize(
    "path", ["../up.py", "/etc/passwd", "a\\b", "C:x", "a\0b", "x" * 300, "a//b"]
)
@pytest.mark.parametrize("what", ["plan", "missing", "snapshots"])
def test_a_path_that_leads_astray_is_refused_by_name(browser: Browser, path: str, what: str):
    file = {"path": path, "size": 1, "digest": "0" * 64}

    answer = browser.post(what, {"files": [file]}, 400)

    assert "cannot be used" in answer["detail"]
    assert answer["errors"]


def test_a_path_with_half_a_character_is_refused(browser: Browser):
    body = b'{"files": [{"path": "a\\ud800.py", "size": 1}]}'
    response = browser.client.post(browser.root + "plan", body, content_type="application/json")

    assert response.status_code == 400


def test_a_rule_with_half_a_character_is_refused_with_its_line(browser: Browser):
    body = b'{"files": [], "ignore": {"name": ".gitignore", "text": "*.log\\n\\ud800"}}'
    response = browser.client.post(browser.root + "plan", body, content_type="application/json")

    assert response.status_code == 400
    assert "Line 2 is not UTF-8" in response.json()["detail"]


@pytest.mark.parametrize("size", [2**53, 10**400])
@pytest.mark.parametrize("what", ["plan", "missing", "snapshots"])
def test_a_size_that_no_file_has_is_refused_by_name(browser: Browser, size: int, what: str):
    file = {"path": "a.bin", "size": size, "digest": "0" * 64}

    answer = browser.post(what, {"files": [file]}, 400)

    assert [error["field"] for error in answer["errors"]] == ["files.0.size"]


def test_a_directory_over_the_limit_is_answered_with_its_largest_files(
    browser: Browser, team: Team
):
    team.snapshot_max_bytes = 100
    team.save()
    files = {f"f{size}": b"x" * size for size in range(1, 20)}

    answer = browser.post("missing", {"files": manifest(files)}, 413)

    assert [error["field"] for error in answer["errors"]] == [f"f{n}" for n in range(19, 9, -1)]


def test_too_many_new_files_are_answered_with_the_largest_files(browser: Browser, team: Team):
    team.snapshot_max_files = 5
    team.save()
    files = {f"f{size}": b"x" * size for size in range(1, 20)}

    answer = browser.post("missing", {"files": manifest(files)}, 413)

    assert "19 files are new or changed" in answer["detail"]
    assert len(answer["errors"]) == 10


def test_bytes_with_another_digest_than_announced_are_refused_by_name(browser: Browser, home: Path):
    index = manifest({"train.py": b"good"})

    answer = browser.send("blobs", batch(index, b"evil"), 400)

    assert "train.py" in answer["detail"]
    assert "another digest" in answer["detail"]
    assert stored_files(home) == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (batch(manifest({"a.py": b"12345"}), b"123"), "fewer than the 5 bytes"),
        (batch(manifest({"a.py": b"12345"}), b"12345678"), "more bytes came"),
        (batch([{"path": "a.py", "size": 3, "digest": "xyz"}], b"123"), "not a SHA-256"),
        (batch([{"path": "a.py", "size": -1}]), "not a whole number"),
        (batch([{"path": "a.py", "size": "3"}], b"123"), "not a whole number"),
        (batch([{"path": "a.py", "size": 10**400}], b"123"), "not a whole number"),
        (batch([{"path": "../a.py", "size": 3}], b"123"), "leads out"),
        (batch([{"size": 3}], b"123"), "cannot be read"),
        (batch([1]), "cannot be read"),
        (batch({"a": 1}), "cannot be read"),
        (b"\0\0\0\5nope!", "cannot be read"),
        (b"\0\0\0\5" + b"[" * 5, "cannot be read"),
        (b"\0\0\0\xff[]", "cannot be read"),
        (b"\xff\xff\xff\xff", "larger than 4 MB"),
        (b"", "cannot be read"),
    ],
)
def test_a_batch_that_lies_is_refused_in_words(browser: Browser, body: bytes, why: str):
    assert why in browser.send("blobs", body, 400)["detail"]


def test_a_browser_that_cannot_hash_hears_the_digests_from_the_server(browser: Browser):
    index = [{"path": path, "size": len(body)} for path, body in FILES.items()]

    answer = browser.send("blobs", batch(index, *FILES.values()))

    assert answer["files"] == manifest(FILES)
    browser.post("snapshots", answer, 201)


def test_a_snapshot_of_a_file_never_sent_is_refused(browser: Browser):
    answer = browser.post("snapshots", {"files": manifest(FILES)}, 400)

    assert "was not uploaded" in answer["detail"]
    assert not Snapshot.objects.exists()


def test_a_file_of_another_team_cannot_be_claimed_by_its_digest(browser: Browser):
    other = make_user()
    Browser(other, make_team(admin=other)).upload(FILES)

    missing = browser.post("missing", {"files": manifest(FILES)})["missing"]

    assert len(missing) == 3
    browser.post("snapshots", {"files": manifest(FILES)}, 400)


def test_viewers_strangers_and_reading_tokens_may_not_upload(
    team: Team, vera: User, charlie: User, bob: User
):
    Browser(vera, team).post("plan", {"files": []}, 403)
    Browser(charlie, team).post("plan", {"files": []}, 404)
    reader = Browser(bob, team)
    reader.client = Client(headers=bearer(bob, Scope.READ))
    reader.post("plan", {"files": []}, 403)


@pytest.mark.parametrize("build", [zip_of, tar_gz_of])
def test_an_archive_gives_the_same_answer_as_its_folder(browser: Browser, build: Any):
    files = {**FILES, "a.log": b"x", ".amlignore": b"*.log\n", ".gitignore": b"*.py\n"}

    answer = browser.send("archives?filename=", build(files))

    assert answer["folder"] == ""
    assert answer["plan"]["ignore_file"] == ".amlignore"
    assert answer["plan"]["ignored"] == [{"path": "a.log", "rule": ".amlignore line 1: *.log"}]
    del files["a.log"]
    assert source_of(browser.post("snapshots", answer, 201)["digest"]) == files
    assert browser.upload(files)["digest"] == Snapshot.objects.get().digest


@pytest.mark.parametrize("build", [zip_of, tar_gz_of])
def test_the_one_top_folder_of_an_archive_is_taken_off(browser: Browser, build: Any):
    packed = {f"app-main/{path}": body for path, body in FILES.items()}
    packed["app-main/.gitignore"] = b"*.csv\n"
    packed["__MACOSX/app-main/._train.py"] = b"x"

    answer = browser.send("archives", build(packed))

    assert answer["folder"] == "app-main/"
    assert {file["path"] for file in answer["files"]} == {".gitignore", "empty.txt", "train.py"}


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        (zip_with((b"../a.py", b"x")), 400, "../a.py: it has .. in it"),
        (zip_with((b"link", b"x"), mode=0o120777), 400, "link: it is a link"),
        (zip_of(FILES)[:-30], 400, "cut off"),
        (tar_with(tar_entry(b"a", b"1"), tar_entry(b"a", b"2")), 400, "listed twice"),
        (zip_of({"bomb": bytes(20_000_000)}), 413, "100 times"),
        (zip_with((b"a.py", b"x" * 50), crc=7), 400, "checksum"),
        (zip_of({"a.pyc": b"x"}), 400, "No files to upload"),
        (b"hello", 400, "no archive"),
    ],
)
def test_a_bad_archive_is_refused_and_makes_nothing(
    bob: User, team: Team, browser: Browser, home: Path, body: bytes, status: int, why: str
):
    with pytest.raises((Invalid, TooLarge)) as refused:
        snapshot_from_archive(team=team, by=bob, file=io.BytesIO(body), filename="")

    assert why in refused.value.message
    assert not Snapshot.objects.exists()
    assert not list((home / "uploads").glob("*"))
    if "No files" not in why:
        assert why in browser.send("archives", body, status)["detail"]
        assert not list((home / "uploads").glob("*"))


def test_an_archive_larger_than_the_limit_is_refused(browser: Browser, team: Team):
    team.snapshot_max_bytes = 1100
    team.save()

    assert "allowed" in browser.send("archives", b"PK\3\4" + bytes(2000), 413)["detail"]
    assert "Largest: a" in browser.send("archives", tar_gz_of({"a": bytes(2000)}), 413)["detail"]


def test_an_archive_of_too_many_new_files_is_refused_with_the_largest(browser: Browser, team: Team):
    team.snapshot_max_files = 3
    team.save()
    files = {f"f{number}": b"x" * number for number in range(5)}

    answer = browser.send("archives", zip_of(files), 413)

    assert "4 files are new or changed" in answer["detail"]
    assert answer["errors"]


def test_a_wrong_ignore_file_is_refused_with_its_line(browser: Browser):
    answer = browser.send("archives", zip_of({"a.py": b"x", ".gitignore": b"\n!\n"}), 400)

    assert ".gitignore cannot be used. Line 2" in answer["detail"]


@pytest.mark.parametrize(
    ("path", "is_secret"),
    [
        (".env", True),
        ("conf/.env.production", True),
        (".env.example", False),
        ("server.PEM", True),
        ("id_rsa", True),
        ("id_rsa.pub", False),
        ("credentials.json", True),
        (".aws/config", True),
        ("environment.py", False),
        ("keys.py", False),
        ("tokenizer.json", False),
    ],
)
def test_files_that_look_like_secrets_are_pointed_out(browser: Browser, path: str, is_secret: bool):
    plan = browser.post("plan", {"files": [{"path": path, "size": 1}]})

    assert [secret["path"] for secret in plan["secrets"]] == ([path] if is_secret else [])
