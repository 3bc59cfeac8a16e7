"""Build archives for tests, good ones and bad ones, byte by byte where libraries refuse to."""

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping


def zip_of(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for path, body in files.items():
            archive.writestr(path, body)
    return buffer.getvalue()


def zip_with(
    *entries: tuple[bytes, bytes],
    mode: int = 0o100644,
    flags: int = 0,
    method: int = 8,
    size: int | None = None,
    crc: int | None = None,
    local_name: bytes | None = None,
    same_start: bool = False,
    host: int = 3,
    extra: bytes = b"",
) -> bytes:
    """Make a zip whose headers say what the test wants them to say."""
    out = io.BytesIO()
    central: list[bytes] = []
    for name, body in entries:
        deflate = zlib.compressobj(9, wbits=-15)
        packed = deflate.compress(body) + deflate.flush() if method == 8 else body
        told_size = len(body) if size is None else size
        told_crc = zlib.crc32(body) if crc is None else crc
        start = 0 if same_start else out.tell()
        common = (flags, method, 0, 0, told_crc, len(packed), told_size, len(name), len(extra))
        if not (same_start and central):
            written = name if local_name is None else local_name
            out.write(struct.pack("<4s5H3L2H", b"PK\3\4", 20, *common[:-2], len(written), 0))
            out.write(written + packed)
        central.append(
            struct.pack(
                "<4s6H3L5H2L", b"PK\1\2", host << 8 | 20, 20, *common, 0, 0, 0, mode << 16, start
            )
            + name
            + extra
        )
    at = out.tell()
    directory = b"".join(central)
    out.write(directory)
    count = len(central)
    out.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), at, 0))
    return out.getvalue()


def tar_header(
    name: bytes, *, kind: bytes = b"0", size: bytes = b"%011o\0" % 0, link: bytes = b""
) -> bytes:
    """Make a header block with a valid checksum."""
    header = bytearray(512)
    header[0 : len(name)] = name
    header[100:108] = b"0000644\0"
    header[124 : 124 + len(size)] = size
    header[148:156] = b" " * 8
    header[156:157] = kind
    header[157 : 157 + len(link)] = link
    header[257:265] = b"ustar\x0000"
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def tar_entry(name: bytes, body: bytes = b"", *, kind: bytes = b"0", link: bytes = b"") -> bytes:
    padding = bytes(-len(body) % 512)
    return tar_header(name, kind=kind, size=b"%011o\0" % len(body), link=link) + body + padding


def tar_with(*blocks: bytes) -> bytes:
    return b"".join(blocks) + bytes(1024)


def extended(key: bytes, value: bytes, *, kind: bytes = b"x") -> bytes:
    """Make an extended header with one record."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while length != len(b"%d" % length) + len(rest):
        length = len(b"%d" % length) + len(rest)
    return tar_entry(b"extended", b"%d" % length + rest, kind=kind)


def tar_of(files: Mapping[str, bytes], how: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=how) as archive:
        for path, body in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


def tar_gz_of(files: Mapping[str, bytes]) -> bytes:
    return gzip.compress(tar_of(files), mtime=0)
