"""The files that a replica gets before it starts: those of its model version."""

from collections.abc import Iterator

from models.files import tar_of_version, verify_files
from runs.models import Process

MODEL = "model"


def model_tar(process: Process) -> Iterator[bytes]:
    """Return what a replica's runner unpacks: model/<version>/ with the version's files."""
    version = process.group.replica.revision.model_version
    verify_files(version)
    return tar_of_version(version, f"{MODEL}/{version.version}")
