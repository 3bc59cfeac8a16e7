"""Where a version's files come from: a folder of a run's outputs, or an uploaded archive."""

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from django.conf import settings

from models.savedmodel.folders import GRAPH_FILE, MAX_LISTED, candidates, choose
from models.savedmodel.inspection import SavedModel, may_serve, validate
from runs.files.store import OUTPUTS, RunFileOnDisk, outputs_of
from runs.models import Run
from runs.source.archives import Archive, common_folder, open_archive
from runs.source.blobs import CHUNK, BlobStore, WrongDigest, temporary_file
from runs.source.paths import errors_in
from runs.source.snapshots import Manifest, ManifestEntry
from workspace.platform.errors import Conflict, DomainError, FieldError, Invalid, TooLarge

CHECKED_FILES = (GRAPH_FILE, "variables/variables.index")
# Makes files of a source readable, given their paths.
Open = Callable[[Collection[str]], AbstractContextManager[Mapping[str, Path]]]


@dataclass(frozen=True)
class StoredSavedModel:
    """A SavedModel whose files are all in the team's store, and the folder that it was in."""

    folder: str
    saved_model: SavedModel
    manifest: Manifest


def from_run(run: Run, path: str, store: BlobStore) -> StoredSavedModel:
    """Store the SavedModel at or below a folder of a run's outputs.

    `path` may be written with or without outputs/ at its start.
    """
    outputs = {file.path: file for file in outputs_of(run)}
    if not outputs:
        raise _invalid("path", f"Run {run.number} has no outputs.")
    asked = path.strip("/")
    if asked != OUTPUTS and not asked.startswith(f"{OUTPUTS}/"):
        asked = f"{OUTPUTS}/{asked}".rstrip("/")
    with _errors_for_field("path"):
        folder = _choose(outputs, asked, partial(_located, outputs))
        files = {name: outputs[f"{folder}/{name}"] for name in _paths_below(folder, outputs)}
        saved_model = validate(
            {name: file.size for name, file in files.items()}, lambda name: files[name].location
        )
    entries = []
    for name, file in files.items():
        try:
            with file.location.open("rb") as content:
                digest, size = store.put_stream(content, expected_digest=file.digest or None)
        except (WrongDigest, FileNotFoundError):
            raise Conflict(f"{file.path} changed during registration. Try again.") from None
        entries.append(ManifestEntry(name, digest, size))
    return StoredSavedModel(folder, saved_model, Manifest.of(entries))


def from_uploads(files: Mapping[str, BinaryIO], store: BlobStore) -> StoredSavedModel:
    """Store the SavedModel among files that a browser sent, by their paths."""
    with _errors_for_field("archive"):
        for wrong in errors_in(files, folders=()):
            raise Invalid(f"{wrong.field}: {wrong.message}")
        folder = _choose(files, "", partial(_copied, files))
        sizes = {
            name: files[_joined(folder, name)].seek(0, 2) for name in _paths_below(folder, files)
        }
        if sum(sizes.values()) > settings.TRAINYARD_MODEL_MAX_BYTES:
            most = f"{settings.TRAINYARD_MODEL_MAX_BYTES:,}"
            raise TooLarge(f"The folder is larger than the {most} bytes that a model may have.")
        for name in sizes:
            files[_joined(folder, name)].seek(0)
        checked = [_joined(folder, name) for name in CHECKED_FILES if name in sizes]
        with _copied(files, checked) as places:
            saved_model = validate(sizes, lambda name: places[_joined(folder, name)])
        entries = [
            ManifestEntry(name, *store.put_stream(files[_joined(folder, name)])) for name in sizes
        ]
    return StoredSavedModel(folder, saved_model, Manifest.of(entries))


def from_folder(folder: Path, path: str, store: BlobStore) -> StoredSavedModel:
    """Store the SavedModel in a folder that a converter wrote; links in it count as nothing."""
    files = {
        found.relative_to(folder).as_posix(): found
        for found in sorted(folder.rglob("*"))
        if found.is_file() and not found.is_symlink()
    }
    saved_model = validate(
        {name: found.stat().st_size for name, found in files.items()}, files.__getitem__
    )
    entries = []
    for name, found in files.items():
        with found.open("rb") as content:
            entries.append(ManifestEntry(name, *store.put_stream(content)))
    return StoredSavedModel(path, saved_model, Manifest.of(entries))


