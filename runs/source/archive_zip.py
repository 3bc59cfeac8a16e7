"""Read a zip file strictly: what its directory says must be what its bytes hold."""

import stat
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import IO

from runs.source.archive_listing import (
    MAX_DIRECTORY_BYTES,
    OWNER_MAY_EXECUTE,
    ArchiveListing,
    ArchiveMember,
    UnpackMeter,
    check_entry_count,
    damaged,
    decoded_name,
)
from runs.source.paths import shown
from runs.source.readers import PIECE_BYTES, Readable, drain
from workspace.platform.errors import Invalid

END = Struct("<4s4H2LH")
END64_LOCATOR = Struct("<4sLQL")
END64 = Struct("<4sQ2H2L4Q")
CENTRAL = Struct("<4s6H3L5H2L")
LOCAL = Struct("<4s5H3L2H")
STORED, DEFLATED = 0, 8
ENCRYPTED = 0x1 | 0x40
ZIP64_EXTRA, UNICODE_NAME_EXTRA = 1, 0x7075
# Programs that write the Unix mode of a file into its attributes.
UNIX_HOSTS = {3, 19}
# FAT, HPFS, NTFS and VFAT, where no name has a backslash: it stands between folders.
WINDOWS_HOSTS = {0, 6, 10, 14}
OTHER_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, slots=True)
class _Entry:
    member: ArchiveMember
    raw_name: bytes
    is_folder: bool
    method: int
    crc: int
    packed: int
    start: int


@dataclass(frozen=True)
class _Directory:
    """Where the central directory is, and how many entries it says it has."""

    count: int
    size: int
    start: int


def scan(
    file: IO[bytes], size: int, meter: UnpackMeter
) -> tuple[ArchiveListing, Callable[[Collection[str]], Iterator[tuple[ArchiveMember, Readable]]]]:
    """Yield what the directory lists, and a reader of the contents."""
    directory = _find_directory(file, size)
    listing = ArchiveListing()
    spans: list[tuple[int, int]] = []
    entries: list[_Entry] = []
    for entry in _central_entries(file, directory):
        if entry.is_folder and not entry.member.problem:
            listing.add_folder(entry.member.path)
        else:
            listing.add(entry.member)
            entries.append(entry)
        spans.append((entry.start, _end_of_data(file, entry)))
    _refuse_overlaps(spans, directory.start)

    def contents(wanted: Collection[str]) -> Iterator[tuple[ArchiveMember, Readable]]:
        again = UnpackMeter(meter.packed, meter.limit)
        for entry in entries:
            if entry.member.path in wanted and not entry.member.problem:
                content = _Content(file, entry, again)
                yield entry.member, content
                drain(content)

    return listing, contents


def _clean(path: str) -> str:
    while path.startswith("./"):
        path = path[2:]
    return path.rstrip("/") if path.strip("/") else path


def _kind_problem(flags: int, mode: int) -> str:
    if flags & ENCRYPTED:
        return "it is encrypted."
    kind = stat.S_IFMT(mode)
    if kind in (0, stat.S_IFREG, stat.S_IFDIR):
        return ""
    return f"it is {OTHER_KINDS.get(kind, 'of an unknown kind')}; only files and folders may be in."


def _find_directory(file: IO[bytes], size: int) -> _Directory:
    tail_size = min(size, END64_LOCATOR.size + END.size + 0xFFFF)
    file.seek(size - tail_size)
    tail = file.read(tail_size)
    # Zeros may follow: libarchive fills the last block of what it writes to a pipe.
    filled = len(tail.rstrip(b"\0"))
    at = tail.rfind(b"PK\5\6")
    while at >= 0:
        if len(tail) - at >= END.size:
            *_, comment = END.unpack_from(tail, at)
            if filled <= at + END.size + comment <= len(tail):
                break
        at = tail.rfind(b"PK\5\6", 0, at)
    if at < 0:
        raise damaged("Its directory is missing at the end: it was cut off or is damaged.")
    end_at = size - tail_size + at
    _, disk, first_disk, here, count, length, start, _ = END.unpack_from(tail, at)
    has_parts = bool(disk or first_disk) or here != count
    if has_parts and 0xFFFF not in (disk, first_disk, here, count):
        raise damaged("It is one part of several: send it as one file.")
    has_locator = tail[max(at - END64_LOCATOR.size, 0) : at].startswith(b"PK\6\7")
    if has_locator or 0xFFFF in (count, disk) or 0xFFFFFFFF in (length, start):
        short = (count, 0xFFFF), (length, 0xFFFFFFFF), (start, 0xFFFFFFFF)
        count, length, start, end_at = _zip64_end(file, end_at)
        for (told, elsewhere), value in zip(short, (count, length, start), strict=True):
            if told not in (elsewhere, value):
                raise damaged("Its directory is damaged.")
    if start + length != end_at:
        raise damaged("It has bytes that belong to no entry, before or after its directory.")
    check_entry_count(count)
    if length > MAX_DIRECTORY_BYTES:
        raise damaged("Its directory is larger than 64 MB.")
    return _Directory(count, length, start)


