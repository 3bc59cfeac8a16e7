"""A version's files on their way out: to a model server, or as a download."""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from hashlib import sha256
from io import BytesIO
from typing import BinaryIO

from models.models import Conversion, ModelVersion
from models.selectors import manifest_of
from runs.blobs import CHUNK, BlobStore, store_for
from runs.models import Process
from runs.snapshots import DamagedManifest, Entry, Manifest, stored_manifest, tar_of
from workspace.errors import Conflict
from workspace.streaming import pieces_of

GZIP = 31  # of zlib: the window's size, plus 16 for gzip's frame
EPOCH = (1980, 1, 1, 0, 0, 0)


class Damaged(Conflict):
    """What is stored is not what was registered."""


class Checked(BlobStore):
    """A store that holds every file against its digest as it is read to the end."""

    def open(self, digest: str) -> BinaryIO:
        return _CheckedFile(super().open(digest), digest)  # type: ignore[return-value]


class _CheckedFile:
    def __init__(self, file: BinaryIO, digest: str) -> None:
        self._file = file
        self._expected = digest
        self._digester = sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._digester.update(piece)
        if not piece and self._digester.hexdigest() != self._expected:
            raise Damaged(f"Blob {self._expected} is damaged: its bytes have another digest.")
        return piece

    def __enter__(self) -> "_CheckedFile":
        return self

    def __exit__(self, *args: object) -> None:
        self._file.close()


def check_files(version: ModelVersion) -> None:
    """Read every file of a version, so that none is sent that is not as it was registered.

    Raises Damaged, naming the file.
    """
    for entry in manifest_of(version).entries:
        check_blob(version, entry)


def check_blob(version: ModelVersion, entry: Entry) -> None:
    try:
        with Checked(store_for(version.model.team).root).open(entry.digest) as file:
            while file.read(CHUNK):
                pass
    except (Damaged, FileNotFoundError) as error:
        what = "gone from" if isinstance(error, FileNotFoundError) else "damaged in"
        raise Damaged(
            f"{entry.path} of {version} is {what} the storage (SHA-256 {entry.digest}), so nothing"
            " of it is given out. Bring the storage back from a backup, or register it again."
        ) from None


def onnx_file(conversion: Conversion) -> tuple[str, Iterator[bytes]]:
    """Give the digest and the bytes of a converted version. Raises Damaged."""
    version = conversion.version
    store = store_for(version.model.team)
    try:
        (entry,) = stored_manifest(store, conversion.manifest_digest).entries
    except (FileNotFoundError, DamagedManifest):
        raise Damaged(
            f"The ONNX file of {version} is gone from the storage, or damaged in it. Convert the"
            " version again."
        ) from None
    check_blob(version, entry)
    return entry.digest, pieces_of(store.open(entry.digest))


def tar_for_process(process: Process) -> Iterator[bytes]:
    """Give what a replica's runner unpacks: model/<version>/ with the version's files."""
    version = process.group.replica.revision.model_version
    check_files(version)
    return _tar(version, f"model/{version.version}")


def _tar(version: ModelVersion, top: str) -> Iterator[bytes]:
    manifest = manifest_of(version)
    placed = Manifest(
        tuple(Entry(f"{top}/{entry.path}", entry.digest, entry.size) for entry in manifest.entries)
    )
    return tar_of(Checked(store_for(version.model.team).root), placed)


def as_tar_gz(version: ModelVersion) -> Iterator[bytes]:
    """Give a version as a .tar.gz, piece by piece, under a folder with its number."""
    packer = zlib.compressobj(6, zlib.DEFLATED, GZIP)
    for piece in _tar(version, str(version.version)):
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()


def as_zip(version: ModelVersion) -> Iterator[bytes]:
    """Give a version as a .zip, piece by piece, under a folder with its number."""
    manifest = manifest_of(version)
    store = Checked(store_for(version.model.team).root)
    out = _Drain()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in manifest.entries:
            info = zipfile.ZipInfo(f"{version.version}/{entry.path}", EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            with (
                store.open(entry.digest) as source,
                archive.open(info, "w", force_zip64=entry.size >= 2**31) as target,
            ):
                while piece := source.read(CHUNK):
                    target.write(piece)
                    yield out.take()
    yield out.take()


class _Drain(BytesIO):
    """A file that cannot be sought, so that a zip is written straight through."""

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise OSError("This file has no position.")

    def take(self) -> bytes:
        content = self.getvalue()
        super().seek(0)
        self.truncate()
        return content


FORMATS: dict[str, tuple[str, Callable[[ModelVersion], Iterator[bytes]]]] = {
    "tar.gz": ("application/gzip", as_tar_gz),
    "zip": ("application/zip", as_zip),
}
