"""Archives that people send as their programs make them, by REST and on the page."""

import gzip
import io
import stat
import zipfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runs.source import archives
from runs.source.paths import problem_of
from runs.source.uploads import snapshot_from_archive
from tests.factories import bearer
from tests.property_tests import EXAMPLES
from tests.reports.ways_in import Send
from tests.runs.source.archive_builders import (
    tar_entry,
    tar_gz_of,
    tar_header,
    tar_of,
    tar_with,
    zip_of,
    zip_with,
)
from workspace.models import Team
from workspace.platform.errors import Invalid

pytestmark = pytest.mark.django_db

TRAIN = b"print('training')\n"


@pytest.fixture
def root(team: Team) -> str:
    return f"/api/v1/teams/{team.slug}/uploads/"


@pytest.fixture
def send(bob: User, root: str) -> Send:
    """Send an archive by REST and return the answer."""
    client = Client(headers=bearer(bob))

    def send(archive: bytes, status: int = 200) -> Any:
        response = client.post(root + "archives", archive, content_type="application/octet-stream")
        assert response.status_code == status, response.content
        return response.json()

    return send


def sent(answer: Any) -> set[str]:
    return {file["path"] for file in answer["files"]}


def rules(answer: Any) -> dict[str, str]:
    return {file["path"]: file["rule"] for file in answer["plan"]["ignored"]}


def tar_link(name: str, target: str) -> bytes:
    return tar_entry(name.encode(), kind=b"2", link=target.encode())


