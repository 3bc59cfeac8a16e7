import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.source import archive_listing, archives
from runs.source.archives import common_folder, open_archive
from runs.source.paths import errors_in, shown
from tests.property_tests import EXAMPLES
from tests.runs.source.archive_builders import (
    extended,
    tar_entry,
    tar_gz_of,
    tar_header,
    tar_of,
    tar_with,
    zip_of,
    zip_with,
)
from workspace.platform.errors import DomainError, Invalid, TooLarge

BODY = b"print('hello')\n"
MUCH = b"".join(b"%d,%d\n" % (row, row * row) for row in range(100_000))
BUILDERS: dict[str, Callable[[Mapping[str, bytes]], bytes]] = {
    "a.zip": zip_of,
    "stored.zip": lambda files: zip_of(files, zipfile.ZIP_STORED),
    "a.tar": tar_of,
    "gnu.tar": lambda files: tar_of(files, tarfile.GNU_FORMAT),
    "a.tar.gz": tar_gz_of,
}


def contents_of(data: bytes, filename: str = "", limit: int = 1 << 30) -> dict[str, bytes]:
    archive = open_archive(io.BytesIO(data), filename, max_unpacked_bytes=limit)
    wanted = {member.path for member in archive.members}
    return {member.path: content.read(1 << 30) for member, content in archive.contents(wanted)}


def refused(data: bytes, filename: str = "") -> str:
    with pytest.raises(DomainError) as caught:
        contents_of(data, filename)
    assert caught.value.errors
    assert {error.field for error in caught.value.errors} == {"source"}
    return caught.value.message


@pytest.mark.parametrize("filename", BUILDERS)
def test_every_kind_gives_its_files(filename: str):
    files = {"train.py": BODY, "data/empty": b"", "d" * 120 + "/ü.csv": MUCH}
    data = BUILDERS[filename](files)

    assert contents_of(data, filename) == files


names = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="/\\:"),
    min_size=1,
    max_size=40,
).filter(lambda name: name not in {".", ".."} and len(name.encode()) <= 255)
trees = st.dictionaries(
    st.lists(names, min_size=1, max_size=4).map("/".join), st.binary(max_size=2000), max_size=8
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(trees, st.sampled_from(sorted(BUILDERS)))
@pytest.mark.slow
def test_whatever_is_packed_comes_out_the_same_or_is_refused_for_a_clash(
    files: dict[str, bytes], filename: str
):
    data = BUILDERS[filename](files)
    clashes = list(errors_in(files))

    if clashes:
        assert shown(clashes[0].field) in refused(data, filename)
    else:
        assert contents_of(data, filename) == files


@settings(max_examples=3 * EXAMPLES, deadline=None)
@given(
    st.sampled_from(sorted(BUILDERS)),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, 10_000),
)
def test_a_damaged_archive_is_refused_in_words_or_read_but_never_breaks_the_reader(
    filename: str, changes: list[tuple[int, int]], cut: int
):
    data = bytearray(BUILDERS[filename]({"train.py": BODY * 20, "data/a.csv": b"1,2\n" * 50}))
    for place, value in changes:
        data[place % len(data)] = value
    if cut % 3 == 0:
        del data[cut % len(data) :]
    with suppress(DomainError):
        contents_of(bytes(data), filename)


STRAY_NAMES = [
    (b"/etc/passwd", "absolute path"),
    (b"../up.py", r".. in it"),
    (b"a/../../up.py", r".. in it"),
    (b"a\\b.py", "backslash"),
    (b"C:/a.py", "drive letter"),
    (b"a//b.py", "empty or . part"),
    (b"bad\xff.py", "not UTF-8"),
    (b"a\nb", "control character"),
]


@pytest.mark.parametrize(("name", "why"), STRAY_NAMES)
def test_a_name_that_leads_astray_is_refused(name: bytes, why: str):
    assert why in refused(zip_with((name, BODY)))
    assert why in refused(tar_with(tar_entry(name, BODY)))
    assert why in refused(tar_with(extended(b"path", name), tar_entry(b"x", BODY)))


