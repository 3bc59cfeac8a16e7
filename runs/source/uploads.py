"""Bring source directories in: what of them is sent, file by file or as one archive."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import IO

from django.contrib.auth.models import User

from runs.models import Snapshot
from runs.source.archive_listing import MAX_ENTRIES, too_large
from runs.source.archives import MAX_FILES, Archive, common_folder, list_archive
from runs.source.blobs import WrongDigest, is_digest, store_for
from runs.source.ignore import (
    FILE_NAMES,
    MAX_FILE_BYTES,
    IgnoredFile,
    IgnoreRules,
    ignore_file_among,
    rules_from,
)
from runs.source.paths import errors_in, problem_of, shown
from runs.source.readers import BoundedReader, Readable, read_exactly
from runs.source.secret_files import secret_files
from runs.source.snapshots import (
    Manifest,
    ManifestEntry,
    added_files_problem,
    check_added_files,
    check_limits,
    create_snapshot,
    known_digests,
    largest,
    unusable_paths,
)
from workspace.models import Team
from workspace.platform.errors import FieldError, Invalid, TooLarge
from workspace.platform.json_body import load_json
from workspace.sizes import MEGABYTE, size_text

UNPACKED_TO_LIMIT = 10
LEAVE_OUT = "Leave out what the run does not need with an .amlignore file."
MAX_INDEX_BYTES = 4 * MEGABYTE
INDEX_LENGTH_BYTES = 4
# No file system has larger files, and JavaScript counts no further.
MAX_FILE_SIZE = 2**53 - 1


@dataclass(frozen=True)
class UploadPlan:
    """What of a directory is sent, what is left out by which rule, and what to look at first."""

    kept: list[tuple[str, int]]
    ignored: list[IgnoredFile] = field(default_factory=list)
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
        return secret_files(path for path, _ in self.kept)


def plan_upload(
    *, team: Team, files: Iterable[tuple[str, int]], ignore: tuple[str, bytes] | None
) -> UploadPlan:
    """Return what of a directory would be sent. `ignore` is its ignore file, with its content.

    Raises Invalid where a file that would be sent cannot be.
    """
    listed = list(files)
    if len(listed) > MAX_ENTRIES:
        raise TooLarge(f"The directory has more than {MAX_ENTRIES:,} files.")
    plan = _plan(listed, rules_from(*ignore) if ignore else IgnoreRules())
    if len(plan.kept) > MAX_FILES:
        raise TooLarge(f"The directory has more than {MAX_FILES:,} files. {LEAVE_OUT}")
    errors = list(errors_in(path for path, _ in plan.kept))
    if errors:
        raise unusable_paths(errors)
    try:
        check_limits(team, plan.kept)
    except TooLarge as error:
        return UploadPlan(plan.kept, plan.ignored, plan.ignore_file, problem=error.message)
    return plan


def _plan(files: list[tuple[str, int]], rules: IgnoreRules) -> UploadPlan:
    kept: list[tuple[str, int]] = []
    ignored: list[IgnoredFile] = []
    for path, size in files:
        rule = rules.ignored_by(path)
        if rule:
            ignored.append(IgnoredFile(path, rule))
        else:
            kept.append((path, size))
    return UploadPlan(sorted(kept), sorted(ignored, key=lambda file: file.path), rules.name)


@dataclass(frozen=True)
class Unpacked:
    """The files of an archive, stored, and how they were chosen.

    `folder` is the one top folder that all of them were under; their paths are without it.
    """

    manifest: Manifest
    plan: UploadPlan
    folder: str


def unpack_archive(*, team: Team, file: IO[bytes], filename: str) -> Unpacked:
    """Store the files of a .zip, .tar or .tar.gz that its ignore file does not leave out.

    A single top folder, as archives of a whole folder have, is taken off every path.
    """
    size = file.seek(0, 2)
    if size > team.snapshot_max_bytes:
        raise too_large(
            f"It has {size_text(size)}; {team.name} allows {size_text(team.snapshot_max_bytes)}."
        )
    archive = list_archive(
        file, filename, max_unpacked_bytes=UNPACKED_TO_LIMIT * team.snapshot_max_bytes
    )
    never = IgnoreRules()
    paths = [member.path for member in archive.members]
    folder = common_folder([path for path in paths if not never.ignored_by(path)])
    sized = [(member.path.removeprefix(folder), member.size) for member in archive.members]
    rules = _rules_of(archive, folder)
    plan = _plan(sized, rules)
    _check_kept(archive, folder, plan, rules)
    check_limits(team, plan.kept)
    return Unpacked(_store_members(team, archive, folder, plan), plan, folder)


def _check_kept(archive: Archive, folder: str, plan: UploadPlan, rules: IgnoreRules) -> None:
    ignored = {file.path for file in plan.ignored}

    def is_ignored(path: str) -> bool:
        name = path.removeprefix(folder)
        return bool(name and rules.ignored_by(name)) if path.endswith("/") else name in ignored

    archive.check(is_ignored, way_out=LEAVE_OUT)


def _rules_of(archive: Archive, folder: str) -> IgnoreRules:
    """Read the ignore file of an archive; there may be one that cannot be used, such as a link."""
    usable = {member.path for member in archive.members if not member.problem}
    name = ignore_file_among([name for name in FILE_NAMES if folder + name in usable])
    for _, content in archive.contents({folder + name} if name else ()):
        return rules_from(name, content.read(MAX_FILE_BYTES + 1))
    return IgnoreRules()


def _store_members(team: Team, archive: Archive, folder: str, plan: UploadPlan) -> Manifest:
    store = store_for(team)
    known = known_digests(team) if len(plan.kept) > team.snapshot_max_files else None
    added: list[tuple[str, int]] = []
    entries = []
    for member, content in archive.contents({folder + path for path, _ in plan.kept}):
        digest, size = store.put_stream(content)
        path = member.path.removeprefix(folder)
        entries.append(ManifestEntry(path, digest, size, member.executable))
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
    return create_snapshot(
        team=team, by=by, manifest=unpacked.manifest, ignored=unpacked.plan.ignored
    )


def missing_files(*, team: Team, manifest: Manifest) -> list[str]:
    """Return the digests of the files that the team's store does not have yet.

    Raises TooLarge where the directory is over the team's limits.
    """
    check_limits(team, [(entry.path, entry.size) for entry in manifest.entries])
    check_added_files(team, manifest)
    return store_for(team).missing({entry.digest: entry.size for entry in manifest.entries})


@dataclass(frozen=True)
class UploadedFileInfo:
    """A file that is about to come; `digest` is empty where the browser cannot know it."""

    path: str
    size: int
    digest: str = ""


def store_batch(*, team: Team, body: Readable) -> list[ManifestEntry]:
    """Store the files of one request, and return them with their digests.

    The body is the length of an index in 4 bytes (the highest first), the index as JSON
    `[{"path", "size", "digest"}]`, then the bytes of each file, one after the other. Raises Invalid
    naming the first file whose bytes are not those announced; none after it is stored.
    """
    announced = _index_of(body)
    total = sum(file.size for file in announced)
    if total > team.snapshot_max_bytes:
        raise TooLarge(
            f"The files of this request have {size_text(total)}; {team.name} allows"
            f" {size_text(team.snapshot_max_bytes)}."
        )
    store = store_for(team)
    entries = []
    for file in announced:
        content = BoundedReader(body, file.size)
        try:
            digest, _ = store.put_stream(content, expected_digest=file.digest or None)
        except WrongDigest:
            raise _file_mismatch(file, "its bytes have another digest than announced") from None
        except EOFError:
            raise _file_mismatch(file, f"fewer than the {file.size} bytes announced came") from None
        entries.append(ManifestEntry(file.path, digest, file.size))
    if body.read(1):
        last = announced[-1] if announced else UploadedFileInfo("the index", 0)
        raise _file_mismatch(last, "more bytes came than announced")
    store.make_lasting()
    return entries


def _file_mismatch(file: UploadedFileInfo, why: str) -> Invalid:
    return Invalid(
        f"{shown(file.path)} was not stored: {why}. Was it changed during the upload? Try again.",
        errors=[FieldError(shown(file.path), f"{why}.")],
    )


def _index_of(body: Readable) -> list[UploadedFileInfo]:
    try:
        length = int.from_bytes(read_exactly(body, INDEX_LENGTH_BYTES), "big")
        if length > MAX_INDEX_BYTES:
            raise Invalid("The index of the files is larger than 4 MB.")
        items = load_json(read_exactly(body, length))
        announced = [
            UploadedFileInfo(str(item["path"]), item["size"], item.get("digest") or "")
            for item in items
        ]
    except (EOFError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Invalid("The index of the files cannot be read.") from None
    for file in announced:
        problem = problem_of(file.path)
        if type(file.size) is not int or not 0 <= file.size <= MAX_FILE_SIZE:
            problem = f"its size is not a whole number from 0 to {MAX_FILE_SIZE:,}"
        elif file.digest and not (isinstance(file.digest, str) and is_digest(file.digest)):
            problem = "its digest is not a SHA-256"
        if problem:
            raise _file_mismatch(file, problem)
    return announced
