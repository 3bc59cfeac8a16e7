"""A web process that is killed at any point of an upload leaves no half of a snapshot."""

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import transaction

from runs.models import Snapshot
from runs.source import snapshots
from runs.source.cleanup import remove_unused_uploads
from runs.source.snapshots import Manifest, ManifestEntry, create_snapshot, manifest_of
from runs.source.uploads import missing_files, snapshot_from_archive, store_batch
from tests.cut_points import Killed, every_cut
from workspace.models import AuditEntry, Team

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
FILES = {"train.py": b"print('hello')\n", "data/large.bin": bytes(range(256)) * 4100}
LONG_AGO = (1_000_000_000, 1_000_000_000)


def send_archive(team: Team, by: User) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path, data in FILES.items():
            archive.writestr(path, data)
    snapshot_from_archive(team=team, by=by, file=content, filename="source.zip")


def send_files(team: Team, by: User) -> None:
    """Send what is missing in one batch, and have a snapshot made of it, as a browser does."""
    manifest = Manifest.of(
        ManifestEntry(path, sha256(data).hexdigest(), len(data)) for path, data in FILES.items()
    )
    missing = set(missing_files(team=team, manifest=manifest))
    sent = [entry for entry in manifest.entries if entry.digest in missing]
    index = json.dumps([entry._asdict() for entry in sent]).encode()
    bodies = [FILES[entry.path] for entry in sent]
    body = io.BytesIO(b"".join([len(index).to_bytes(4, "big"), index, *bodies]))
    store_batch(team=team, body=body)
    create_snapshot(team=team, by=by, manifest=manifest)


def stored_after_tidying_up(home: Path) -> set[str]:
    """Sweep when all files are old, and return the names of those that are there then."""
    for path in home.rglob("*"):
        os.utime(path, LONG_AGO)
    remove_unused_uploads(also_in_use=lambda team: [])
    return {path.name for path in home.rglob("*") if path.is_file()}


@pytest.mark.parametrize("send", [send_archive, send_files])
def test_an_upload_that_is_killed_at_any_point_makes_a_whole_snapshot_or_none(
    team: Team, bob: User, home: Path, send: Callable[[Team, User], None]
) -> None:
    for points in every_cut(at_least=8):
        with transaction.atomic():
            try:
                with points.watched():
                    send(team, bob)
                    points.reach("the answer")
            except Killed:
                check_what_is_there(home, f"killed at {points.where}, and not sent again")
                send(team, bob)
            said = f"killed at {points.where}, and sent again"
            assert Snapshot.objects.count() == 1, said
            check_what_is_there(home, said)
            transaction.set_rollback(True)
        shutil.rmtree(home / "blobs")


def check_what_is_there(home: Path, said: str) -> None:
    """Check that a snapshot that is there is whole, and that nothing else is stored or told."""
    expected: set[str] = set()
    for snapshot in Snapshot.objects.all():
        assert {path: read() for path, read in snapshots.read(snapshot).items()} == FILES, said
        assert snapshot.total_bytes == sum(map(len, FILES.values())), said
        assert snapshot.file_count == len(FILES), said
        expected |= {snapshot.digest, *(entry.digest for entry in manifest_of(snapshot).entries)}
    assert AuditEntry.objects.filter(action="snapshot.create").count() == bool(expected), said
    assert stored_after_tidying_up(home) == expected, said