def test_a_name_with_nul_is_refused():
    assert "NUL" in refused(zip_with((b"a.py\0.txt", BODY)))
    assert "NUL" in refused(tar_with(extended(b"path", b"a.py\0.txt"), tar_entry(b"x", BODY)))


def test_too_long_and_too_deep_names_are_refused():
    assert "longer than 255 bytes" in refused(zip_with((b"n" * 256, BODY)))
    assert "100 folders deep" in refused(zip_with((b"d/" * 101 + b"f", BODY)))


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        (b"a.py", b"a.py", "listed twice"),
        (b"A.py", b"a.py", "only by case"),
        ("é.py".encode(), "e\u0301.py".encode(), "Unicode form"),
        (b"a", b"a/b.py", "both a file and a folder"),
        (b"a", b"a/", "both a file and a folder"),
    ],
)
def test_names_that_clash_are_refused(first: bytes, second: bytes, why: str):
    body = b"" if second.endswith(b"/") else BODY
    kind = b"5" if second.endswith(b"/") else b"0"
    assert why in refused(zip_with((first, BODY), (second, body)))
    assert why in refused(tar_with(tar_entry(first, BODY), tar_entry(second, body, kind=kind)))


@pytest.mark.parametrize(
    ("mode", "what"),
    [(0o120777, "link"), (0o010644, "pipe"), (0o020644, "device"), (0o060644, "device")],
)
def test_a_zip_with_anything_but_files_and_folders_is_refused(mode: int, what: str):
    assert f"odd: it is a {what}" in refused(zip_with((b"odd", b"/etc/passwd"), mode=mode))


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (b"1", "a hard link; pack what it leads to"),
        (b"2", "a link; pack what it leads to: with tar's option -h"),
        (b"3", "a device"),
        (b"4", "a device"),
        (b"6", "a pipe"),
        (b"S", "a sparse file"),
        (b"M", "of another kind"),
    ],
)
def test_a_tar_with_anything_but_files_and_folders_is_refused(kind: bytes, what: str):
    data = tar_with(tar_entry(b"odd", kind=kind, link=b"/etc/passwd"), tar_entry(b"a.py", BODY))

    assert f"odd: it is {what}" in refused(data)
    assert f"odd: it is {what}" in refused(gzip.compress(data))


def test_a_sparse_file_in_an_extended_header_is_refused():
    data = tar_with(extended(b"GNU.sparse.major", b"1"), tar_entry(b"a.bin", BODY))

    assert "sparse" in refused(data)


def test_all_bad_entries_are_named_at_once():
    with pytest.raises(Invalid) as caught:
        contents_of(zip_with((b"../a", BODY), (b"good.py", BODY), (b"/b", BODY)))

    assert [error.message.split(":")[0] for error in caught.value.errors] == ["../a", "/b"]


@pytest.mark.parametrize("size", [b"\xff" * 12, b"\x80" + b"\x7f" * 11, b"-0000000001\0"])
def test_a_tar_size_below_zero_or_beyond_measure_is_refused(size: bytes):
    assert "size" in refused(tar_with(tar_header(b"a.py", size=size))) or "number" in refused(
        tar_with(tar_header(b"a.py", size=size))
    )


@pytest.mark.parametrize("size", [b"-1", b"99999999999999999999", b"x", b"\xd9\xa1"])
def test_an_extended_size_that_is_no_number_is_refused(size: bytes):
    assert "size below 0 or beyond" in refused(
        tar_with(extended(b"size", size), tar_entry(b"a.py", BODY))
    )


def test_an_extended_header_of_any_size_is_not_taken_into_memory():
    huge = tar_header(b"x", kind=b"x", size=b"%011o\0" % (1 << 30))

    assert "more than 1 MB" in refused(tar_with(huge))


@pytest.mark.parametrize("filename", BUILDERS)
def test_a_file_cut_off_anywhere_is_refused(filename: str):
    data = BUILDERS[filename]({"train.py": BODY * 100, "b.py": BODY})
    content_end = data.rstrip(b"\0")

    for length in range(1, len(content_end), 97):
        refused(data[:length], filename)


def test_a_tar_that_stops_between_two_entries_is_refused():
    assert "cut off" in refused(tar_entry(b"a.py", BODY))


