"""Micromamba comes from the channel itself, or the build says at once that it cannot."""

import io
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from workspace.compute.base import EnvironmentBuildFailed
from workspace.compute.images import micromamba


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[str]:
    """Serve a folder as a channel."""
    server = HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def package(folder: Path, name: str) -> None:
    (folder / "linux-64").mkdir()
    path = folder / "linux-64" / f"micromamba-{micromamba.VERSION}.tar.bz2"
    with tarfile.open(path, "w:bz2") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = 7
        archive.addfile(entry, io.BytesIO(b"program"))


def test_the_program_is_taken_out_of_the_channels_package(channel: str, tmp_path: Path) -> None:
    package(tmp_path, "bin/micromamba")
    assert micromamba.fetch(channel, "amd64") == b"program"


def test_a_channel_that_does_not_have_it_is_named_with_the_way_out(
    channel: str, tmp_path: Path
) -> None:
    with pytest.raises(EnvironmentBuildFailed, match=f"{channel}.*TRAINYARD_CONDA_CHANNEL"):
        micromamba.fetch(channel, "amd64")
    package(tmp_path, "something/else")
    with pytest.raises(EnvironmentBuildFailed, match="bin/micromamba"):
        micromamba.fetch(channel, "amd64")


def test_without_a_channel_the_setting_is_named() -> None:
    with pytest.raises(EnvironmentBuildFailed, match=r"none is set\..*TRAINYARD_CONDA_CHANNEL"):
        micromamba.fetch("", "amd64")


def test_a_machine_that_conda_does_not_know_is_named() -> None:
    with pytest.raises(EnvironmentBuildFailed, match="s390x"):
        micromamba.fetch("https://example.com", "s390x")
