"""Runs beside each other: what was asked for, what came out, and where they differ."""

import difflib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from runs.config import RunConfig
from runs.metrics.series import last_values
from runs.models import Run
from runs.search.parameters import parameters_of_runs
from runs.selectors import runs_of
from runs.source.blobs import store_for
from runs.source.snapshots import DamagedManifest, ManifestEntry, manifest_of
from runs.source.text import UnreadableText, decoded
from workspace.models import Team
from workspace.platform.errors import FieldError, Invalid, NotFound
from workspace.platform.requests import is_whole_number

MOST_RUNS = 50
# A diff of two files of that many lines takes 0.1 s, whatever is in them.
MOST_LINES = 5000
MOST_BYTES = 256 * 1024
MOST_FILES = 20
# What is shown by itself, or names the run and so differs without meaning anything.
NOT_COMPARED = {"name", "description", "tags", "experiment", "script_params"}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ComparedRow:
    """One thing that is known of runs, as it is in each of them; None where it is not."""

    name: str
    values: list[Any]

    @property
    def differs(self) -> bool:
        return any(value != self.values[0] for value in self.values)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"differs": self.differs}


@dataclass(frozen=True)
class FileDiff:
    """A file of the source that differs; `lines` as in a unified diff, or why there are none."""

    path: str
    lines: list[str]
    note: str = ""


def chosen_runs(team: Team, text: str) -> list[Run]:
    """Return the runs that a list such as 3,1,2 names, in its order.

    Raises Invalid unless it names 2 to 50, and NotFound where the team has one of them not.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    odd = next((part for part in parts if not is_whole_number(part)), None)
    if odd is not None:
        raise _invalid(f"{odd[:40]!r} is not the number of a run. Separate numbers by commas.")
    numbers = list(dict.fromkeys(map(int, parts)))
    if not 2 <= len(numbers) <= MOST_RUNS:
        raise _invalid(f"Choose 2 to {MOST_RUNS} runs; these are {len(numbers)}.")
    of_team = runs_of(team).filter(number__in=numbers).select_related("environment")
    found = {run.number: run for run in of_team}
    missing = [str(number) for number in numbers if number not in found]
    if missing:
        raise NotFound(f"{team.name} has no run {', '.join(missing[:10])}.")
    return [found[number] for number in numbers]


def compare_runs(runs: Sequence[Run], *, for_viewer: bool) -> dict[str, list[ComparedRow]]:
    """Return runs by subject, what differs first; for viewers without what looks secret."""
    configs = [RunConfig.from_row(run.config) if run.config else None for run in runs]
    if for_viewer:
        configs = [config and config.for_viewers() for config in configs]
    values = last_values([run.pk for run in runs])
    parameters = parameters_of_runs([run.pk for run in runs])
    return {
        "parameters": _rows([parameters[run.pk] for run in runs]),
        "metrics": _rows([values[run.pk] for run in runs]),
        "tags": _rows([run.tags for run in runs]),
        "configuration": _rows([_options_of(config) if config else {} for config in configs]),
        "environment": _rows(
            [dict(run.environment.packages) if run.environment else {} for run in runs]
        ),
        "source": _rows(
            [{path: entry.digest for path, entry in _files_of(run).items()} for run in runs]
        ),
    }


def source_diff(a: Run, b: Run) -> list[FileDiff]:
    """Return how the source of a run differs from that of another, file by file, at most 20."""
    before, after = _files_of(a), _files_of(b)
    changed = [
        path
        for path in sorted(before.keys() | after.keys())
        if (before[path].digest if path in before else "")
        != (after[path].digest if path in after else "")
    ]
    return [_file_diff(a, b, before.get(path), after.get(path)) for path in changed[:MOST_FILES]]


def _file_diff(a: Run, b: Run, old: ManifestEntry | None, new: ManifestEntry | None) -> FileDiff:
    path = next(entry.path for entry in (old, new) if entry)
    try:
        before, after = _lines_of(a, old), _lines_of(b, new)
    except UnreadableText as error:
        return FileDiff(path, [], str(error))
    except FileNotFoundError:
        return FileDiff(path, [], "It is missing from the storage.")
    names = f"run {a.number}", f"run {b.number}"
    lines = list(difflib.unified_diff(before, after, *names, lineterm=""))
    return FileDiff(path, lines, "" if lines else "Its line ends or its encoding differ.")


def _lines_of(run: Run, entry: ManifestEntry | None) -> list[str]:
    """Return the lines of a source file. Raises UnreadableText, also where it is too long."""
    if entry is None:
        return []
    if entry.size > MOST_BYTES:
        raise UnreadableText("It is too large to be shown.")
    lines = decoded(store_for(run.team).path(entry.digest).read_bytes()).splitlines()
    if len(lines) > MOST_LINES:
        raise UnreadableText("It has too many lines to be shown.")
    return lines


def _files_of(run: Run) -> dict[str, ManifestEntry]:
    """Return the source files of a run by path; none of a tracked one or a lost list."""
    if run.snapshot is None:
        return {}
    try:
        return {entry.path: entry for entry in manifest_of(run.snapshot).entries}
    except (NotFound, DamagedManifest) as error:
        log.warning("Run %s is compared without its source: %s", run.pk, error)
        return {}


def _options_of(config: RunConfig) -> dict[str, Any]:
    return {
        name: value
        for name, value in config.to_json().items()
        if name not in NOT_COMPARED and value not in (None, "", [], {})
    }


def _rows(of_runs: Sequence[Mapping[str, Any]]) -> list[ComparedRow]:
    names = dict.fromkeys(name for known in of_runs for name in known)
    rows = [ComparedRow(name, [known.get(name) for known in of_runs]) for name in names]
    return sorted(rows, key=lambda row: (not row.differs, row.name))


def _invalid(message: str) -> Invalid:
    return Invalid.of(FieldError("runs", message))