def _zip64_end(file: IO[bytes], end_at: int) -> tuple[int, int, int, int]:
    if end_at < END64_LOCATOR.size:
        raise damaged("Its directory is damaged.")
    file.seek(end_at - END64_LOCATOR.size)
    signature, _, at, disks = END64_LOCATOR.unpack(file.read(END64_LOCATOR.size))
    if signature != b"PK\6\7" or disks > 1 or at + END64.size > end_at:
        raise damaged("Its directory is damaged.")
    file.seek(at)
    signature, _, _, _, _, _, here, count, length, start = END64.unpack(file.read(END64.size))
    if signature != b"PK\6\6" or here != count:
        raise damaged("Its directory is damaged.")
    return count, length, start, at


def _central_entries(file: IO[bytes], directory: _Directory) -> Iterator[_Entry]:
    file.seek(directory.start)
    data = file.read(directory.size)
    at = 0
    for _ in range(directory.count):
        if len(data) - at < CENTRAL.size or data[at : at + 4] != b"PK\1\2":
            raise damaged("Its directory is damaged.")
        (
            _,
            made_by,
            _,
            flags,
            method,
            _,
            _,
            crc,
            packed,
            unpacked,
            name_size,
            extra_size,
            comment_size,
            _,
            _,
            external,
            start,
        ) = CENTRAL.unpack_from(data, at)
        name_at = at + CENTRAL.size
        extra_at = name_at + name_size
        at = extra_at + extra_size + comment_size
        if at > len(data):
            raise damaged("Its directory is damaged.")
        raw_name = data[name_at:extra_at]
        extra = data[extra_at : extra_at + extra_size]
        # As UTF-8 whatever its flag says: much software sets none and writes UTF-8.
        name, problem = decoded_name(_unicode_name(extra, raw_name))
        host = made_by >> 8
        if host in WINDOWS_HOSTS and not problem:
            name = name.replace("\\", "/")
        unpacked, packed, start = _zip64_sizes(extra, unpacked, packed, start, name)
        if start + packed > directory.start:
            raise damaged(f"{shown(name)}: it is not where the directory says.")
        mode = external >> 16 if host in UNIX_HOSTS else 0
        is_folder = name.endswith("/") or stat.S_ISDIR(mode)
        problem = _kind_problem(flags, mode) or problem
        if not is_folder and method not in (STORED, DEFLATED):
            problem = problem or f"it is compressed by method {method}; use deflate."
        executable = bool(mode & OWNER_MAY_EXECUTE)
        member = ArchiveMember(_clean(name), unpacked, problem, executable)
        yield _Entry(member, raw_name, is_folder, method, crc, packed, start)
    if at != len(data):
        raise damaged("Its directory has more bytes than entries.")


def _zip64_sizes(
    extra: bytes, unpacked: int, packed: int, start: int, name: str
) -> tuple[int, int, int]:
    """Take from the zip64 extra field whichever of the three did not fit in 32 bits."""
    values = [unpacked, packed, start]
    if 0xFFFFFFFF not in values:
        return unpacked, packed, start
    if field := _extra_field(extra, ZIP64_EXTRA):
        for index, value in enumerate(values):
            if value == 0xFFFFFFFF:
                if len(field) < 8:
                    break
                values[index], field = int.from_bytes(field[:8], "little"), field[8:]
        return values[0], values[1], values[2]
    raise damaged(f"{shown(name)}: its size is missing.")


