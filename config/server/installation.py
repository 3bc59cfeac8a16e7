"""Whether the home and the database belong together: both hold the installation's identity.

Each start is counted in both, so that an older copy of the database is noticed as well. Another
database knows nothing of the runs and services whose processes are alive. With 0 starts, the first
start was cut short, and nothing has run yet.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from django.conf import settings
from django.db import OperationalError, connection
from django.db.models import F

from config.server.startup import StartupError
from runs.source.durable import move_durably
from workspace.models import Installation

FILE = "installation"
WAY_OUT = (
    " Set TRAINYARD_HOME and DATABASE_URL to those that belong together. If this home shall have"
    " this database from now on, run `manage.py accept_database` and start again."
)


@dataclass(frozen=True)
class _HomeRecord:
    """What the home knows of the database that it was last started with."""

    identity: str
    starts: int


def check_database() -> None:
    """Raise StartupError where the home and the database do not belong together; change nothing."""
    try:
        problem = _problem(_read(), _known())
    except OperationalError as error:
        raise StartupError(f"The database does not answer: {str(error).strip()}") from error
    if problem:
        raise StartupError(problem + WAY_OUT)


def record_start() -> None:
    """Count a start in the database and the home. Raises StartupError where they differ."""
    check_database()
    known = _known()
    if known is None:
        # The home first: a first start that is cut anywhere leaves what the next one accepts.
        home = _read() or _HomeRecord(uuid4().hex, 0)
        _write(home)
        known = Installation.objects.create(identity=home.identity)
    if connection.vendor == "sqlite":
        # The home must never be ahead of a database that lost its last second to a power cut.
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous=FULL")
    Installation.objects.filter(pk=known.pk).update(starts=F("starts") + 1)
    accept_database()


def accept_database() -> None:
    """Let the home belong to the database as it is."""
    known = _known()
    if known is None:
        _place().unlink(missing_ok=True)
    else:
        _write(_HomeRecord(known.identity, known.starts))


def _known() -> Installation | None:
    """Return what the database knows; nothing in one that was never started, or has no tables."""
    if Installation._meta.db_table not in connection.introspection.table_names():
        return None
    return Installation.objects.only("identity", "starts").first()  # it may have no others yet


def _place() -> Path:
    return Path(settings.TRAINYARD_HOME) / FILE


def _write(home: _HomeRecord) -> None:
    ours = _place().with_name(f"{FILE}.{os.getpid()}")
    with os.fdopen(os.open(ours, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(f"{home.identity} {home.starts}\n")
    move_durably(ours, _place())


def _read() -> _HomeRecord | None:
    """Return what the home knows; nothing in one that was never started with a database."""
    try:
        identity, starts = _place().read_text().split()
        return _HomeRecord(identity, int(starts))
    except (FileNotFoundError, ValueError):
        return None


def _problem(home: _HomeRecord | None, database: Installation | None) -> str:
    place = settings.TRAINYARD_HOME
    if home is None:
        if database is None or database.starts == 0:
            return ""
        return f"The database belongs to another home than {place}, which is new to it."
    if database is None:
        if home.starts == 0:
            return ""
        return f"The database is new, and {place} belongs to another one."
    if home.identity != database.identity:
        return f"The database and {place} belong to different installations."
    if database.starts < home.starts:
        return f"The database is older than the one that {place} was last started with."
    return ""
