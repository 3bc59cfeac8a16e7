"""Clear away what uploads left that were never finished."""

import time
from datetime import timedelta

from runs.blobs import store_for, uploads_folder
from runs.models import Snapshot
from runs.snapshots import Manifest
from workspace.models import Team

KEPT_FOR = timedelta(days=1)


def sweep_uploads() -> int:
    """Remove files of every team that no snapshot has and that are a day old; give their number."""
    before = time.time() - KEPT_FOR.total_seconds()
    removed = sum(_sweep_team(team, before) for team in Team.objects.all())
    for path in uploads_folder().iterdir():
        if path.is_file() and path.stat().st_mtime < before:
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def _sweep_team(team: Team, before: float) -> int:
    store = store_for(team)
    used: set[str] = set()
    for digest in Snapshot.objects.filter(team=team).values_list("digest", flat=True).iterator():
        used.add(digest)
        if store.has([digest]):
            manifest = Manifest.from_content(store.path(digest).read_bytes())
            used.update(entry.digest for entry in manifest.entries)
    return store.remove_unused(used, unless_newer_than=before)
