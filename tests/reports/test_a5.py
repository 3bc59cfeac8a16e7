"""A helper program that was executable is executable in the run."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from runner.tar_stream import unpack
from runs.models import Snapshot
from runs.source.blobs import store_for
from runs.source.snapshots import Manifest, manifest_of, snapshot_of, tar_of
from runs.supervision.error_hints import error_hint_of
from tests.runs.source.archive_builders import zip_with
from tests.runs.source.test_uploads import Browser
from workspace.models import Team

SCRIPT = b"#!/bin/sh\necho ready\n"


def tar_gz_with_modes(**modes: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, mode in modes.items():
            info = tarfile.TarInfo(f"tools/{name}")
            info.size, info.mode = len(SCRIPT), mode
            archive.addfile(info, io.BytesIO(SCRIPT))
            archive.addfile(tarfile.TarInfo("train.py"))
    return gzip.compress(buffer.getvalue())


def unpacked(team: Team, digest: str, folder: Path) -> Path:
    """Unpack a snapshot as a runner does."""
    manifest = manifest_of(snapshot_of(team, digest))
    unpack(io.BytesIO(b"".join(tar_of(store_for(team), manifest))).read, str(folder))
    return folder


@pytest.fixture
def browser(bob: User, team: Team) -> Browser:
    return Browser(bob, team)


def uploaded(browser: Browser, archive: bytes) -> str:
    """Upload an archive as the page does, and return the snapshot's digest."""
    files = browser.send("archives", archive)["files"]
    return str(browser.post("snapshots", {"files": files}, 201)["digest"])


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
@pytest.mark.parametrize(("mode", "kept"), [(0o755, 0o755), (0o100, 0o755), (0o6677, 0o644)])
def test_a5_an_executable_file_stays_one_and_nothing_else_of_its_mode_is_kept(
    browser: Browser, team: Team, tmp_path: Path, kind: str, mode: int, kept: int
):
    name = b"tools/prep.sh"
    archive = (
        tar_gz_with_modes(**{"prep.sh": mode})
        if kind == "tar.gz"
        else zip_with((name, SCRIPT), (b"train.py", b""), mode=0o100000 | mode)
    )
    folder = unpacked(team, uploaded(browser, archive), tmp_path / "source")
    made = (folder / "tools" / ("prep.sh")).stat().st_mode
    umask = os.umask(0)
    os.umask(umask)

    assert made & 0o7777 == kept & ~umask


@pytest.mark.django_db
def test_a5_snapshots_that_differ_only_in_this_are_two(browser: Browser):
    first, second, again = (
        uploaded(browser, tar_gz_with_modes(**{"prep.sh": mode})) for mode in (0o755, 0o644, 0o744)
    )

    assert first != second
    assert first == again
    assert Snapshot.objects.count() == 2


def test_a5_an_old_manifest_stays_readable_and_keeps_its_digest():
    content = b'{"version":1,"files":[["train.py","%s",3]]}' % (b"0" * 64)
    manifest = Manifest.from_content(content)

    assert not manifest.entries[0].executable
    assert manifest.content == content


@pytest.mark.django_db
def test_a5_a_zip_without_unix_modes_has_no_executable_file(browser: Browser):
    archive = zip_with((b"tools/prep.sh", SCRIPT), mode=0o100755, host=0)

    (file,) = browser.send("archives", archive)["files"]

    assert not file["executable"]


@pytest.mark.parametrize(
    "line",
    [
        "PermissionError: [Errno 13] Permission denied: './tools/prep.sh'",
        "/bin/sh: 1: ./tools/prep.sh: Permission denied",
        "sh: line 1: ./tools/prep.sh: Permission denied",
    ],
)
def test_a5_the_failure_has_a_known_cause(line: str):
    hint = error_hint_of([line])

    assert hint
    assert "may not execute ./tools/prep.sh" in hint.title
    assert "`sh ./tools/prep.sh`" in hint.remedy
    assert ".tar.gz" in hint.remedy
