"""Bring a backup back, into an installation that has nothing in it yet."""

import json
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from gzip import BadGzipFile, GzipFile
from pathlib import Path, PurePosixPath
from typing import IO, Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction

from config.backup import archive as backup
from config.backup import rows
from config.server.installation import accept_database


class RestoreError(Exception):
    """Says why a backup cannot be brought back here, and what to do."""


def restore(source: IO[bytes]) -> dict[str, Any]:
    """Fill an empty installation; all rows are put in or, after any trouble, none."""
    home = Path(settings.TRAINYARD_HOME)
    _require_empty(home)  # before the database is changed
    call_command("migrate", interactive=False, verbosity=0)
    with _opened(source) as archive:
        members = iter(archive)
        about = _about(archive, next(members, None))
        _require_same_version(about)
        _require_key(about)
        with transaction.atomic():
            rows.empty_tables()
            member = None
            for member in members:
                _restore_member(archive, member, home)
            if member is None or member.name != backup.END:
                raise RestoreError("The end of the backup is missing: take another copy of it.")
            rows.reset_sequences()
    accept_database()
    return about


@contextmanager
def _opened(source: IO[bytes]) -> Iterator[tarfile.TarFile]:
    try:
        with GzipFile(fileobj=source) as packed, tarfile.open(fileobj=packed, mode="r|") as archive:
            yield archive
    except (tarfile.TarError, EOFError, BadGzipFile, zlib.error) as error:
        raise RestoreError(f"This is no whole backup: {error}.") from error


def _require_empty(home: Path) -> None:
    has_tables = User._meta.db_table in connection.introspection.table_names()
    if has_tables and User.objects.exists():
        raise RestoreError(
            "This database has users in it: restore into an empty one (another DATABASE_URL or"
            " TRAINYARD_HOME), before the first start."
        )
    for name in backup.STORAGE_FOLDERS:
        folder = home / name
        if folder.exists() and any(folder.iterdir()):
            raise RestoreError(
                f"There are files in {folder}: restore into an empty TRAINYARD_HOME, before the"
                " first start."
            )


def _about(archive: tarfile.TarFile, first: tarfile.TarInfo | None) -> dict[str, Any]:
    file = archive.extractfile(first) if first and first.name == backup.ABOUT else None
    about = json.load(file) if file else {}
    if about.get("format") != backup.FORMAT:
        raise RestoreError("This is no backup of Trainyard, or one of a later version.")
    return dict(about)


def _require_same_version(about: dict[str, Any]) -> None:
    differing = set(about["migrations"]) ^ set(rows.migrations())
    if differing:
        raise RestoreError(
            "The backup was made by another version of Trainyard (the tables differ by"
            f" {', '.join(sorted(differing))}): restore it with that version, then upgrade."
        )


def _require_key(about: dict[str, Any]) -> None:
    is_ours = about["key_digest"] == backup.digest_of_key(settings.SECRET_KEY)
    if about["key_is_given"] and not is_ours:
        raise RestoreError(
            "The installation that was backed up had SECRET_KEY given to it: set SECRET_KEY to the"
            " same here, for what it encrypted cannot be read with another."
        )
    if not about["key_is_given"] and not backup.has_own_secret_key():
        raise RestoreError(
            "The backup brings its own secret key: do not set SECRET_KEY when you restore it."
        )


def _restore_member(archive: tarfile.TarFile, member: tarfile.TarInfo, home: Path) -> None:
    file = archive.extractfile(member) if member.isreg() else None
    path = PurePosixPath(member.name)
    if file is None or path.is_absolute() or ".." in path.parts:
        raise RestoreError(f"The backup holds {member.name!r}, which no backup has.")
    if member.name == backup.END:
        return
    if member.name == backup.KEY:
        _place(file, home / backup.KEY)
    elif path.parts[0] == backup.ROWS and len(path.parts) == 2:
        rows.read_rows(apps.get_model(path.name), file)
    elif path.parts[0] in backup.STORAGE_FOLDERS:
        _place(file, home / path)
    else:
        raise RestoreError(f"The backup holds {member.name!r}, which no backup has.")


def _place(file: IO[bytes], place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("wb") as copy:
        shutil.copyfileobj(file, copy, 1024 * 1024)
