"""What the readers of archives share: what they list, count and refuse."""

from dataclasses import dataclass, field

from runs.source_paths import shown
from workspace.errors import FieldError, Invalid, TooLarge
from workspace.models import MEBIBYTE

MAX_ENTRIES = 100_000
MAX_RATIO = 100
RATIO_COUNTS_FROM = MEBIBYTE


@dataclass(frozen=True)
class Member:
    """A regular file in an archive, and the size that the archive gives for it."""

    path: str
    size: int


@dataclass
class Listing:
    """What a reader has found so far: usable files, folders, and what is wrong with the rest."""

    files: list[Member] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    errors: list[FieldError] = field(default_factory=list)
    count: int = 0

    def count_entry(self) -> None:
        self.count += 1
        if self.count > MAX_ENTRIES:
            raise too_large(f"It has more than {MAX_ENTRIES:,} entries.")

    def refuse(self, path: str, why: str) -> None:
        self.errors.append(FieldError(shown(path), why))


@dataclass
class Meter:
    """Count bytes as they come out, and stop an archive that unpacks to far too much."""

    packed: int
    limit: int
    unpacked: int = 0

    def add(self, size: int) -> None:
        self.unpacked += size
        if self.unpacked > self.limit:
            raise too_large(f"It unpacks to more than {self.limit:,} bytes.")
        if self.unpacked > max(RATIO_COUNTS_FROM, MAX_RATIO * self.packed):
            raise too_large(
                f"It unpacks to more than {MAX_RATIO} times its size, as only a zip bomb does."
            )


def damaged(why: str) -> Invalid:
    return Invalid(f"The archive cannot be used: {why}", errors=[FieldError("source", why)])


def too_large(why: str) -> TooLarge:
    return TooLarge(f"The archive cannot be used: {why}", errors=[FieldError("source", why)])