@pytest.mark.parametrize(
    ("data", "filename", "why"),
    [
        (tar_gz_of({"a": BODY}), "a.zip", "named as a .zip archive, but is a .tar.gz archive"),
        (zip_of({"a": BODY}), "a.tar.gz", "named as a .tar.gz archive, but is a .zip archive"),
        (tar_of({"a": BODY}), "a.tgz", "named as a .tar.gz archive, but is a .tar archive"),
        (b"hello " * 200, "a.zip", "named as a .zip archive, but does not begin as one"),
        (b"hello", "notes.txt", "is no archive"),
        (b"", "a.zip", "is empty"),
        (lzma.compress(b"x"), "a.tar.xz", "format xz"),
        (gzip.compress(b"hello " * 500, mtime=0), "a.tar.gz", "no tar archive"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(data: bytes, filename: str, why: str):
    assert why in refused(data, filename)


@pytest.mark.parametrize("build", [zip_of, tar_gz_of])
def test_a_bomb_is_stopped_as_its_bytes_come_out(build: Callable[[Mapping[str, bytes]], bytes]):
    data = build({"bomb": bytes(20_000_000)})

    with pytest.raises(TooLarge, match="more than 100 times its size"):
        contents_of(data)


def test_a_small_file_may_be_packed_very_tightly():
    files = {"zeros": bytes(900_000)}

    assert contents_of(zip_of(files)) == files


@pytest.mark.parametrize("build", [zip_of, tar_gz_of])
def test_no_more_is_unpacked_than_the_limit(build: Callable[[Mapping[str, bytes]], bytes]):
    with pytest.raises(TooLarge, match="more than 1,000 bytes"):
        contents_of(build({"a": bytes(5000)}), limit=1000)


@pytest.mark.parametrize("filename", ["a.zip", "a.tar"])
@pytest.mark.parametrize(
    ("module", "limit", "words"),
    [
        (archives, "MAX_FILES", "more than 50 files"),
        (archive_listing, "MAX_ENTRIES", "more than 50 entries"),
    ],
)
def test_too_many_files_and_too_many_entries_are_refused(
    filename: str, module: ModuleType, limit: str, words: str, monkeypatch: pytest.MonkeyPatch
):
    assert getattr(module, limit) >= 100_000
    monkeypatch.setattr(module, limit, 50)
    files = {f"{number}": b"" for number in range(51)}

    with pytest.raises(TooLarge, match=words):
        contents_of(BUILDERS[filename](files), filename)


@pytest.mark.parametrize("filename", ["a.zip", "a.tar"])
def test_names_that_are_too_much_to_list_are_refused(
    filename: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(archive_listing, "MAX_DIRECTORY_BYTES", 1000)
    files = {"d" * 200 + f"/{number}": b"" for number in range(5)}

    with pytest.raises(TooLarge, match="list of entries is larger"):
        contents_of(BUILDERS[filename](files), filename)


def test_zip_headers_that_lie_about_the_size_are_found_out():
    assert "more bytes than the archive says" in refused(zip_with((b"a", BODY), size=3))
    assert "fewer bytes than the archive says" in refused(zip_with((b"a", BODY), size=99))
    assert "more bytes" in refused(zip_with((b"a", BODY), size=3, method=0))
    assert "fewer bytes" in refused(zip_with((b"a", BODY), size=99, method=0))


def test_a_wrong_checksum_is_found_out():
    assert "checksum" in refused(zip_with((b"a", BODY), crc=1))


def test_a_zip_whose_two_headers_name_the_file_differently_is_refused():
    assert "another name" in refused(zip_with((b"a.py", BODY), local_name=b"b.py"))


def test_zip_entries_that_share_bytes_are_refused():
    data = zip_with((b"a", BODY), (b"a2", BODY), same_start=True)
    assert "another name" in refused(data)
    assert "overlap" in refused(zip_with((b"a", BODY), (b"a", BODY), same_start=True))


def test_an_encrypted_zip_is_refused():
    assert "encrypted" in refused(zip_with((b"a.py", BODY), flags=1))


def test_an_unusual_compression_is_refused_by_its_number():
    data = zip_of({"a.py": BODY}, zipfile.ZIP_BZIP2)
    assert "method 12" in refused(data)


def test_bytes_before_or_after_a_zip_are_refused():
    data = zip_of({"a.py": BODY})
    assert "belong to no entry" in refused(b"PK\3\4" + data)
    assert "cut off or is damaged" in refused(data + b"more")


def test_zeros_after_a_zip_are_no_bytes():
    assert contents_of(zip_of({"a.py": BODY}) + bytes(10_000)) == {"a.py": BODY}


@pytest.mark.parametrize(("count", "is_read"), [(1, True), (0xFFFF, True), (2, False)])
def test_a_zip_with_both_ends_is_read_where_they_agree(count: int, is_read: bool):
    data = zip_of({"a.py": BODY})
    start = data.index(b"PK\1\2")
    end = len(data) - 22
    values = (44, 45, 45, 0, 0, 1, 1, end - start, start)
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", *values)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    short = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, end - start, start, 0)
    whole = data[:end] + end64 + locator + short

    if is_read:
        assert contents_of(whole) == {"a.py": BODY}
    else:
        assert "directory is damaged" in refused(whole)


def test_bytes_after_the_end_of_a_tar_are_refused():
    assert "after its end" in refused(tar_of({"a": BODY}) + tar_of({"b": BODY}))


def test_an_archive_inside_an_archive_is_just_a_file():
    inner = zip_of({"../x": BODY})
    assert contents_of(zip_of({"inner.zip": inner})) == {"inner.zip": inner}


@pytest.mark.parametrize("is_of_this_name", [True, False])
def test_a_zip_name_in_another_encoding_is_read_from_its_unicode_field(is_of_this_name: bool):
    raw, name = b"donn\x82es.csv", "données.csv"
    crc = zlib.crc32(raw if is_of_this_name else b"other").to_bytes(4, "little")
    field = b"\1" + crc + name.encode()
    extra = b"up" + len(field).to_bytes(2, "little") + field
    data = zip_with((raw, BODY), extra=extra)

    if is_of_this_name:
        assert contents_of(data) == {name: BODY}
    else:
        assert r"donn\x82es.csv: its name is not UTF-8" in refused(data)


def test_a_sparse_file_with_a_long_map_is_refused_by_its_name():
    start = bytearray(tar_header(b"big.bin", kind=b"S", size=b"%011o\0" % len(BODY)))
    start[482] = 1
    start[148:156] = b" " * 8
    start[148:156] = b"%06o\0 " % sum(start)
    more = bytes(504) + b"\1" + bytes(7) + bytes(512)
    body = BODY + bytes(-len(BODY) % 512)

    assert "big.bin: it is a sparse file" in refused(
        tar_with(bytes(start) + more + body, tar_entry(b"a.py", BODY))
    )


def test_a_zip_written_without_knowing_sizes_is_read():
    buffer = io.BytesIO()

    class Unseekable(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            return buffer.write(bytes(data))  # type: ignore[call-overload]

    with zipfile.ZipFile(Unseekable(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.py", BODY)
        with archive.open("big.csv", "w", force_zip64=True) as file:
            file.write(BODY * 1000)

    assert contents_of(buffer.getvalue()) == {"a.py": BODY, "big.csv": BODY * 1000}


@pytest.mark.parametrize("name", ["BZhang.py", "Rar!.py"])
def test_a_tar_whose_first_name_begins_as_another_format_is_read(name: str):
    assert contents_of(tar_of({name: BODY}, tarfile.GNU_FORMAT)) == {name: BODY}


def test_a_tar_made_of_the_current_folder_is_read():
    data = tar_with(
        tar_entry(b"./", kind=b"5"), tar_entry(b"./a.py", BODY), tar_entry(b"./d/", kind=b"5")
    )
    assert contents_of(data) == {"a.py": BODY}


@pytest.mark.parametrize(
    ("paths", "folder"),
    [
        (["app-main/a.py", "app-main/d/b.py"], "app-main/"),
        (["a.py", "d/b.py"], ""),
        (["a/x.py", "b/y.py"], ""),
        (["a.py"], ""),
        ([], ""),
    ],
)
def test_a_single_top_folder_is_recognised(paths: list[str], folder: str):
    assert common_folder(paths) == folder
