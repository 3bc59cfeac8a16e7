"""When the logs of a group last said something new, which repeated lines do not.

What was found is kept beside the logs, so that it outlives the supervisor.
"""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from runs.logs.log_file import LogFile, folder_of
from runs.logs.news import has_news

KNOWN_BYTES = 64 * 1024
MOST_COMPARED = 1024 * 1024


@dataclass(frozen=True)
class LogActivity:
    """When a log last said something new, as of the size that was looked at, and last grew."""

    size: int
    new_at: float
    grown_at: float

    @property
    def last_news(self) -> datetime | None:
        return datetime.fromtimestamp(self.new_at, UTC) if self.size else None

    @property
    def last_growth(self) -> datetime:
        return datetime.fromtimestamp(self.grown_at, UTC)


def log_activity(label: str, *, keep: bool = False) -> dict[str, LogActivity]:
    """Return the activity of each log of a group, by the log's name; `keep` it for the next look.

    Who keeps it looks every few seconds, and is one alone.
    """
    folder = folder_of(label)
    kept = _kept(folder)
    found = {
        path.stem: _activity_of(LogFile(path), kept.get(path.stem)) for path in folder.glob("*.log")
    }
    if keep and found != kept:
        _keep(folder, found)
    return found


def _activity_of(log: LogFile, before: LogActivity | None) -> LogActivity:
    status = log.path.stat()
    size, at = status.st_size, status.st_mtime
    if before is None or log.is_closed() or not 0 <= size - before.size <= MOST_COMPARED:
        return LogActivity(size, at, at)
    if size == before.size:
        return before
    start = max(before.size - KNOWN_BYTES, 0)
    known = log.read(start, before.size - start)
    is_new = has_news(known, log.read(before.size, size - before.size))
    return LogActivity(size, at if is_new else before.new_at, at)


def _kept(folder: Path) -> dict[str, LogActivity]:
    with suppress(FileNotFoundError, ValueError, TypeError):
        kept = json.loads(_place(folder).read_bytes())
        return {name: LogActivity(*fields) for name, fields in kept.items()}
    return {}


def _keep(folder: Path, found: dict[str, LogActivity]) -> None:
    text = json.dumps(
        {name: [log.size, log.new_at, log.grown_at] for name, log in sorted(found.items())}
    )
    fresh = _place(folder).with_suffix(".new")
    fresh.write_text(text)
    os.replace(fresh, _place(folder))


def _place(folder: Path) -> Path:
    return folder / "log_activity.json"