def _unicode_name(extra: bytes, raw_name: bytes) -> bytes:
    """Return the UTF-8 name that Info-ZIP writes beside one in another encoding, or the name."""
    field = _extra_field(extra, UNICODE_NAME_EXTRA)
    is_of_this_name = field[1:5] == zlib.crc32(raw_name).to_bytes(4, "little")
    return field[5:] if field[:1] == b"\1" and is_of_this_name else raw_name


def _extra_field(extra: bytes, wanted: int) -> bytes:
    at = 0
    while at + 4 <= len(extra):
        kind = int.from_bytes(extra[at : at + 2], "little")
        size = int.from_bytes(extra[at + 2 : at + 4], "little")
        if kind == wanted:
            return extra[at + 4 : at + 4 + size]
        at += 4 + size
    return b""


def _data_start(file: IO[bytes], entry: _Entry) -> int:
    """Return where an entry's bytes begin, having held its two headers against each other."""
    file.seek(entry.start)
    header = file.read(LOCAL.size)
    if len(header) < LOCAL.size or header[:4] != b"PK\3\4":
        raise damaged(f"{shown(entry.member.path)}: its header is not where the directory says.")
    *_, name_size, extra_size = LOCAL.unpack(header)
    if file.read(name_size) != entry.raw_name:
        raise damaged(f"{shown(entry.member.path)}: its header gives it another name.")
    return int(entry.start + LOCAL.size + name_size + extra_size)


def _end_of_data(file: IO[bytes], entry: _Entry) -> int:
    return _data_start(file, entry) + entry.packed


def _refuse_overlaps(spans: list[tuple[int, int]], directory_start: int) -> None:
    """Refuse entries that share bytes: so a small file is made to unpack to a huge one."""
    end = 0
    for start, stop in sorted(spans):
        if start < end:
            raise damaged("Entries of it overlap, as only in a zip bomb.")
        end = stop
    if end > directory_start:
        raise damaged("An entry of it reaches into its directory.")


class _Content:
    """The bytes of one entry, unpacked as they are read and counted against what was said."""

    def __init__(self, file: IO[bytes], entry: _Entry, meter: UnpackMeter) -> None:
        self._file = file
        self._entry = entry
        self._meter = meter
        self._at = _data_start(file, entry)
        self._left = entry.packed
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS) if entry.method == DEFLATED else None
        self._size = 0
        self._crc = 0
        self._is_over = False

    def read(self, size: int, /) -> bytes:
        pieces = []
        while size > 0 and not self._is_over:
            piece = self._next_piece(size)
            self._meter.add(len(piece))
            self._size += len(piece)
            if self._size > self._entry.member.size:
                raise self._lie("it holds more bytes than the archive says.")
            self._crc = zlib.crc32(piece, self._crc)
            if self._is_over:
                self._compare()
            size -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def _packed_bytes(self, size: int) -> bytes:
        self._file.seek(self._at)
        piece = self._file.read(min(size, self._left))
        if not piece and self._left:
            raise EOFError
        self._at += len(piece)
        self._left -= len(piece)
        return piece

    def _next_piece(self, size: int) -> bytes:
        if self._inflate is None:
            piece = self._packed_bytes(min(size, PIECE_BYTES))
            self._is_over = not self._left
            return piece
        packed = self._inflate.unconsumed_tail or self._packed_bytes(PIECE_BYTES)
        piece = self._inflate.decompress(packed, size)
        self._is_over = self._inflate.eof
        if self._is_over and (self._left or self._inflate.unused_data):
            raise self._lie("its compressed bytes end before the archive says.")
        if not self._is_over and not piece and not packed:
            raise self._lie("its compressed bytes end too early.")
        return piece

    def _compare(self) -> None:
        if self._size != self._entry.member.size:
            raise self._lie("it holds fewer bytes than the archive says.")
        if self._crc != self._entry.crc:
            raise self._lie("it is damaged: its checksum does not fit.")

    def _lie(self, why: str) -> Invalid:
        return damaged(f"{shown(self._entry.member.path)}: {why}")
