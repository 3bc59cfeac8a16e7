"""Gzip files are unpacked as gzip does it, whatever they are made of, with bounded work."""

import gzip
import io
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.source import gunzip
from runs.source.gunzip import unpacked
from workspace.platform.errors import TooLarge

pieces = st.lists(st.binary(max_size=300) | st.just(bytes(700_000)), min_size=1, max_size=4)


def content_of(data: bytes) -> bytes:
    return unpacked(io.BytesIO(data)).read()


@given(pieces, st.integers(0, 1000))
def test_any_members_are_unpacked_and_zeros_may_follow(members: list[bytes], zeros: int):
    data = b"".join(map(gzip.compress, members)) + bytes(zeros)

    assert content_of(data) == b"".join(members)


@given(st.binary(max_size=300), st.data())
def test_what_is_cut_off_is_told(content: bytes, choice: st.DataObject):
    data = gzip.compress(content)

    with pytest.raises(EOFError):
        content_of(data[: choice.draw(st.integers(0, len(data) - 1))])


@pytest.mark.parametrize("rest", [b"x", b"\x1f", b"more", b"\0\0more"])
def test_other_bytes_after_it_are_told(rest: bytes):
    with pytest.raises(gzip.BadGzipFile):
        content_of(gzip.compress(b"content") + rest)


def test_a_wrong_checksum_is_told():
    data = bytearray(gzip.compress(b"content"))
    data[-5] ^= 1

    with pytest.raises(zlib.error):
        content_of(bytes(data))


def test_members_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gunzip, "MAX_MEMBERS", 3)
    empty = gzip.compress(b"")

    assert content_of(2 * empty + gzip.compress(b"content")) == b"content"
    with pytest.raises(TooLarge, match="more than 3 gzip members"):
        content_of(3 * empty + gzip.compress(b"content"))


def test_a_header_of_any_length_is_passed_over():
    packed = gzip.compress(b"content")
    named = packed[:3] + b"\x08" + packed[4:10] + b"n" * 3_000_000 + b"\0" + packed[10:]

    assert content_of(named) == gzip.decompress(named) == b"content"
