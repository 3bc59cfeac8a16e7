"""Where a version's files come from: a folder of a run's outputs, or an uploaded archive."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from django.conf import settings

from models.savedmodel import GRAPH_FILE, SavedModel, check, choose_folder
from runs.archives import Archive, common_folder, open_archive
from runs.blobs import CHUNK, BlobStore, WrongDigest, temporary_file
from runs.files import OUTPUTS, outputs_of
from runs.models import Run
from runs.snapshots import Entry, Manifest
from runs.source_paths import errors_in
from workspace.errors import Conflict, DomainError, FieldError, Invalid, TooLarge

CHECKED_FILES = (GRAPH_FILE, "variables/variables.index")


@dataclass(frozen=True)
class Found:
    """A SavedModel whose files are all in the team's store, and the folder that it was in."""

    folder: str
    saved_model: SavedModel
    manifest: Manifest


def from_run(run: Run, path: str, store: BlobStore) -> Found:
    """Store the SavedModel at or below a folder of a run's outputs.

    `path` may be written with or without outputs/ at its start.
    """
    outputs = {file.path: file for file in outputs_of(run)}
    if not outputs:
        raise _refused("path", f"Run {run.number} has no outputs.")
    asked = path.strip("/")
    if asked != OUTPUTS and not asked.startswith(f"{OUTPUTS}/"):
        asked = f"{OUTPUTS}/{asked}".rstrip("/")
    with _naming("path"):
        folder = choose_folder(outputs, asked)
        files = {name: outputs[f"{folder}/{name}"] for name in _below(folder, outputs)}
        saved_model = check(
            {name: file.size for name, file in files.items()}, lambda name: files[name].location
        )
    entries = []
    for name, file in files.items():
        try:
            with file.location.open("rb") as content:
                digest, size = store.put_stream(content, expected_digest=file.digest or None)
        except (WrongDigest, FileNotFoundError):
            raise Conflict(f"{file.path} is just being written anew. Register it again.") from None
        entries.append(Entry(name, digest, size))
    return Found(folder, saved_model, Manifest.of(entries))


def from_uploads(files: Mapping[str, BinaryIO], store: BlobStore) -> Found:
    """Store the SavedModel among files that a browser sent, by their paths."""
    with _naming("archive"):
        for wrong in errors_in(files, folders=()):
            raise Invalid(f"{wrong.field}: {wrong.message}")
        folder = choose_folder(files)
        sizes = {name: files[_joined(folder, name)].seek(0, 2) for name in _below(folder, files)}
        if sum(sizes.values()) > settings.TRAINYARD_MODEL_MAX_BYTES:
            most = f"{settings.TRAINYARD_MODEL_MAX_BYTES:,}"
            raise TooLarge(f"The folder is larger than the {most} bytes that a model may have.")
        for name in sizes:
            files[_joined(folder, name)].seek(0)
        with ExitStack() as stack:
            places: dict[str, Path] = {}
            for name in CHECKED_FILES:
                if name in sizes:
                    places[name], copy = stack.enter_context(temporary_file())
                    shutil.copyfileobj(files[_joined(folder, name)], copy, CHUNK)
                    copy.flush()
                    files[_joined(folder, name)].seek(0)
            saved_model = check(sizes, places.__getitem__)
        entries = [Entry(name, *store.put_stream(files[_joined(folder, name)])) for name in sizes]
    return Found(folder, saved_model, Manifest.of(entries))


def from_folder(folder: Path, path: str, store: BlobStore) -> Found:
    """Store the SavedModel in a folder that a converter wrote; links in it count as nothing."""
    files = {
        found.relative_to(folder).as_posix(): found
        for found in sorted(folder.rglob("*"))
        if found.is_file() and not found.is_symlink()
    }
    saved_model = check(
        {name: found.stat().st_size for name, found in files.items()}, files.__getitem__
    )
    entries = []
    for name, found in files.items():
        with found.open("rb") as content:
            entries.append(Entry(name, *store.put_stream(content)))
    return Found(path, saved_model, Manifest.of(entries))


def from_archive(file: BinaryIO, filename: str, path: str, store: BlobStore) -> Found:
    """Store the SavedModel at or below a folder of a .zip or .tar.gz."""
    with _naming("archive"):
        archive = open_archive(
            file, filename, max_unpacked_bytes=settings.TRAINYARD_MODEL_MAX_BYTES
        )
        sizes = {member.path: member.size for member in archive.members}
        if not sizes:
            raise Invalid("The archive holds no file.")
    asked = path.strip("/")
    if asked and not any(name.startswith(f"{asked}/") for name in sizes):
        asked = f"{common_folder(sizes)}{asked}"
    with _naming("path" if asked else "archive"):
        folder = choose_folder(sizes, asked)
    places = {name: _joined(folder, name) for name in _below(folder, sizes)}
    with _naming("archive"):
        saved_model = _check_archived(
            archive, places, {name: sizes[place] for name, place in places.items()}
        )
        names = {place: name for name, place in places.items()}
        entries = [
            Entry(names[member.path], *store.put_stream(content))
            for member, content in archive.contents(names)
        ]
    return Found(folder, saved_model, Manifest.of(entries))


def _check_archived(
    archive: Archive, places: Mapping[str, str], sizes: Mapping[str, int]
) -> SavedModel:
    """Check a SavedModel that is still packed, unpacking only what has to be read."""
    names = {places[name]: name for name in CHECKED_FILES if name in places}
    found: dict[str, Path] = {}
    with ExitStack() as stack:
        for member, content in archive.contents(names):
            path, unpacked = stack.enter_context(temporary_file())
            while chunk := content.read(CHUNK):
                unpacked.write(chunk)
            unpacked.flush()
            found[names[member.path]] = path
        return check(sizes, found.__getitem__)


def _below(folder: str, paths: Mapping[str, object]) -> Iterator[str]:
    start = f"{folder}/" if folder else ""
    return (path.removeprefix(start) for path in paths if path.startswith(start))


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _refused(field: str, message: str) -> Invalid:
    return Invalid(message, errors=[FieldError(field, message)])


@contextmanager
def _naming(field: str) -> Iterator[None]:
    """Say of which field of the registration an error is."""
    try:
        yield
    except DomainError as error:
        messages = [entry.message for entry in error.errors] or [error.message]
        errors = [FieldError(field, message) for message in messages]
        raise type(error)(error.message, errors=errors) from error
