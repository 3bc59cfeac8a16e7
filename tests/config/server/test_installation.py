"""A home is started with its own database alone, and with no older copy of it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection
from pytest_django import Settings

from config.server import part
from config.server.installation import FILE, check_database, record_start
from config.server.parts import prepare_database
from config.server.startup import StartupError
from workspace.models import Installation

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def started(home: Path) -> Path:
    """Return the home of an installation that was started twice."""
    record_start()
    record_start()
    return home


def home_is_new(home: Path) -> None:
    (home / FILE).unlink()


def database_is_new(home: Path) -> None:
    Installation.objects.all().delete()


def database_is_of_another(home: Path) -> None:
    Installation.objects.all().delete()
    Installation.objects.create(identity="another", starts=9)


def database_is_a_copy_from_before_the_last_start(home: Path) -> None:
    Installation.objects.update(starts=1)


REFUSED = [
    (home_is_new, "belongs to another home"),
    (database_is_new, "The database is new"),
    (database_is_of_another, "belong to different installations"),
    (database_is_a_copy_from_before_the_last_start, "is older than"),
]
Change = Callable[[Path], None]


def test_an_installation_is_started_again_and_again(started: Path) -> None:
    record_start()
    known = Installation.objects.get()
    assert (started / FILE).read_text().split() == [known.identity, "3"]
    assert (started / FILE).stat().st_mode & 0o777 == 0o600


def test_a_start_that_was_cut_between_the_two_is_repeated(started: Path) -> None:
    before = (started / FILE).read_text()
    record_start()
    (started / FILE).write_text(before)
    record_start()


each_refused = pytest.mark.parametrize(
    ("change", "said"), REFUSED, ids=[change.__name__ for change, _ in REFUSED]
)


def cut_before_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Installation.objects, "create", killed)


def cut_before_the_start_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.server.installation.F", killed)


def killed(*_: object, **__: object) -> None:
    raise SystemExit


@pytest.mark.parametrize("cut", [cut_before_the_row, cut_before_the_start_is_counted])
def test_a_first_start_that_was_cut_short_is_repeated(
    home: Path, cut: Callable[[pytest.MonkeyPatch], None]
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        cut(monkeypatch)
        with pytest.raises(SystemExit):
            record_start()
    record_start()
    assert (home / FILE).read_text().split() == [Installation.objects.get().identity, "1"]


def test_a_first_start_whose_file_was_lost_is_repeated(home: Path) -> None:
    Installation.objects.create(identity="first")
    record_start()
    assert (home / FILE).read_text().split() == ["first", "1"]


@pytest.fixture
def _without_tables(started: Path) -> Iterator[None]:
    """Have the home's database be one that was never migrated."""
    with connection.schema_editor() as editor:
        editor.delete_model(Installation)
    yield
    with connection.schema_editor() as editor:
        editor.create_model(Installation)


@pytest.mark.usefixtures("_without_tables")
def test_a_database_without_tables_is_refused_until_it_is_accepted() -> None:
    with pytest.raises(StartupError, match="The database is new"):
        check_database()
    call_command("accept_database")
    check_database()


@each_refused
def test_a_database_is_checked_before_it_is_changed(
    started: Path, change: Change, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(started)
    commands: list[str] = []
    monkeypatch.setattr("config.server.parts.call_command", lambda name, **_: commands.append(name))
    with pytest.raises(StartupError, match=said):
        prepare_database()
    assert commands == []


@pytest.mark.parametrize("name", part.PARTS)
def test_no_part_starts_alone_with_another_database(
    started: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []
    monkeypatch.setitem(part.PARTS, name, lambda: ran.append(name))
    for changed in ("keep_files_private", "set_process_title"):
        monkeypatch.setattr(part, changed, lambda *_: None)
    assert (part.main([name]), ran) == (0, [name])
    database_is_of_another(started)
    assert part.main([name]) == 1
    assert ran == [name]
    assert "manage.py accept_database" in capsys.readouterr().err


@each_refused
def test_what_does_not_belong_together_is_refused_until_it_is_accepted(
    started: Path, change: Change, said: str
) -> None:
    change(started)
    before = list(Installation.objects.values_list())
    with pytest.raises(StartupError, match=said) as refused:
        record_start()
    assert "manage.py accept_database" in str(refused.value)
    assert list(Installation.objects.values_list()) == before, "nothing was changed"
    call_command("accept_database")
    record_start()
    record_start()


def test_a_home_whose_record_is_broken_counts_as_new(started: Path) -> None:
    (started / FILE).write_text("half of")
    with pytest.raises(StartupError, match="another home"):
        record_start()


def test_a_restored_backup_belongs_to_its_new_home(
    started: Path, settings: Settings, tmp_path: Path
) -> None:
    (started / "secret_key").write_text(settings.SECRET_KEY)
    call_command("backup", str(tmp_path / "all.tar.gz"))
    new = tmp_path / "new"
    new.mkdir()
    settings.TRAINYARD_HOME = new
    (new / "secret_key").write_text(settings.SECRET_KEY)
    call_command("flush", interactive=False, verbosity=0)
    call_command("restore", str(tmp_path / "all.tar.gz"))
    record_start()
    assert (new / FILE).read_text().split()[0] == (started / FILE).read_text().split()[0]
