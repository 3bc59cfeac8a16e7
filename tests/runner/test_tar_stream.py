"""Which tar streams a runner unpacks, and which it refuses."""

import io
import tarfile
from pathlib import Path

import pytest

from runner.tar_stream import UnpackFailed, unpack

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def tar_with(member: tarfile.TarInfo, content: bytes = b"", format: int = tarfile.PAX_FORMAT):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as archive:
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return io.BytesIO(stream.getvalue())


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "name", ["a", "deep/er/b.py", f"{'d' * 90}/{'e' * 60}", "grün/ü.txt", "a name.txt"]
)
def test_every_common_dialect_of_tar_is_understood(tmp_path: Path, format: int, name: str) -> None:
    content = bytes(range(256)) * 7
    unpack(tar_with(tarfile.TarInfo(name), content, format).read, str(tmp_path))
    assert (tmp_path / name).read_bytes() == content


def test_a_very_long_name_is_understood(tmp_path: Path) -> None:
    name = "/".join(["n" * 100] * 8)
    for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        unpack(tar_with(tarfile.TarInfo(name), b"x", format).read, str(tmp_path))
        assert (tmp_path / name).read_bytes() == b"x"


def test_a_stream_that_comes_in_small_pieces_is_put_together(tmp_path: Path) -> None:
    stream = tar_with(tarfile.TarInfo("a"), b"content" * 1000)
    unpack(lambda size: stream.read(min(size, 7)), str(tmp_path))
    assert (tmp_path / "a").read_bytes() == b"content" * 1000


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x"])
def test_a_path_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnpackFailed, match="outside"):
        unpack(tar_with(tarfile.TarInfo(name), b"x").read, str(tmp_path / "in"))
    assert not list(tmp_path.glob("x"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_anything_but_files_and_folders_is_refused(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("link")
    member.type, member.linkname = kind, "/etc/passwd"
    with pytest.raises(UnpackFailed, match="plain file"):
        unpack(tar_with(member).read, str(tmp_path))


def test_a_stream_that_breaks_off_is_an_error_to_try_again(tmp_path: Path) -> None:
    whole = tar_with(tarfile.TarInfo("a"), b"x" * 5000).getvalue()
    with pytest.raises(OSError, match="broke off"):
        unpack(io.BytesIO(whole[:3000]).read, str(tmp_path))
