"""Everything that an installation keeps, in one archive: its database, storage and secret key.

The database comes first, as of one moment. Files are written before the rows that name them, so
those that are read afterwards hold all that its rows speak of, and perhaps more.
"""

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Iterable
from gzip import GzipFile
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.db import connection
from django.utils import timezone

from config.backup import rows as backup_rows

FORMAT = 1
ABOUT, KEY, ROWS, END = "about.json", "secret_key", "rows", "end"
STORAGE_FOLDERS = ("blobs", "groups", "runs")


def write_backup(target: IO[bytes]) -> dict[str, Any]:
    """Write a backup, as a tar archive compressed by gzip; return what it says about itself."""
    home = Path(settings.TRAINYARD_HOME)
    with (
        GzipFile(fileobj=target, mode="wb", compresslevel=1) as packed,
        tarfile.open(fileobj=packed, mode="w|") as archive,
    ):
        with backup_rows.snapshot():
            about = _about()
            _add_bytes(archive, ABOUT, json.dumps(about, indent=2).encode())
            if not about["key_is_given"]:
                _add_bytes(archive, KEY, settings.SECRET_KEY.encode())
            for model in backup_rows.tables():
                with tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR) as rows:
                    backup_rows.write_rows(model, rows)
                    _add(archive, f"{ROWS}/{model._meta.label}", rows)
        for path in _files_in(home):
            _add_file(archive, path.relative_to(home).as_posix(), path)
        _add_bytes(archive, END, b"")
    return about


def has_own_secret_key() -> bool:
    """Return whether the secret key is in our home, and not given from outside."""
    kept = Path(settings.TRAINYARD_HOME) / KEY
    return kept.exists() and kept.read_text() == settings.SECRET_KEY


def digest_of_key(key: str) -> str:
    """Tell keys apart without giving them away."""
    return hashlib.sha256(b"backup" + key.encode()).hexdigest()


def _about() -> dict[str, Any]:
    return {
        "format": FORMAT,
        "at": timezone.now().isoformat(),
        "database": connection.vendor,
        "migrations": backup_rows.migrations(),
        "key_is_given": not has_own_secret_key(),
        "key_digest": digest_of_key(settings.SECRET_KEY),
    }


def _files_in(home: Path) -> Iterable[Path]:
    for folder in STORAGE_FOLDERS:
        for path in (home / folder).rglob("*"):
            if path.is_file() and not path.is_symlink():
                yield path


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    _add(archive, name, io.BytesIO(content))


def _add(archive: tarfile.TarFile, name: str, file: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)
    member.size = file.seek(0, io.SEEK_END)
    member.mode = 0o600
    file.seek(0)
    archive.addfile(member, file)


def _add_file(archive: tarfile.TarFile, name: str, path: Path) -> None:
    """Add a file as long as it is now, whatever is appended to it meanwhile."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return  # it was not needed any more
    with file:
        _add(archive, name, file)
