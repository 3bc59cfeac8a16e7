"""Clear away what uploads left that were never finished."""

import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from itertools import chain

from runs.blobs import store_for, uploads_folder
from runs.models import Snapshot
from runs.snapshots import Manifest
from workspace.models import Team

KEPT_FOR = timedelta(days=1)


def sweep_uploads(*, also_kept: Callable[[Team], Iterable[str]]) -> int:
    """Remove files of every team that nothing has and that are a day old; give their number.

    `also_kept` gives the digests of the manifests that a team keeps beside its snapshots.
    """
    before = time.time() - KEPT_FOR.total_seconds()
    removed = sum(_sweep_team(team, also_kept(team), before) for team in Team.objects.all())
    for path in uploads_folder().iterdir():
        if path.is_file() and path.stat().st_mtime < before:
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def _sweep_team(team: Team, also_kept: Iterable[str], before: float) -> int:
    store = store_for(team)
    used: set[str] = set()
    snapshots = Snapshot.objects.filter(team=team).values_list("digest", flat=True)
    for digest in chain(snapshots.iterator(), also_kept):
        used.add(digest)
        if store.has([digest]):
            manifest = Manifest.from_content(store.path(digest).read_bytes())
            used.update(entry.digest for entry in manifest.entries)
    return store.remove_unused(used, unless_newer_than=before)