def zip_entries(*entries: tuple[str, bytes, int]) -> bytes:
    """Make a zip of entries, each with its mode, as a program on Unix does."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, body, mode in entries:
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = mode << 16
            archive.writestr(info, body)
    return buffer.getvalue()


IGNORE = b"venv/\nnode_modules/\n"


def test_a1_a_link_that_is_left_out_does_not_refuse_the_archive(send: Send):
    answer = send(
        gzip.compress(
            tar_with(
                tar_entry(b"app/train.py", TRAIN),
                tar_entry(b"app/.amlignore", IGNORE),
                tar_entry(b"app/venv", kind=b"5"),
                tar_link("app/venv/bin/python", "/usr/bin/python3"),
                tar_link("app/node_modules/.bin/x", "../x/x.js"),
            )
        )
    )

    assert answer["folder"] == "app/"
    assert sent(answer) == {"train.py", ".amlignore"}
    assert rules(answer) == {
        "venv/bin/python": ".amlignore line 1: venv/",
        "node_modules/.bin/x": ".amlignore line 2: node_modules/",
    }


LEFT_OUT_IN_TARS = {
    "hard link": tar_entry(b"venv/a", kind=b"1", link=b"train.py"),
    "device": tar_entry(b"venv/null", kind=b"3"),
    "pipe": tar_entry(b"venv/pipe", kind=b"6"),
    "sparse file": tar_entry(b"venv/big", TRAIN, kind=b"S"),
    "listed twice": tar_entry(b"venv/a", b"1") + tar_entry(b"venv/a", b"2"),
    "both": tar_entry(b"venv/a", b"1") + tar_entry(b"venv/a/b", b"2"),
    "case": tar_entry(b"venv/a", b"1") + tar_entry(b"venv/A", b"2"),
    "case of folders": tar_header(b"venv/a/", kind=b"5") + tar_header(b"venv/A/", kind=b"5"),
    "encoding": tar_entry(b"venv/\xfc", b"1"),
    "backslash": tar_entry(b"venv/a\\b", b"1"),
}


@pytest.mark.parametrize("entry", LEFT_OUT_IN_TARS)
def test_a1_whatever_is_left_out_takes_no_part(send: Send, entry: str):
    ignore = tar_entry(b".amlignore", b"venv/\n")
    archive = tar_with(tar_entry(b"train.py", TRAIN), ignore, LEFT_OUT_IN_TARS[entry])

    assert sent(send(archive)) == {"train.py", ".amlignore"}


@pytest.mark.parametrize("entry", LEFT_OUT_IN_TARS)
def test_a1_what_is_not_left_out_is_refused_as_before(send: Send, entry: str):
    send(tar_with(tar_entry(b"train.py", TRAIN), LEFT_OUT_IN_TARS[entry]), 400)


def test_a1_links_in_zips_are_judged_by_the_same_rules(send: Send):
    link = ("venv/bin/python", b"/usr/bin/python3", stat.S_IFLNK | 0o777)
    files = [("train.py", TRAIN, 0o100644), (".amlignore", IGNORE, 0o100644)]

    answer = send(zip_entries(*files, link))
    refused = send(zip_entries(*files, ("bin/python", *link[1:])), 400)

    assert rules(answer) == {"venv/bin/python": ".amlignore line 1: venv/"}
    assert "bin/python: it is a link" in refused["detail"]
    assert ".amlignore" in refused["detail"]


@pytest.mark.parametrize(
    "more",
    [
        {"flags": 1},
        {"method": 99},
        {"mode": 0o020644},
    ],
)
def test_a1_zip_entries_that_cannot_be_read_may_be_left_out(send: Send, more: dict[str, Any]):
    answer = send(zip_with((b".git/x", TRAIN), **more), 200)

    assert sent(answer) == set()
    assert set(rules(answer)) == {".git/x"}
    send(zip_with((b"x", TRAIN), **more), 400)


def test_a1_git_branches_that_differ_by_case_are_no_hindrance(send: Send):
    files = {".git/refs/heads/Fix": b"1", ".git/refs/heads/fix": b"2", "train.py": TRAIN}

    for archive in (zip_of(files), tar_gz_of(files)):
        assert sent(send(archive)) == {"train.py"}


def test_a1_files_that_are_left_out_do_not_count(send: Send, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(archives, "MAX_FILES", 50)
    many = {f"data/{number}": b"" for number in range(51)}

    assert sent(send(tar_of({"train.py": TRAIN, ".amlignore": b"data/\n", **many}))) == {
        "train.py",
        ".amlignore",
    }
    assert "more than 50 files" in send(tar_of(many), 413)["detail"]


def test_a1_an_ignore_file_that_is_a_link_is_not_read(send: Send):
    archive = tar_with(tar_entry(b"train.py", TRAIN), tar_link(".amlignore", "/etc/passwd"))

    assert ".amlignore: it is a link" in send(archive, 400)["detail"]


def test_a1_a_bomb_that_is_left_out_is_stopped_all_the_same(send: Send):
    files = {".amlignore": b"data/\n", "train.py": TRAIN, "data/bomb": bytes(20_000_000)}

    send(tar_gz_of(files), 413)


COMPRESS_ARCHIVE = [
    (b"pkg\\", b""),
    (b"pkg\\__init__.py", b""),
    (b"pkg\\model.py", b"size = 3\n"),
    (b"train.py", b"import pkg.model\n"),
]


@pytest.mark.parametrize("host", [0, 10])
def test_a2_a_zip_of_windows_with_backslashes_has_folders(send: Send, host: int):
    answer = send(zip_with(*COMPRESS_ARCHIVE, host=host))

    assert sent(answer) == {"pkg/__init__.py", "pkg/model.py", "train.py"}


def test_a2_its_one_top_folder_is_taken_off_and_its_ignore_file_is_read(send: Send):
    entries = [(b"app\\" + name, body) for name, body in COMPRESS_ARCHIVE]

    answer = send(zip_with(*entries, (b"app\\.amlignore", b"pkg/model.py\n"), host=0))

    assert answer["folder"] == "app/"
    assert sent(answer) == {"pkg/__init__.py", "train.py", ".amlignore"}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (b"..\\evil.py", "it has .. in it"),
        (b"a\\..\\..\\evil.py", "it has .. in it"),
        (b"\\evil.py", "absolute path"),
        (b"C:\\evil.py", "drive letter"),
        (b"a\\\\evil.py", "empty or . part"),
        (b"TRAIN.py", "only by case"),
    ],
)
def test_a2_the_rules_for_paths_hold_for_what_is_read(send: Send, name: bytes, why: str):
    assert why in send(zip_with((b"train.py", TRAIN), (name, b"x"), host=0), 400)["detail"]


def test_a2_two_names_that_become_one_are_refused(send: Send):
    archive = zip_with((b"a\\b.py", b"1"), (b"a/b.py", b"2"), host=10)

    assert "listed twice" in send(archive, 400)["detail"]


def test_a2_a_backslash_in_a_name_of_unix_stays_refused(send: Send):
    assert "backslash" in send(zip_with((b"a\\b.py", TRAIN), host=3), 400)["detail"]


MACOS_FILES = {
    "._app": b"\0\5\x16\7",
    "app/.DS_Store": b"x",
    "app/._train.py": b"\0\5\x16\7",
    "app/train.py": TRAIN,
    "__MACOSX/app/._train.py": b"\0\5\x16\7",
}


@pytest.mark.parametrize("build", [zip_of, tar_gz_of])
def test_what_macos_adds_to_archives_is_left_out(send: Send, build: Callable[..., bytes]):
    answer = send(build(MACOS_FILES))

    assert answer["folder"] == "app/"
    assert sent(answer) == {"train.py"}


@pytest.mark.parametrize("build", [zip_of, tar_of])
def test_a1_a_folder_with_an_entry_of_its_own_may_be_the_top_of_all(
    send: Send, build: Callable[..., bytes]
):
    files = {"app/.amlignore": b"/build/*.o\n*.csv\n", "app/train.py": TRAIN, "app/a.csv": b""}
    entries = [tar_entry(name.encode(), body) for name, body in files.items()]
    archive = (
        tar_with(tar_entry(b"app/", kind=b"5"), *entries)
        if build is tar_of
        else build({"app/": b"", **files})
    )

    answer = send(archive)

    assert answer["folder"] == "app/"
    assert sent(answer) == {".amlignore", "train.py"}


def test_a1_a_name_that_no_database_takes_is_not_remembered(bob: User, team: Team):
    files = [(b".amlignore", b"venv/\n"), (b"venv/a\0b.py", b""), (b"venv/c.py", b"")]
    archive = io.BytesIO(zip_with((b"train.py", TRAIN), *files))

    snapshot = snapshot_from_archive(team=team, by=bob, file=archive, filename="")

    assert snapshot.ignored_files == [["venv/c.py", ".amlignore line 1: venv/"]]


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.binary(min_size=1, max_size=40), st.sampled_from([0, 3, 10, 11]), st.integers(0, 0xFFFF))
@example(b"Rar!", 0, 0)
def test_any_name_of_an_entry_is_read_or_refused_in_words(name: bytes, host: int, mode: int):
    for data in (zip_with((name, TRAIN), host=host, mode=mode), tar_with(tar_entry(name, TRAIN))):
        archive = archives.list_archive(io.BytesIO(data), "", max_unpacked_bytes=1 << 20)
        archive.check(lambda path: True)
        with suppress(Invalid):
            archive.check()
            paths = {member.path for member in archive.members}
            assert not any(problem_of(path) for path in paths)
            assert [content.read(1000) for _, content in archive.contents(paths)] in ([TRAIN], [])
