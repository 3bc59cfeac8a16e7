"""Have a worker scan versions whose scan is missing, such as after an upgrade that looks for more.

Out: `scan_version`, which stores a scan, or a finding that says why there is none.
"""

import logging

from models.models import ModelVersion
from models.savedmodel.scan import unscanned
from models.selectors import scan_of
from runs.source.snapshots import DamagedManifest
from workspace.platform.background_jobs import enqueue_once
from workspace.platform.broker import JobQueue
from workspace.platform.errors import DomainError, NotFound

JOB = "models.scans.scan_version"
JOB_SECONDS = 300
log = logging.getLogger(__name__)


def request_scan(version: ModelVersion) -> None:
    """Ask a worker to scan a version; asking often does it once."""
    enqueue_once(
        JobQueue.DEFAULT, JOB, version.pk, job_id=f"scan-{version.pk}", timeout_seconds=JOB_SECONDS
    )


def scan_version(version_id: int) -> None:
    """Scan a version that was not. One that cannot be read counts as reaching beyond itself."""
    version = ModelVersion.objects.get(pk=version_id)
    try:
        scan_of(version)
    except (NotFound, DamagedManifest) as error:  # a restored backup may bring the files back
        log.warning("%s is not scanned: %s", version, error)
    except (DomainError, RuntimeError) as error:
        log.warning("%s cannot be scanned: %s", version, error)
        version.scan = unscanned(str(error))
        version.save(update_fields=["scan"])
