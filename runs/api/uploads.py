"""The REST API of uploads: send a directory's manifest first, then only what is missing."""

from typing import Any

from ninja import Router, Schema, Status
from pydantic import Field

from runs.models import Snapshot
from runs.source.archives import MAX_FILES
from runs.source.blobs import CHUNK, temporary_file
from runs.source.ignore import IgnoredFile, ignored_sources
from runs.source.secret_files import secret_files
from runs.source.snapshots import (
    Manifest,
    ManifestEntry,
    create_snapshot,
    manifest_of,
)
from runs.source.uploads import (
    MAX_FILE_SIZE,
    UploadPlan,
    missing_files,
    plan_upload,
    store_batch,
    unpack_archive,
)
from workspace.accounts.selectors import team_for
from workspace.models import Role
from workspace.platform.errors import TooLarge
from workspace.platform.requests import ApiRequest
from workspace.sizes import size_text

router = Router(tags=["uploads"])

IGNORED_SHOWN = 2000
BODY = {"requestBody": {"content": {"application/octet-stream": {}}, "required": True}}


class SizedFile(Schema):
    path: str
    size: int = Field(ge=0, le=MAX_FILE_SIZE)


class IgnoreFile(Schema):
    name: str = Field(pattern=r"^\.(aml|git)ignore$")
    text: str

    @property
    def content(self) -> bytes:
        """The file as an archive would have it; half a character is as odd in it as there."""
        return self.text.encode("utf-8", "surrogatepass")


class PlanIn(Schema):
    files: list[SizedFile]
    ignore: IgnoreFile | None = None


class IgnoredFileSchema(Schema):
    path: str = Field(max_length=1000)
    rule: str = Field(max_length=1000)


class SecretFileOut(Schema):
    path: str
    why: str


class UploadLimitsOut(Schema):
    max_bytes: int
    max_added_files: int


class PlanOut(Schema):
    """What is sent; `problem` says why it would be refused, `ignored` is cut if very long.

    `ignored_sources` are those that a run may miss, to be sent along with the snapshot.
    """

    kept: list[SizedFile]
    kept_bytes: int
    ignored: list[IgnoredFileSchema]
    ignored_count: int
    ignored_sources: list[IgnoredFileSchema]
    ignore_file: str
    largest: list[SizedFile]
    secrets: list[SecretFileOut]
    limits: UploadLimitsOut
    problem: str


class StoredFileIn(SizedFile):
    """A file of a snapshot; `executable` where its owner may execute it."""

    digest: str
    executable: bool = False


class ManifestIn(Schema):
    files: list[StoredFileIn]

    def manifest(self) -> Manifest:
        return Manifest.of(
            ManifestEntry(file.path, file.digest, file.size, file.executable) for file in self.files
        )


class SnapshotIn(ManifestIn):
    """The files of a snapshot, and the `ignored_sources` of its plan (and more like those)."""

    ignored: list[IgnoredFileSchema] | None = Field(default=None, max_length=MAX_FILES)


class MissingOut(Schema):
    missing: list[str]


class StoredOut(Schema):
    files: list[StoredFileIn]


class ArchiveOut(Schema):
    """An archive's files, stored. `folder` was the top folder of them all, and was taken off."""

    files: list[StoredFileIn]
    folder: str
    plan: PlanOut


class SnapshotOut(Schema):
    """A snapshot; `secrets` are the files that seem to hold secrets, by their names."""

    digest: str
    file_count: int
    total_bytes: int
    secrets: list[SecretFileOut]

    @staticmethod
    def resolve_secrets(snapshot: Snapshot) -> list[dict[str, str]]:
        return _secrets(secret_files(entry.path for entry in manifest_of(snapshot).entries))


