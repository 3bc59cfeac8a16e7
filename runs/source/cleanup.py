"""Clear away what uploads left that no run has: files, and snapshots."""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from itertools import chain

from django.utils import timezone

from runs.models import Snapshot
from runs.source.blobs import store_for, uploads_folder
from runs.source.snapshots import DamagedManifest, stored_manifest
from workspace.models import Team

KEPT_FOR = timedelta(days=1)
log = logging.getLogger(__name__)


def remove_unused_uploads(*, also_in_use: Callable[[Team], Iterable[str]]) -> int:
    """Remove files of every team that nothing has and that are a day old; give their number.

    `also_in_use` gives the digests of the manifests that a team keeps beside its snapshots.
    """
    Snapshot.objects.filter(runs=None, uploaded_at__lt=timezone.now() - KEPT_FOR).delete()
    before = time.time() - KEPT_FOR.total_seconds()
    removed = sum(_sweep_team(team, also_in_use(team), before) for team in Team.objects.all())
    for path in uploads_folder().iterdir():
        if path.is_file() and path.stat().st_mtime < before:
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def _sweep_team(team: Team, also_in_use: Iterable[str], before: float) -> int:
    store = store_for(team)
    used: set[str] = set()
    damaged: list[str] = []
    snapshots = Snapshot.objects.filter(team=team).values_list("digest", flat=True)
    for digest in chain(snapshots.iterator(), also_in_use):
        used.add(digest)
        try:
            used.update(entry.digest for entry in stored_manifest(store, digest).entries)
        except FileNotFoundError:
            continue
        except DamagedManifest:
            damaged.append(digest)
    if damaged:
        # What it listed is not known, so all may be in use.
        log.error("Nothing of %s is swept: %s is damaged in its storage.", team, damaged[0])
        return 0
    return store.remove_unused(used, unless_newer_than=before)
