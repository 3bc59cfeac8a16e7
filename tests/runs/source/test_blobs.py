import hashlib
import io
from pathlib import Path

import pytest

from runs.source.blobs import TooManyBytes, WrongDigest, store_for
from tests.factories import make_team

pytestmark = pytest.mark.django_db


def test_the_same_bytes_are_stored_once(home: Path):
    store = store_for(make_team())

    first = store.put_stream(b"print(1)\n")
    second = store.put_stream(io.BytesIO(b"print(1)\n"))

    assert first == second == (hashlib.sha256(b"print(1)\n").hexdigest(), 9)
    assert len([path for path in (home / "blobs").rglob("*") if path.is_file()]) == 1


def test_a_digest_of_another_teams_file_proves_nothing():
    digest, _ = store_for(make_team()).put_stream(b"secret")

    assert store_for(make_team()).has([digest]) == set()


@pytest.mark.parametrize("as_stream", [True, False])
def test_bytes_that_are_not_the_announced_ones_are_not_kept(home: Path, as_stream: bool):
    store = store_for(make_team())
    announced = hashlib.sha256(b"good").hexdigest()

    with pytest.raises(WrongDigest):
        store.put_stream(io.BytesIO(b"evil") if as_stream else b"evil", expected_digest=announced)

    assert [path for path in home.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("as_stream", [True, False])
def test_more_bytes_than_allowed_are_not_kept(home: Path, as_stream: bool):
    store = store_for(make_team())
    content = b"x" * 100

    with pytest.raises(TooManyBytes):
        store.put_stream(io.BytesIO(content) if as_stream else content, max_bytes=99)

    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_a_file_that_a_power_cut_left_short_is_asked_for_and_mended():
    store = store_for(make_team())
    digest, size = store.put_stream(b"a whole file")
    store.path(digest).write_bytes(b"a who")

    assert store.missing({digest: size}) == [digest]
    store.put_stream(b"a whole file")

    assert store.missing({digest: size}) == []
    assert store.path(digest).read_bytes() == b"a whole file"


@pytest.mark.parametrize("digest", ["", "..", "../" * 22, "a" * 63, "A" * 64, "g" * 64])
def test_what_is_no_digest_never_becomes_a_path(digest: str):
    with pytest.raises(ValueError, match="64 hexadecimal"):
        store_for(make_team()).path(digest)


def test_a_file_that_was_damaged_is_mended_when_it_comes_again():
    store = store_for(make_team())
    digest, _ = store.put_stream(b"print(1)\n")
    store.path(digest).write_bytes(b"print(2)\n")
    store.put_stream(b"print(1)\n")
    assert store.path(digest).read_bytes() == b"print(1)\n"