@router.post("teams/{slug}/uploads/plan", response=PlanOut)
def plan(request: ApiRequest, slug: str, payload: PlanIn) -> dict[str, Any]:
    """Return what of a directory would be sent, what is ignored by which rule, what to look at."""
    team = team_for(request.auth, slug, Role.MEMBER)
    ignore = (payload.ignore.name, payload.ignore.content) if payload.ignore else None
    found = plan_upload(
        team=team, files=[(file.path, file.size) for file in payload.files], ignore=ignore
    )
    return _plan_out(found, team.snapshot_max_bytes, team.snapshot_max_files)


@router.post("teams/{slug}/uploads/missing", response=MissingOut)
def missing(request: ApiRequest, slug: str, payload: ManifestIn) -> dict[str, list[str]]:
    """Name the digests of a manifest whose bytes the team's store does not have yet."""
    team = team_for(request.auth, slug, Role.MEMBER)
    return {"missing": missing_files(team=team, manifest=payload.manifest())}


@router.post("teams/{slug}/uploads/blobs", response=StoredOut, openapi_extra=BODY)
def blobs(request: ApiRequest, slug: str) -> dict[str, Any]:
    """Store many files in one request.

    The body: the length of an index (4 bytes, highest first), the index as JSON
    `[{"path", "size", "digest"}]`, then the bytes of each file in turn. A digest may be left out;
    the answer has every file's.
    """
    team = team_for(request.auth, slug, Role.MEMBER)
    return {"files": [entry._asdict() for entry in store_batch(team=team, body=request)]}


@router.post("teams/{slug}/uploads/archives", response=ArchiveOut, openapi_extra=BODY)
def archives(request: ApiRequest, slug: str, filename: str = "") -> dict[str, Any]:
    """Store the files of a .zip, .tar or .tar.gz, which is the body of the request."""
    team = team_for(request.auth, slug, Role.MEMBER)
    limit = team.snapshot_max_bytes
    with temporary_file() as (_, file):
        while chunk := request.read(CHUNK):
            if file.tell() + len(chunk) > limit:
                raise TooLarge(f"The archive has more than the {size_text(limit)} allowed.")
            file.write(chunk)
        unpacked = unpack_archive(team=team, file=file, filename=filename)
    return {
        "files": unpacked.manifest.to_json(),
        "folder": unpacked.folder,
        "plan": _plan_out(unpacked.plan, limit, team.snapshot_max_files),
    }


@router.post("teams/{slug}/uploads/snapshots", response={201: SnapshotOut})
def snapshots(request: ApiRequest, slug: str, payload: SnapshotIn) -> Status[Snapshot]:
    """Make a snapshot of files that are all stored; the same files are the same snapshot."""
    user = request.auth
    team = team_for(user, slug, Role.MEMBER)
    ignored = payload.ignored
    snapshot = create_snapshot(
        team=team,
        by=user,
        manifest=payload.manifest(),
        ignored=None
        if ignored is None
        else [IgnoredFile(each.path, each.rule) for each in ignored],
    )
    return Status(201, snapshot)


def _plan_out(plan: UploadPlan, max_bytes: int, max_added_files: int) -> dict[str, Any]:
    return {
        "kept": _sized(plan.kept),
        "kept_bytes": plan.total_bytes,
        "ignored": _ignored(plan.ignored[:IGNORED_SHOWN]),
        "ignored_count": len(plan.ignored),
        "ignored_sources": _ignored(ignored_sources(plan.ignored)),
        "ignore_file": plan.ignore_file,
        "largest": _sized(plan.largest),
        "secrets": _secrets(plan.secrets),
        "limits": {"max_bytes": max_bytes, "max_added_files": max_added_files},
        "problem": plan.problem,
    }


def _ignored(files: list[IgnoredFile]) -> list[dict[str, str]]:
    return [{"path": file.path[:1000], "rule": file.rule[:1000]} for file in files]


def _secrets(files: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"path": path, "why": why} for path, why in files]


def _sized(files: list[tuple[str, int]]) -> list[dict[str, str | int]]:
    return [{"path": path, "size": size} for path, size in files]
