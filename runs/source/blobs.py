"""Content-addressed files of a team: each is stored once, under the SHA-256 of its bytes.

Every team has a store of its own, so that knowing a digest proves nothing about others' files.
"""

import hashlib
import os
import re
import secrets
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from django.conf import settings

from runs.source.durable import sync_filesystem
from runs.source.readers import Readable
from workspace.models import Team

DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
CHUNK = 1024 * 1024


class WrongDigest(Exception):
    """The bytes that came are not those that were announced."""


class TooManyBytes(Exception):
    """More bytes came than were announced or are allowed."""


def is_digest(text: str) -> bool:
    return DIGEST.fullmatch(text) is not None


def uploads_folder() -> Path:
    """Return the folder for files that are still coming in."""
    folder = settings.TRAINYARD_HOME / "uploads"
    folder.mkdir(parents=True, exist_ok=True)
    return Path(folder)


@contextmanager
def temporary_file() -> Iterator[tuple[Path, BinaryIO]]:
    """Yield a new file beside the stores, which is gone afterwards unless it was moved."""
    path = uploads_folder() / secrets.token_hex(16)
    try:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as file:
            yield path, file
    finally:
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class BlobStore:
    root: Path

    def path(self, digest: str) -> Path:
        if not is_digest(digest):
            raise ValueError("A digest is 64 hexadecimal digits.")
        return self.root / digest[:2] / digest

    def has(self, digests: Iterable[str]) -> set[str]:
        """Return those of the digests whose bytes are here."""
        return {digest for digest in digests if self.size(digest) is not None}

    def missing(self, sizes: dict[str, int]) -> list[str]:
        """Return the digests that are not here with the size they should have.

        A file that a power cut left short counts as missing, and is replaced when it comes again.
        Those that are here are kept for a while, so that a snapshot can be made of them.
        """
        missing = []
        for digest, size in sizes.items():
            if self.size(digest) == size:
                self._keep_for_a_while(digest)
            else:
                missing.append(digest)
        return missing

    def size(self, digest: str) -> int | None:
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def open(self, digest: str) -> BinaryIO:
        return self.path(digest).open("rb")

    def put_stream(
        self,
        source: Readable | bytes,
        *,
        expected_digest: str | None = None,
        max_bytes: int | None = None,
    ) -> tuple[str, int]:
        """Store all that can be read from `source`; return its digest and size.

        Raises WrongDigest or TooManyBytes, and then keeps nothing.
        """
        if isinstance(source, bytes | bytearray | memoryview):
            return self._put_bytes(bytes(source), expected_digest, max_bytes)
        first = source.read(CHUNK)
        chunk = source.read(CHUNK)
        if not chunk:
            return self._put_bytes(first, expected_digest, max_bytes)
        digester, size = hashlib.sha256(first), len(first)
        with temporary_file() as (temporary, file):
            file.write(first)
            while chunk:
                size += len(chunk)
                if max_bytes is not None and size > max_bytes:
                    raise TooManyBytes(f"More than {max_bytes} bytes came.")
                digester.update(chunk)
                file.write(chunk)
                chunk = source.read(CHUNK)
            file.flush()
            digest = _checked(digester.hexdigest(), expected_digest)
            self._keep(temporary, digest)
        return digest, size

    def put_lasting(self, content: bytes) -> str:
        """Store bytes so that a power cut leaves them whole; give their digest.

        So it leaves all that was stored before: it takes longer than `put_stream`, and is for lists
        of the files that were.
        """
        digest, _ = self._put_bytes(content, None, None)
        self.make_lasting()
        return digest

    def make_lasting(self) -> None:
        """Return when all that was stored would outlast a power cut."""
        self.root.mkdir(parents=True, exist_ok=True)
        sync_filesystem(self.root)

    def _put_bytes(
        self, content: bytes, expected_digest: str | None, max_bytes: int | None
    ) -> tuple[str, int]:
        if max_bytes is not None and len(content) > max_bytes:
            raise TooManyBytes(f"More than {max_bytes} bytes came.")
        digest = _checked(hashlib.sha256(content).hexdigest(), expected_digest)
        if self._holds(digest, content):
            self._keep_for_a_while(digest)
        else:
            with temporary_file() as (temporary, file):
                file.write(content)
                file.flush()
                self._keep(temporary, digest)
        return digest, len(content)

    def _holds(self, digest: str, content: bytes) -> bool:
        """Return whether a file is here as it should be; one that was damaged since is not."""
        try:
            return self.path(digest).read_bytes() == content
        except FileNotFoundError:
            return False

    def _keep(self, temporary: Path, digest: str) -> None:
        final = self.path(digest)
        try:
            temporary.replace(final)
        except FileNotFoundError:
            final.parent.mkdir(parents=True, exist_ok=True)
            temporary.replace(final)

    def _keep_for_a_while(self, digest: str) -> None:
        os.utime(self.path(digest))

    def remove_unused(self, used: Collection[str], *, unless_newer_than: float) -> int:
        """Remove files that nothing uses and nobody asked for since a time; give their number."""
        removed = 0
        for path in self.root.glob("*/*"):
            if path.name not in used and path.stat().st_mtime < unless_newer_than:
                path.unlink(missing_ok=True)
                removed += 1
        return removed


def _checked(digest: str, expected: str | None) -> str:
    if expected is not None and digest != expected:
        raise WrongDigest(f"The bytes have the digest {digest}, not {expected}.")
    return digest


def store_for(team: Team) -> BlobStore:
    return BlobStore(Path(settings.TRAINYARD_HOME) / "blobs" / str(team.pk))
