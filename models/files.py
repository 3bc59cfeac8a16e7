"""A version's files on their way out: to a model server, or as a download."""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from hashlib import sha256
from io import BytesIO
from typing import BinaryIO

from models.models import ModelVersion, OnnxConversion
from models.selectors import manifest_of
from runs.source.blobs import CHUNK, BlobStore, store_for
from runs.source.snapshots import DamagedManifest, Manifest, ManifestEntry, stored_manifest, tar_of
from workspace.platform.errors import Conflict
from workspace.platform.streaming import file_chunks

GZIP_WBITS = 31  # of zlib: the window's size, plus 16 for gzip's frame
EPOCH = (1980, 1, 1, 0, 0, 0)


class FilesDamaged(Conflict):
    """What is stored is not what was registered."""


class VerifyingBlobStore(BlobStore):
    """A store that holds every file against its digest as it is read to the end."""

    def open(self, digest: str) -> BinaryIO:
        return _VerifyingFile(super().open(digest), digest)  # type: ignore[return-value]


class _VerifyingFile:
    def __init__(self, file: BinaryIO, digest: str) -> None:
        self._file = file
        self._expected = digest
        self._digester = sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._digester.update(piece)
        if not piece and self._digester.hexdigest() != self._expected:
            raise FilesDamaged(f"Blob {self._expected} is damaged: its bytes have another digest.")
        return piece

    def __enter__(self) -> "_VerifyingFile":
        return self

    def __exit__(self, *args: object) -> None:
        self._file.close()


def verify_files(version: ModelVersion) -> None:
    """Read every file of a version, so that none is sent that is not as it was registered.

    Raises Damaged, naming the file.
    """
    for entry in manifest_of(version).entries:
        verify_blob(version, entry)


def verify_blob(version: ModelVersion, entry: ManifestEntry) -> None:
    try:
        with VerifyingBlobStore(store_for(version.model.team).root).open(entry.digest) as file:
            while file.read(CHUNK):
                pass
    except (FilesDamaged, FileNotFoundError) as error:
        what = "missing from" if isinstance(error, FileNotFoundError) else "damaged in"
        raise FilesDamaged(
            f"{entry.path} of {version} is {what} the storage (SHA-256 {entry.digest}), so it"
            " cannot be downloaded or served. Restore a backup, or register it again."
        ) from None


def onnx_file(conversion: OnnxConversion) -> tuple[str, Iterator[bytes]]:
    """Return the digest and the bytes of a converted version. Raises Damaged."""
    version = conversion.version
    store = store_for(version.model.team)
    try:
        (entry,) = stored_manifest(store, conversion.manifest_digest).entries
    except (FileNotFoundError, DamagedManifest):
        raise FilesDamaged(
            f"The ONNX file of {version} is missing from the storage, or damaged in it. Convert the"
            " version again."
        ) from None
    verify_blob(version, entry)
    return entry.digest, file_chunks(store.open(entry.digest))


def tar_of_version(version: ModelVersion, top: str) -> Iterator[bytes]:
    """Return a version as a .tar, piece by piece, under the folder `top`."""
    manifest = manifest_of(version)
    placed = Manifest(
        tuple(
            ManifestEntry(f"{top}/{entry.path}", entry.digest, entry.size)
            for entry in manifest.entries
        )
    )
    return tar_of(VerifyingBlobStore(store_for(version.model.team).root), placed)


def as_tar_gz(version: ModelVersion) -> Iterator[bytes]:
    """Yield a version as a .tar.gz, piece by piece, under a folder with its number."""
    packer = zlib.compressobj(6, zlib.DEFLATED, GZIP_WBITS)
    for piece in tar_of_version(version, str(version.version)):
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()


def as_zip(version: ModelVersion) -> Iterator[bytes]:
    """Yield a version as a .zip, piece by piece, under a folder with its number."""
    manifest = manifest_of(version)
    store = VerifyingBlobStore(store_for(version.model.team).root)
    out = _ZipBuffer()
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


class _ZipBuffer(BytesIO):
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
