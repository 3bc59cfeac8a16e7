"""The files that a process gets before it starts."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from runs.files.archives import tar_of_files
from runs.files.store import OUTPUTS, outputs_of
from runs.models import Process
from runs.source.blobs import store_for
from runs.source.snapshots import manifest_of, tar_of


def snapshot_tar(process: Process) -> Iterator[bytes]:
    run = process.group.run
    if run is None:
        raise ValueError("Only a run has a snapshot.")
    return tar_of(store_for(run.team), manifest_of(run.source))


def outputs_tar(process: Process) -> Iterator[bytes]:
    """Return the outputs of the run that a process resumes from, as a tar stream."""
    run = process.group.run
    if run is None or run.resumed_from is None:
        raise ValueError("This process resumes from nothing.")
    files = outputs_of(run.resumed_from)
    return tar_of_files(replace(file, path=file.path.removeprefix(f"{OUTPUTS}/")) for file in files)


_sources: dict[str, Callable[[Process], Iterator[bytes]]] = {"snapshot": snapshot_tar}


def register_source(name: str, make: Callable[[Process], Iterator[bytes]]) -> None:
    """Add a kind of source that the launch settings of a process may name."""
    _sources[name] = make


def source_of(process: Process) -> Iterator[bytes]:
    """Return the tar that a process's runner unpacks before the start."""
    return _sources[process.launch["source"]](process)
