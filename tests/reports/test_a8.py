"""Names that look alike letter by letter and are not the same are told."""

import pytest

from tests.reports.ways_in import Submit


@pytest.mark.django_db
def test_a8_names_that_macos_decomposed_are_warned_of_and_stay_as_they_are(submit: Submit):
    name = "donne\u0301es/e\u0301te\u0301.csv"
    files = {"train.py": b"print(1)\n", name: b"1", "Ordner/\u00fc.csv": b"1"}

    (warning,) = submit(files)["warnings"]

    assert warning["path"] == name
    assert "NFD" in warning["message"]
    assert "convmv" in warning["remedy"]
    assert 'unicodedata.normalize("NFD", path)' in warning["remedy"]
