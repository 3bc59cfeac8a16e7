"""Version numbers when many register at once."""

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from django.contrib.auth.models import User
from django.db import connection

from models.registration import Registration
from models.services import register_from_archive
from tests.models.saved_models import as_zip, model_files
from workspace.models import Team


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_versions_registered_at_once_get_numbers_of_their_own(team: Team, bob: User) -> None:
    content = as_zip(model_files()).read()

    def register(_: int) -> int:
        try:
            return register_from_archive(
                team=team,
                by=bob,
                file=BytesIO(content),
                filename="m.zip",
                registration=Registration(name="m"),
            ).version
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(register, range(8))) == list(range(1, 9))
