"""Bring source directories in: what of them is sent, file by file or as one archive."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import IO

from django.contrib.auth.models import User

from runs.archive_listing import MAX_ENTRIES, too_large
from runs.archives import Archive, common_folder, open_archive
from runs.blobs import (
    Readable,
    WrongDigest,
    is_digest,
    store_for,
)
from runs.ignore import MAX_FILE_BYTES, Ignored, Rules, ignore_file_among, rules_from
from runs.models import Snapshot
from runs.sensitive import why_sensitive
from runs.snapshots import (
    Entry,
    Manifest,
    added_files_problem,
    check_added_files,
    check_limits,
    create_snapshot,
    in_words,
    known_digests,
    largest,
    unusable_paths,
)
from runs.source_paths import errors_in, problem_of, shown
from workspace.errors import FieldError, Invalid, TooLarge
from workspace.models import MEBIBYTE, Team

UNPACKED_TO_LIMIT = 10
MAX_INDEX_BYTES = 4 * MEBIBYTE
INDEX_LENGTH_BYTES = 4


@dataclass(frozen=True)
class Plan:
    """What of a directory is sent, what is left out by which rule, and what to look at first."""

    kept: list[tuple[str, int]]
    ignored: list[Ignored] = field(default_factory=list)
    ignore_file: str = ""
    problem: str = ""

    @property
    def total_bytes(self) -> int:
        return sum(size for _, size in self.kept)

    @property
    def largest(self) -> list[tuple[str, int]]:
        return largest(self.kept)

    @property
    def secrets(self) -> list[tuple[str, str]]:
        found = ((path, why_sensitive(path)) for path, _ in self.kept)
        return [(path, why) for path, why in found if why]


def plan_upload(
    *, team: Team, files: Iterable[tuple[str, int]], ignore: tuple[str, bytes] | None
) -> Plan:
    """Say what of a directory would be sent. `ignore` is its ignore file, with its content.

    Raises Invalid where a file that would be sent cannot be.
    """
    listed = list(files)
    if len(listed) > MAX_ENTRIES:
        raise TooLarge(f"The directory has more than {MAX_ENTRIES:,} files.")
    plan = _sorted_out(listed, rules_from(*ignore) if ignore else Rules())
    errors = list(errors_in(path for path, _ in plan.kept))
    if errors:
        raise unusable_paths(errors)
    try:
        check_limits(team, plan.kept)
    except TooLarge as error:
        return Plan(plan.kept, plan.ignored, plan.ignore_file, problem=error.message)
    return plan


def _sorted_out(files: list[tuple[str, int]], rules: Rules) -> Plan:
    kept: list[tuple[str, int]] = []
    ignored: list[Ignored] = []
    for path, size in files:
        rule = rules.left_out_by(path)
        if rule:
            ignored.append(Ignored(path, rule))
        else:
            kept.append((path, size))
    return Plan(sorted(kept), sorted(ignored, key=lambda file: file.path), rules.name)


@dataclass(frozen=True)
class Unpacked:
    """The files of an archive, stored, and how they were chosen.

    `folder` is the one top folder that all of them were under; their paths are without it.
    """

    manifest: Manifest
    plan: Plan
    folder: str


def unpack_archive(*, team: Team, file: IO[bytes], filename: str) -> Unpacked:
    """Store the files of a .zip, .tar or .tar.gz that its ignore file does not leave out.

    A single top folder, as archives of a whole folder have, is taken off every path.
    """
    size = file.seek(0, 2)
    if size > team.snapshot_max_bytes:
        raise too_large(
            f"It has {in_words(size)}; {team.name} allows {in_words(team.snapshot_max_bytes)}."
        )
    archive = open_archive(
        file, filename, max_unpacked_bytes=UNPACKED_TO_LIMIT * team.snapshot_max_bytes
    )
    never = Rules()
    paths = [member.path for member in archive.members]
    folder = common_folder([path for path in paths if not never.left_out_by(path)])
    sized = [(member.path.removeprefix(folder), member.size) for member in archive.members]
    plan = _sorted_out(sized, _rules_of(archive, folder))
    check_limits(team, plan.kept)
    return Unpacked(_store_members(team, archive, folder, plan), plan, folder)


def _rules_of(archive: Archive, folder: str) -> Rules:
    roots = {
        member.path.removeprefix(folder): member
        for member in archive.members
        if member.path.startswith(folder)
    }
    name = ignore_file_among(roots)
    for _, content in archive.contents({folder + name} if name else ()):
        return rules_from(name, content.read(MAX_FILE_BYTES + 1))
    return Rules()


def _store_members(team: Team, archive: Archive, folder: str, plan: Plan) -> Manifest:
    store = store_for(team)
    known = known_digests(team) if len(plan.kept) > team.snapshot_max_files else None
    added: list[tuple[str, int]] = []
    entries = []
    for member, content in archive.contents({folder + path for path, _ in plan.kept}):
        digest, size = store.put_stream(content)
        entries.append(Entry(member.path.removeprefix(folder), digest, size))
        if known is not None and digest not in known:
            added.append((entries[-1].path, size))
            if len(added) > team.snapshot_max_files:
                raise added_files_problem(team, added)
    return Manifest.of(entries)


def snapshot_from_archive(
    *, team: Team, by: User | None, file: IO[bytes], filename: str
) -> Snapshot:
    """Make a snapshot of an archive's files. Raises Invalid or TooLarge, and then makes nothing."""
    unpacked = unpack_archive(team=team, file=file, filename=filename)
    return create_snapshot(team=team, by=by, manifest=unpacked.manifest)


