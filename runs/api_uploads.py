"""The REST API of uploads: send a directory's manifest first, then only what is missing."""

from typing import Any

from ninja import Router, Schema, Status
from pydantic import Field

from runs.blobs import CHUNK, temporary_file
from runs.models import Snapshot
from runs.snapshots import Entry, Manifest, create_snapshot, in_words
from runs.uploads import Plan, missing_files, plan_upload, store_batch, unpack_archive
from workspace.errors import TooLarge
from workspace.models import Role
from workspace.requests import ApiRequest
from workspace.selectors import team_for

router = Router(tags=["uploads"])

IGNORED_SHOWN = 2000
BODY = {"requestBody": {"content": {"application/octet-stream": {}}, "required": True}}


class SizedFile(Schema):
    path: str
    size: int = Field(ge=0)


class IgnoreFile(Schema):
    name: str = Field(pattern=r"^\.(aml|git)ignore$")
    text: str


class PlanIn(Schema):
    files: list[SizedFile]
    ignore: IgnoreFile | None = None


class IgnoredOut(Schema):
    path: str
    rule: str


class Secret(Schema):
    path: str
    why: str


class Limits(Schema):
    max_bytes: int
    max_added_files: int


class PlanOut(Schema):
    """What is sent; `problem` says why it would be refused, `ignored` is cut if very long."""

    kept: list[SizedFile]
    kept_bytes: int
    ignored: list[IgnoredOut]
    ignored_count: int
    ignore_file: str
    largest: list[SizedFile]
    secrets: list[Secret]
    limits: Limits
    problem: str


class StoredFile(SizedFile):
    digest: str


class ManifestIn(Schema):
    files: list[StoredFile]

    def manifest(self) -> Manifest:
        return Manifest.of(Entry(file.path, file.digest, file.size) for file in self.files)


class MissingOut(Schema):
    missing: list[str]


class StoredOut(Schema):
    files: list[StoredFile]


class ArchiveOut(Schema):
    """An archive's files, stored. `folder` was the top folder of them all, and was taken off."""

    files: list[StoredFile]
    folder: str
    plan: PlanOut


class SnapshotOut(Schema):
    digest: str
    file_count: int
    total_bytes: int


@router.post("teams/{slug}/uploads/plan", response=PlanOut)
def plan(request: ApiRequest, slug: str, payload: PlanIn) -> dict[str, Any]:
    """Say what of a directory would be sent, what is ignored by which rule, what to look at."""
    team = team_for(request.auth, slug, Role.MEMBER)
    ignore = (payload.ignore.name, payload.ignore.text.encode()) if payload.ignore else None
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
                raise TooLarge(f"The archive has more than the {in_words(limit)} allowed.")
            file.write(chunk)
        unpacked = unpack_archive(team=team, file=file, filename=filename)
    return {
        "files": unpacked.manifest.to_json(),
        "folder": unpacked.folder,
        "plan": _plan_out(unpacked.plan, limit, team.snapshot_max_files),
    }


@router.post("teams/{slug}/uploads/snapshots", response={201: SnapshotOut})
def snapshots(request: ApiRequest, slug: str, payload: ManifestIn) -> Status[Snapshot]:
    """Make a snapshot of files that are all stored; the same files are the same snapshot."""
    user = request.auth
    team = team_for(user, slug, Role.MEMBER)
    return Status(201, create_snapshot(team=team, by=user, manifest=payload.manifest()))


def _plan_out(plan: Plan, max_bytes: int, max_added_files: int) -> dict[str, Any]:
    return {
        "kept": _sized(plan.kept),
        "kept_bytes": plan.total_bytes,
        "ignored": [
            {"path": file.path, "rule": file.rule} for file in plan.ignored[:IGNORED_SHOWN]
        ],
        "ignored_count": len(plan.ignored),
        "ignore_file": plan.ignore_file,
        "largest": _sized(plan.largest),
        "secrets": [{"path": path, "why": why} for path, why in plan.secrets],
        "limits": {"max_bytes": max_bytes, "max_added_files": max_added_files},
        "problem": plan.problem,
    }


def _sized(files: list[tuple[str, int]]) -> list[dict[str, str | int]]:
    return [{"path": path, "size": size} for path, size in files]
