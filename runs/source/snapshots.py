"""Snapshots: immutable source directories, made of a manifest over a team's blobs."""

import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import sha256
from typing import NamedTuple, Self

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from runs.models import Snapshot
from runs.source.blobs import CHUNK, BlobStore, is_digest, store_for
from runs.source.ignore import IgnoredFile, ignored_sources
from runs.source.paths import errors_in, shown
from workspace.audit import audit
from workspace.models import Team
from workspace.platform.errors import Conflict, FieldError, Invalid, NotFound, TooLarge
from workspace.sizes import size_text

SHOWN_TEXT_BYTES = 256 * 1024
LARGEST_SHOWN = 10
KNOWN_SNAPSHOTS = 50
TAR_BLOCK = 512


class ManifestEntry(NamedTuple):
    """One file of a source directory. Of its mode, only the owner's right to execute is kept."""

    path: str
    digest: str
    size: int
    executable: bool = False


@dataclass(frozen=True)
class Manifest:
    """Every file of a source directory, by path. Make one with `of`, which checks it."""

    entries: tuple[ManifestEntry, ...]

    @classmethod
    def of(cls, entries: Iterable[ManifestEntry]) -> Self:
        """Make a manifest. Raises Invalid, naming every path that cannot be in it."""
        found = sorted(entries)
        errors = list(errors_in(entry.path for entry in found))
        for entry in found:
            if not is_digest(entry.digest):
                errors.append(FieldError(shown(entry.path), "its digest is not a SHA-256."))
            if entry.size < 0:
                errors.append(FieldError(shown(entry.path), "its size is below 0."))
        if errors:
            raise unusable_paths(errors)
        return cls(tuple(found))

    @cached_property
    def content(self) -> bytes:
        """Return the bytes that the manifest is stored as, and that its digest stands for.

        Only an executable file has a fourth item, so that a manifest without one never changes.
        """
        files = [entry if entry.executable else entry[:3] for entry in self.entries]
        return json.dumps(
            {"version": 1, "files": files}, ensure_ascii=False, separators=(",", ":")
        ).encode()

    @cached_property
    def digest(self) -> str:
        return sha256(self.content).hexdigest()

    @property
    def total_bytes(self) -> int:
        return sum(entry.size for entry in self.entries)

    def to_json(self) -> list[dict[str, str | int | bool]]:
        return [entry._asdict() for entry in self.entries]

    @classmethod
    def from_content(cls, content: bytes) -> Self:
        """Read what `content` gave; it was checked then."""
        return cls(tuple(ManifestEntry(*file) for file in json.loads(content)["files"]))


class DamagedManifest(Conflict):
    """What is stored as a manifest is not what its digest stands for."""


def stored_manifest(store: BlobStore, digest: str) -> Manifest:
    """Read a manifest, held against its digest. Raises DamagedManifest and FileNotFoundError."""
    content = store.path(digest).read_bytes()
    if sha256(content).hexdigest() != digest:
        raise DamagedManifest(f"The list of files {digest} is damaged in the storage.")
    return Manifest.from_content(content)


def unusable_paths(errors: list[FieldError]) -> Invalid:
    """Return which paths cannot be in a source directory; of very many, the first."""
    first = errors[0]
    more = f" {len(errors) - 1} more paths cannot be used." if len(errors) > 1 else ""
    return Invalid(f"{first.field} cannot be used: {first.message}{more}", errors=errors[:50])


def snapshot_of(team: Team, digest: str) -> Snapshot:
    """Return the team's snapshot of that digest."""
    snapshot = Snapshot.objects.filter(team=team, digest=digest).first()
    if snapshot is None:
        raise NotFound(f"{team.name} has no snapshot {shown(digest[:12])}. Upload the files again.")
    return snapshot


def manifest_of(snapshot: Snapshot) -> Manifest:
    """Return what a snapshot holds."""
    try:
        return stored_manifest(store_for(snapshot.team), snapshot.digest)
    except FileNotFoundError:
        raise NotFound(f"The files of snapshot {snapshot} are missing from the storage.") from None
    except DamagedManifest:
        raise DamagedManifest(
            f"The list of snapshot {snapshot}'s files is damaged in the storage."
            " Upload the files again."
        ) from None


def create_snapshot(
    *,
    team: Team,
    by: User | None,
    manifest: Manifest,
    ignored: Iterable[IgnoredFile] | None = None,
) -> Snapshot:
    """Make a snapshot of files that are all stored, or give the one that is the same.

    The row is written last, so a snapshot that exists is whole. `ignored` are the files that the
    upload left out; None where that is not known.
    """
    if not manifest.entries:
        raise Invalid("No files to upload: the directory is empty, or all files are ignored.")
    store = store_for(team)
    existing = Snapshot.objects.filter(team=team, digest=manifest.digest).first()
    if existing is None:
        check_limits(team, [(entry.path, entry.size) for entry in manifest.entries])
        check_added_files(team, manifest)
    sizes = {entry.digest: entry.size for entry in manifest.entries}
    lacking = set(store.missing(sizes))
    errors = [
        FieldError(shown(entry.path), _lack(store, entry))
        for entry in manifest.entries
        if entry.digest in lacking or sizes[entry.digest] != entry.size
    ]
    if errors:
        raise Invalid(
            f"{errors[0].field} {errors[0].message} No snapshot was created.",
            errors=errors[:50],
        )
    store.put_lasting(manifest.content)
    left_out = [[file.path, file.rule] for file in ignored_sources(ignored or ())]
    if existing is not None:
        existing.uploaded_at = timezone.now()
        if ignored is not None:
            existing.ignored_files = left_out
        existing.save(update_fields=["uploaded_at", "ignored_files"])
        return existing
    with transaction.atomic():
        snapshot, created = Snapshot.objects.get_or_create(
            team=team,
            digest=manifest.digest,
            defaults={
                "file_count": len(manifest.entries),
                "total_bytes": manifest.total_bytes,
                "ignored_files": left_out,
                "created_by": by,
            },
        )
        if created:
            audit(team=team, actor=by, action="snapshot.create", subject=f"snapshot {snapshot}")
    return snapshot


