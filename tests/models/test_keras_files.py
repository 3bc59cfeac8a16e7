"""What the converter takes a Keras file for: what Keras does."""

from pathlib import Path

import pytest

from models.imports import HDF5_MAGIC
from models.programs.keras_to_savedmodel import Refused, _is_h5
from tests.models.saved_models import as_zip

ARCHIVE = as_zip({"config.json": b"{}"}).read()
BOTH = HDF5_MAGIC + ARCHIVE


@pytest.mark.parametrize(
    ("name", "content", "is_h5"),
    [
        ("m.keras", ARCHIVE, False),
        ("m.keras", BOTH, False),
        ("m.h5", HDF5_MAGIC, True),
        ("m.h5", BOTH, True),
        ("m.hdf5", BOTH, True),
    ],
)
def test_a_file_is_what_it_is_named(tmp_path: Path, name: str, content: bytes, is_h5: bool) -> None:
    (tmp_path / name).write_bytes(content)
    assert _is_h5(tmp_path / name) is is_h5


@pytest.mark.parametrize(
    ("name", "content"),
    [("m.KERAS", BOTH), ("m.H5", BOTH), ("m", BOTH), ("m.keras", HDF5_MAGIC)],
)
def test_what_keras_could_take_for_another_kind_is_refused(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Refused):
        _is_h5(tmp_path / name)