def from_archive(file: BinaryIO, filename: str, path: str, store: BlobStore) -> StoredSavedModel:
    """Store the SavedModel at or below a folder of a .zip or .tar.gz."""
    with _errors_for_field("archive"):
        archive = open_archive(
            file, filename, max_unpacked_bytes=settings.TRAINYARD_MODEL_MAX_BYTES
        )
        sizes = {member.path: member.size for member in archive.members}
        if not sizes:
            raise Invalid("The archive holds no file.")
    asked = path.strip("/")
    if asked and not any(name.startswith(f"{asked}/") for name in sizes):
        asked = f"{common_folder(sizes)}{asked}"
    with _errors_for_field("path" if asked else "archive"):
        folder = _choose(sizes, asked, partial(_unpacked, archive))
    places = {name: _joined(folder, name) for name in _paths_below(folder, sizes)}
    with _errors_for_field("archive"):
        checked = [places[name] for name in CHECKED_FILES if name in places]
        with _unpacked(archive, checked) as unpacked:
            saved_model = validate(
                {name: sizes[place] for name, place in places.items()},
                lambda name: unpacked[places[name]],
            )
        names = {place: name for name, place in places.items()}
        entries = [
            ManifestEntry(names[member.path], *store.put_stream(content))
            for member, content in archive.contents(names)
        ]
    return StoredSavedModel(folder, saved_model, Manifest.of(entries))


def _choose(paths: Collection[str], within: str, open_files: Open) -> str:
    """Return the folder that a path means; of several, those that no server loads are left out."""
    found = candidates(paths, within)
    if len(found) > 1:
        graphs = {candidate.graph_file for candidate in found[:MAX_LISTED]} & {*paths}
        with open_files(graphs) as places:
            idle = {path for path, place in places.items() if not may_serve(place)}
        found = [candidate for candidate in found if candidate.graph_file not in idle] or found
    return choose(found, paths)


@contextmanager
def _located(
    outputs: Mapping[str, RunFileOnDisk], paths: Collection[str]
) -> Iterator[dict[str, Path]]:
    yield {path: outputs[path].location for path in paths}


@contextmanager
def _unpacked(archive: Archive, paths: Collection[str]) -> Iterator[dict[str, Path]]:
    """Unpack some files of an archive, until the end of the block."""
    found: dict[str, Path] = {}
    with ExitStack() as stack:
        for member, content in archive.contents(paths):
            found[member.path], unpacked = stack.enter_context(temporary_file())
            while chunk := content.read(CHUNK):
                unpacked.write(chunk)
            unpacked.flush()
        yield found


@contextmanager
def _copied(files: Mapping[str, BinaryIO], paths: Collection[str]) -> Iterator[dict[str, Path]]:
    """Copy some of the files that a browser sent, until the end of the block."""
    found: dict[str, Path] = {}
    with ExitStack() as stack:
        for path in paths:
            found[path], copy = stack.enter_context(temporary_file())
            files[path].seek(0)
            shutil.copyfileobj(files[path], copy, CHUNK)
            copy.flush()
            files[path].seek(0)
        yield found


def _paths_below(folder: str, paths: Mapping[str, object]) -> Iterator[str]:
    start = f"{folder}/" if folder else ""
    return (path.removeprefix(start) for path in paths if path.startswith(start))


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _invalid(field: str, message: str) -> Invalid:
    return Invalid(message, errors=[FieldError(field, message)])


@contextmanager
def _errors_for_field(field: str) -> Iterator[None]:
    """Say of which field of the registration an error is."""
    try:
        yield
    except DomainError as error:
        messages = [entry.message for entry in error.errors] or [error.message]
        errors = [FieldError(field, message) for message in messages]
        raise type(error)(error.message, errors=errors) from error
