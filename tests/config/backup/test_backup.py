"""One command backs everything up while it runs, another brings it back somewhere else."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from pytest_django import Settings

from config.backup import archive as backup
from config.backup import restore
from config.backup import rows as backup_rows
from runs.events import RunHung, record
from runs.files.folders import run_folder
from runs.metrics import store
from runs.metrics.points import Point
from runs.models import MetricSeries, Run, RunFile
from runs.states import RunStatus
from tests.factories import make_group, make_run, make_team
from workspace.models import Team

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def home(home: Path, settings: Settings) -> Path:
    """Let the home hold the secret key, as it does where none is given."""
    (home / "secret_key").write_text(settings.SECRET_KEY)
    (home / "uploads").mkdir()
    settings.FILE_UPLOAD_TEMP_DIR = home / "uploads"
    return home


def start_anew(settings: Settings, folder: Path) -> Path:
    """Return the installation an empty home and an empty database."""
    folder.mkdir()
    settings.TRAINYARD_HOME = folder
    (folder / "secret_key").write_text(settings.SECRET_KEY)
    call_command("flush", interactive=False, verbosity=0)
    return folder


def rows() -> dict[str, list[Any]]:
    """Return all that the database holds."""
    with backup_rows.snapshot():
        return {
            model._meta.label: list(model._base_manager.order_by("pk").values_list())
            for model in backup_rows.tables()
        }


def a_finished_run(team: Team, by: User) -> Run:
    run = make_run(team, by, RunStatus.COMPLETED)
    process = make_group(run).processes.get()
    record(run, RunHung(since="2026-01-01T00:00:00+00:00", lines={"worker-0": "ä"}))
    series = MetricSeries.objects.create(run=run, process="", name="loss")
    values = [1 / 3, float("nan"), 1e-300, *range(5000)]
    store.append({series.pk: [Point(step, 0, value) for step, value in enumerate(values)]})
    place = run_folder(run.pk) / "outputs" / "result"
    place.parent.mkdir(parents=True)
    place.write_text("42")
    RunFile.objects.create(
        run=run, path="outputs/result", process=process, size_bytes=2, digest="d" * 64
    )
    return run


def test_every_row_and_every_file_comes_back_as_it_was(
    team: Team, bob: User, home: Path, settings: Settings, tmp_path: Path
) -> None:
    run = a_finished_run(team, bob)
    before = rows()
    call_command("backup", str(tmp_path / "all.tar.gz"))
    assert (tmp_path / "all.tar.gz").stat().st_mode & 0o777 == 0o600

    new_home = start_anew(settings, tmp_path / "new")
    call_command("restore", str(tmp_path / "all.tar.gz"))
    assert rows() == before
    assert (new_home / f"runs/{run.pk}/outputs/result").read_text() == "42"
    assert (new_home / "secret_key").read_text() == settings.SECRET_KEY
    assert make_run(team, bob).pk > run.pk
    assert make_team().pk > team.pk


def test_it_goes_through_standard_output_and_input_too(
    team: Team, bob: User, home: Path, settings: Settings, tmp_path: Path
) -> None:
    a_finished_run(team, bob)
    before = rows()
    written = io.BytesIO()
    backup.write_backup(written)
    start_anew(settings, tmp_path / "new")
    written.seek(0)
    restore.restore(written)
    assert rows() == before


def test_a_backup_does_not_replace_a_file(team: Team, home: Path, tmp_path: Path) -> None:
    (tmp_path / "all.tar.gz").write_text("precious")
    with pytest.raises(CommandError, match="already exists"):
        call_command("backup", str(tmp_path / "all.tar.gz"))
    assert (tmp_path / "all.tar.gz").read_text() == "precious"


def test_nothing_is_restored_over_what_is_there(
    bob: User, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_command("backup", str(tmp_path / "all.tar.gz"))
    monkeypatch.setattr(restore, "call_command", None)  # no table is changed either
    with pytest.raises(CommandError, match="has users in it"):
        call_command("restore", str(tmp_path / "all.tar.gz"))
    assert User.objects.get() == bob


def test_nothing_is_restored_beside_files_that_are_there(
    bob: User, home: Path, settings: Settings, tmp_path: Path
) -> None:
    call_command("backup", str(tmp_path / "all.tar.gz"))
    new_home = start_anew(settings, tmp_path / "new")
    (new_home / "runs" / "7").mkdir(parents=True)
    with pytest.raises(CommandError, match=f"There are files in {new_home}/runs"):
        call_command("restore", str(tmp_path / "all.tar.gz"))
    assert not User.objects.exists()


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        pytest.param(lambda data: data[: len(data) // 2], "no whole backup", id="cut short"),
        pytest.param(lambda data: b"", "no whole backup", id="empty"),
        pytest.param(lambda data: gzip.compress(b"no archive"), "no whole backup", id="no archive"),
        pytest.param(lambda data: other_archive("a.txt"), "no backup of Trainyard", id="another"),
        pytest.param(
            lambda data: with_member(data, "../../etc/passwd"), "which no backup has", id="escaping"
        ),
        pytest.param(
            lambda data: with_member(data, "config/settings.py"), "which no backup has", id="code"
        ),
        pytest.param(
            lambda data: changed(data, migrations=["runs.9999_later"]),
            "another version of Trainyard .*runs.9999_later",
            id="another version",
        ),
        pytest.param(
            lambda data: changed(data, key_is_given=True, key_digest="0"),
            "set SECRET_KEY to the same",
            id="another key",
        ),
    ],
)
def test_what_is_no_backup_for_here_is_refused_and_leaves_no_row(
    bob: User,
    home: Path,
    settings: Settings,
    tmp_path: Path,
    damage: Callable[[bytes], bytes],
    complaint: str,
) -> None:
    written = io.BytesIO()
    backup.write_backup(written)
    start_anew(settings, tmp_path / "new")
    with pytest.raises(restore.RestoreError, match=complaint):
        restore.restore(io.BytesIO(damage(written.getvalue())))
    assert not User.objects.exists()


def members_of(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = {member.name: archive.extractfile(member) for member in archive}
        return {name: file.read() for name, file in found.items() if file}


def archive_of(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def other_archive(name: str) -> bytes:
    return archive_of({name: b"{}"})


def with_member(data: bytes, name: str) -> bytes:
    members = members_of(data)
    end = members.popitem()
    return archive_of({**members, name: b"x", end[0]: end[1]})


def changed(data: bytes, **facts: Any) -> bytes:
    members = members_of(data)
    about = json.loads(members[backup.ABOUT])
    return archive_of({**members, backup.ABOUT: json.dumps({**about, **facts}).encode()})