def _lack(store: BlobStore, entry: ManifestEntry) -> str:
    stored = store.size(entry.digest)
    if stored is None:
        return "was not uploaded."
    return f"is announced with {entry.size} bytes, but the file of that digest has {stored}."


def check_limits(team: Team, files: Iterable[tuple[str, int]]) -> None:
    """Refuse a directory larger than the team allows, naming its largest files."""
    sized = list(files)
    total = sum(size for _, size in sized)
    if total > team.snapshot_max_bytes:
        raise TooLarge(
            f"The snapshot has {size_text(total)}; {team.name} allows"
            f" {size_text(team.snapshot_max_bytes)}. Exclude files with an .amlignore file, or ask"
            f" an admin of the team for more. Largest: {_listed(largest(sized))}.",
            errors=_as_errors(largest(sized)),
        )


def check_added_files(team: Team, manifest: Manifest) -> None:
    """Refuse more added or changed files than the team allows, naming the largest of them."""
    if len(manifest.entries) <= team.snapshot_max_files:
        return
    known = known_digests(team)
    added = [(entry.path, entry.size) for entry in manifest.entries if entry.digest not in known]
    if len(added) > team.snapshot_max_files:
        raise added_files_problem(team, added)


def added_files_problem(team: Team, added: list[tuple[str, int]]) -> TooLarge:
    return TooLarge(
        f"{len(added):,} files are new or changed; {team.name} allows"
        f" {team.snapshot_max_files:,} in one upload. Exclude files with an .amlignore file,"
        f" or ask an admin of the team for more. Largest: {_listed(largest(added))}.",
        errors=_as_errors(largest(added)),
    )


def known_digests(team: Team) -> set[str]:
    """Return the digests of all files in the team's latest snapshots."""
    store = store_for(team)
    known: set[str] = set()
    for digest in (
        Snapshot.objects.filter(team=team)
        .order_by("-pk")
        .values_list("digest", flat=True)[:KNOWN_SNAPSHOTS]
    ):
        with suppress(FileNotFoundError, DamagedManifest):
            known.update(entry.digest for entry in stored_manifest(store, digest).entries)
    return known


def largest(files: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted(files, key=lambda file: (-file[1], file[0]))[:LARGEST_SHOWN]


def _listed(files: list[tuple[str, int]]) -> str:
    return ", ".join(f"{shown(path)} ({size_text(size)})" for path, size in files)


def _as_errors(files: list[tuple[str, int]]) -> list[FieldError]:
    return [FieldError(shown(path), f"{size_text(size)}.") for path, size in files]


def read(snapshot: Snapshot) -> Mapping[str, Callable[[], bytes]]:
    """Return a reader of every file, by path."""
    store = store_for(snapshot.team)
    return {
        entry.path: partial(_content, store, entry.digest)
        for entry in manifest_of(snapshot).entries
    }


def _content(store: BlobStore, digest: str) -> bytes:
    return store.path(digest).read_bytes()


@dataclass(frozen=True)
class ShownFile:
    """A file of a snapshot as a page shows it; `text` is None for what is not text."""

    path: str
    size: int
    text: str | None
    is_cut: bool


def shown_file(snapshot: Snapshot, path: str) -> ShownFile:
    """Return a file's text, or the beginning of a long one."""
    entry = next((entry for entry in manifest_of(snapshot).entries if entry.path == path), None)
    if entry is None:
        raise NotFound(f"Snapshot {snapshot} has no file {shown(path)}.")
    with store_for(snapshot.team).open(entry.digest) as file:
        start = file.read(SHOWN_TEXT_BYTES)
    is_cut = entry.size > SHOWN_TEXT_BYTES
    return ShownFile(path, entry.size, None if b"\0" in start else _text(start, is_cut), is_cut)


def _text(content: bytes, is_cut: bool) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        # A cut may fall inside the last character.
        if is_cut and error.start > len(content) - 4:
            return content[: error.start].decode()
        return None


def tar_of(store: BlobStore, manifest: Manifest) -> Iterator[bytes]:
    """Yield a plain tar of all files, piece by piece, always the same bytes."""
    pieces: list[bytes] = []
    held = 0
    for entry in manifest.entries:
        header = tarfile.TarInfo(entry.path)
        header.size = entry.size
        header.mode = 0o755 if entry.executable else 0o644
        pieces.append(header.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict"))
        sent = 0
        with store.open(entry.digest) as file:
            while chunk := file.read(CHUNK):
                sent += len(chunk)
                held += len(chunk)
                pieces.append(chunk)
                if held >= CHUNK:
                    yield b"".join(pieces)
                    pieces, held = [], 0
        if sent != entry.size:
            raise OSError(f"Blob {entry.digest} has {sent} bytes, not {entry.size}.")
        pieces.append(bytes(-sent % TAR_BLOCK))
    pieces.append(bytes(2 * TAR_BLOCK))
    yield b"".join(pieces)
