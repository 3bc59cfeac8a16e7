"""What the readers of archives share: what they list, count and refuse."""

from dataclasses import dataclass, field

from workspace.platform.errors import FieldError, Invalid, TooLarge
from workspace.sizes import MEGABYTE

MAX_ENTRIES = 500_000
MAX_DIRECTORY_BYTES = 64 * MEGABYTE
# As many bytes as the directory of a zip has for an entry, beside its name.
ENTRY_BYTES = 46
OWNER_MAY_EXECUTE = 0o100
MAX_RATIO = 100
RATIO_COUNTS_FROM = MEGABYTE
NOT_UTF8 = (
    "its name is not UTF-8. Rename it, or pack the folder with a program that writes UTF-8 names,"
    " such as tar or 7-Zip."
)


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """An entry that is no folder, and the size that the archive gives for it.

    `problem` says why it is no file that can be used, such as a link.
    """

    path: str
    size: int
    problem: str = ""
    executable: bool = False


@dataclass
class ArchiveListing:
    """What a reader has found so far. Raises TooLarge where that is more than is held in memory."""

    members: list[ArchiveMember] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    count: int = 0
    directory_bytes: int = 0

    def add(self, member: ArchiveMember) -> None:
        self._count(member.path)
        self.members.append(member)

    def add_folder(self, path: str) -> None:
        self._count(path)
        if path:
            self.folders.append(path)

    def _count(self, path: str) -> None:
        self.count += 1
        self.directory_bytes += ENTRY_BYTES + len(path)
        check_entry_count(self.count)
        if self.directory_bytes > MAX_DIRECTORY_BYTES:
            raise too_large("Its list of entries is larger than 64 MB.")


def check_entry_count(count: int) -> None:
    if count > MAX_ENTRIES:
        raise too_large(
            f"It has more than {MAX_ENTRIES:,} entries, with those that are left out. Pack it"
            " without the folders that the run does not need."
        )


@dataclass
class UnpackMeter:
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


def decoded_name(raw: bytes) -> tuple[str, str]:
    """Return the name of an entry, and why it cannot be used where it is not UTF-8."""
    try:
        return raw.decode(), ""
    except UnicodeDecodeError:
        return raw.decode("utf-8", "backslashreplace"), NOT_UTF8


def damaged(why: str) -> Invalid:
    return Invalid(f"The archive cannot be used: {why}", errors=[FieldError("source", why)])


def too_large(why: str) -> TooLarge:
    return TooLarge(f"The archive cannot be used: {why}", errors=[FieldError("source", why)])
