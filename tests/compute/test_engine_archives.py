"""What is taken out of an archive of a container, whose names a program chose."""

import io
import tarfile
from pathlib import Path

import pytest

from workspace.compute.base import BackendError
from workspace.compute.engine.archives import unpack


def archive(*names: str) -> list[bytes]:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name in names:
            member = tarfile.TarInfo(f"root/{name}")
            member.size = 1
            tar.addfile(member, io.BytesIO(b"x"))
    return [stream.getvalue()]


@pytest.mark.parametrize(
    "odd",
    [
        "a/" * 3000 + "x",
        "x" * 300,
        "file/below a file",
        "folder",
    ],
)
def test_a_name_that_no_file_can_have_costs_nothing_but_its_file(tmp_path: Path, odd: str) -> None:
    chunks = archive("file", "folder/x", odd, "last")
    assert list(unpack(chunks, tmp_path)) == [odd]
    kept = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert kept == {"file", "folder/x", "last"}


def test_a_disk_that_is_full_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", is_full)
    with pytest.raises(BackendError, match="No space left on device") as raised:
        unpack(archive("x"), tmp_path)
    assert raised.value.retryable
