"""What a runner is told to be stored would outlast a power cut."""

import hashlib
import os
from pathlib import Path

import pytest

from runs.files.folders import run_folder
from runs.logs.log_file import folder_of, log_of
from runs.models import Process, ProcessGroup, RunFile
from runs.source.durable import move_durably, sync_filesystem
from tests.runs.ingest.runner_calls import Runner, database_threads, process_of, running
from workspace.models import Team

__all__ = ["database_threads"]
pytestmark = pytest.mark.usefixtures("database_threads")


@pytest.fixture
def group(team: Team) -> ProcessGroup:
    return running(team, "worker-0")


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """Return which files and folders were synced: each by its inode, and whether it was empty."""
    made: list[tuple[int, bool]] = []
    fsync = os.fsync

    def note(number: int) -> None:
        fsync(number)
        place = Path(os.readlink(f"/proc/self/fd/{number}"))
        status = os.fstat(number)
        made.append((status.st_ino, place.is_dir() and not any(place.iterdir())))

    monkeypatch.setattr(os, "fsync", note)
    return made


@pytest.mark.parametrize("kind", ["output", "checkpoint"])
async def test_a_file_and_its_folders_are_synced_before_it_is_said_to_be_stored(
    group: ProcessGroup, synced: list[tuple[int, bool]], kind: str
) -> None:
    content = b"weights"
    path = f"{kind}s/model/1/weights"
    query = {"path": path, "size": 7, "sha256": hashlib.sha256(content).hexdigest()}
    answer = await Runner(process_of(group)).put(kind, params=query, content=content)
    assert answer.json() == {"stored": True}
    place = run_folder(group.run_id or 0) / path
    wanted = [place, place.parent, place.parent.parent, place.parent.parent.parent]
    when = {inode: at for at, (inode, _) in enumerate(synced)}
    orders = [when[each.stat().st_ino] for each in wanted]
    assert orders[0] == min(orders), "the bytes before the names"
    assert not any(was_empty for _, was_empty in synced), "folders after what is in them"


async def test_a_file_of_which_the_disk_knows_nothing_is_not_said_to_be_stored(
    group: ProcessGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(number: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    query = {"path": "outputs/x", "size": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
    answer = await Runner(process_of(group)).put("output", params=query, content=b"x")
    assert answer.status_code == 503
    assert not await RunFile.objects.aexists()


async def test_files_and_then_the_database_are_synced_before_a_runner_may_forget_them(
    group: ProcessGroup, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[Path, int, bool]] = []

    def sync(folder: Path) -> None:
        is_collected = Process.objects.filter(collected_at__isnull=False).exists()
        synced.append((folder, log_of(group.label, "worker-0").size(), is_collected))

    monkeypatch.setattr("runs.ingest.processes.sync_filesystem", sync)
    runner = Runner(process_of(group))
    await runner.post("log?offset=0", content=b"a line\n")
    assert (await runner.post("collected", json={})).status_code == 200
    assert synced == [(folder_of(group.label), 7, False), (home, 7, True)]


def test_a_move_replaces_what_was_there(tmp_path: Path) -> None:
    place = tmp_path / "a" / "b" / "c"
    for content in ("old", "new"):
        written = tmp_path / "written"
        written.write_text(content)
        move_durably(written, place)
        assert place.read_text() == content
        assert not written.exists()


def test_a_folder_that_is_not_there_cannot_be_synced(tmp_path: Path) -> None:
    sync_filesystem(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_filesystem(tmp_path / "gone")