def missing_files(*, team: Team, manifest: Manifest) -> list[str]:
    """Give the digests of the files that the team's store does not have yet.

    Raises TooLarge where the directory is over the team's limits.
    """
    check_limits(team, [(entry.path, entry.size) for entry in manifest.entries])
    check_added_files(team, manifest)
    return store_for(team).missing({entry.digest: entry.size for entry in manifest.entries})


@dataclass(frozen=True)
class Announced:
    """A file that is about to come; `digest` is empty where the browser cannot know it."""

    path: str
    size: int
    digest: str = ""


def store_batch(*, team: Team, body: Readable) -> list[Entry]:
    """Store the files of one request, and give them with their digests.

    The body is the length of an index in 4 bytes (the highest first), the index as JSON
    `[{"path", "size", "digest"}]`, then the bytes of each file, one after the other. Raises Invalid
    naming the first file whose bytes are not those announced; none after it is stored.
    """
    announced = _index_of(body)
    total = sum(file.size for file in announced)
    if total > team.snapshot_max_bytes:
        raise TooLarge(
            f"The files of this request have {in_words(total)}; {team.name} allows"
            f" {in_words(team.snapshot_max_bytes)}."
        )
    store = store_for(team)
    entries = []
    for file in announced:
        content = _Part(body, file.size)
        try:
            digest, _ = store.put_stream(content, expected_digest=file.digest or None)
        except WrongDigest:
            raise _lie(file, "its bytes have another digest than announced") from None
        except EOFError:
            raise _lie(file, f"fewer than the {file.size} bytes announced came") from None
        entries.append(Entry(file.path, digest, file.size))
    if body.read(1):
        last = announced[-1] if announced else Announced("the index", 0)
        raise _lie(last, "more bytes came than announced")
    return entries


def _lie(file: Announced, why: str) -> Invalid:
    return Invalid(
        f"{shown(file.path)} was not stored: {why}. Was it changed during the upload? Try again.",
        errors=[FieldError(shown(file.path), f"{why}.")],
    )


def _index_of(body: Readable) -> list[Announced]:
    try:
        length = int.from_bytes(_exactly(body, INDEX_LENGTH_BYTES), "big")
        if length > MAX_INDEX_BYTES:
            raise Invalid("The index of the files is larger than 4 MB.")
        items = json.loads(_exactly(body, length))
        announced = [
            Announced(str(item["path"]), item["size"], item.get("digest") or "") for item in items
        ]
    except (EOFError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Invalid("The index of the files cannot be read.") from None
    for file in announced:
        problem = problem_of(file.path)
        if type(file.size) is not int or file.size < 0:
            problem = "its size is no whole number from 0 up"
        elif file.digest and not (isinstance(file.digest, str) and is_digest(file.digest)):
            problem = "its digest is not a SHA-256"
        if problem:
            raise _lie(file, problem)
    return announced


def _exactly(body: Readable, size: int) -> bytes:
    pieces = []
    while size > 0:
        piece = body.read(size)
        if not piece:
            raise EOFError
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


class _Part:
    """A number of bytes of a longer stream."""

    def __init__(self, body: Readable, size: int) -> None:
        self._body = body
        self._left = size

    def read(self, size: int, /) -> bytes:
        piece = _exactly(self._body, min(size, self._left))
        self._left -= len(piece)
        return piece
