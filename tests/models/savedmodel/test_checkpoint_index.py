"""Indexes that were made to keep their reader busy."""

import pytest

from models.savedmodel import checkpoint_index
from models.savedmodel.checkpoint_index import MAX_KEY_LENGTH, DamagedIndex, read_index
from tests.models.saved_models import index_file, index_of_block


def test_what_tensorflow_writes_is_read() -> None:
    assert read_index(index_file(7, 9)).minimum_bytes == {0: 7, 1: 9}


def test_one_block_is_not_read_again_and_again() -> None:
    with pytest.raises(DamagedIndex, match="overlap"):
        read_index(index_of_block([(b"v", b"")], times=2))


def test_a_name_is_not_of_any_length() -> None:
    assert read_index(index_of_block([(b"", b""), (b"v" * MAX_KEY_LENGTH, b"")]))
    with pytest.raises(DamagedIndex, match="too long"):
        read_index(index_of_block([(b"", b""), (b"v" * (MAX_KEY_LENGTH + 1), b"")]))


def test_entries_are_not_of_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_index, "MAX_ENTRIES", 2)
    assert read_index(index_file(7))
    with pytest.raises(DamagedIndex, match="more than any model"):
        read_index(index_file(7, 9))
