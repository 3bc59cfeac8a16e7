import os
from pathlib import Path

import pytest

from runs.source import snapshots
from runs.source.blobs import store_for, uploads_folder
from runs.source.cleanup import remove_unused_uploads
from tests.factories import make_team
from tests.runs.source.test_snapshots import snapshot_of
from workspace.models import Team

pytestmark = pytest.mark.django_db
LONG_AGO = (1_000_000_000, 1_000_000_000)


def age(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, LONG_AGO)


def test_files_of_snapshots_stay_and_files_of_unfinished_uploads_go(team: Team, home: Path):
    snapshot = snapshot_of(team, {"train.py": b"print()"})
    unfinished, _ = store_for(team).put_stream(b"never made into a snapshot")
    (uploads_folder() / "cut-off").write_bytes(b"half a file")
    age(home)

    assert remove_unused_uploads(also_in_use=lambda team: []) == 2

    assert snapshots.read(snapshot)["train.py"]() == b"print()"
    assert store_for(team).has([unfinished]) == set()
    assert not list(uploads_folder().iterdir())


def test_a_file_that_is_coming_in_or_was_just_asked_for_stays(team: Team, home: Path):
    store = store_for(team)
    old, size = store.put_stream(b"sent last week")
    age(home)
    assert store.missing({old: size}) == []
    new, _ = store.put_stream(b"sent just now")

    assert remove_unused_uploads(also_in_use=lambda team: []) == 0

    assert store.has([old, new]) == {old, new}


def test_files_that_others_keep_stay(team: Team, home: Path):
    kept = snapshot_of(team, {"saved_model.pb": b"graph"})
    files = snapshots.read(kept)
    kept.delete()
    age(home)

    assert remove_unused_uploads(also_in_use=lambda team: [kept.digest]) == 0

    assert files["saved_model.pb"]() == b"graph"


def test_nothing_of_a_team_goes_while_a_list_of_its_files_is_damaged(team: Team, home: Path):
    snapshot = snapshot_of(team, {"train.py": b"print()"})
    content = snapshots.read(snapshot)["train.py"]
    store_for(make_team()).put_stream(b"never made into a snapshot")
    store_for(team).path(snapshot.digest).write_bytes(b"")
    age(home)

    assert remove_unused_uploads(also_in_use=lambda team: []) == 1

    assert content() == b"print()"
