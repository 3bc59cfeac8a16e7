import os
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from models.models import ModelVersion
from models.selectors import manifest_of, manifests_in_use
from runs.source.blobs import store_for
from runs.source.cleanup import remove_unused_uploads
from tests.models.api.test_registration import upload
from tests.models.saved_models import as_zip, model_files
from workspace.models import Team

pytestmark = pytest.mark.django_db
LONG_AGO = (1_000_000_000, 1_000_000_000)


def test_the_files_of_a_registered_model_are_never_swept_away(
    client: Client, team: Team, bob: User, home: Path
):
    upload(client, bob, as_zip(model_files()).getvalue())
    version = ModelVersion.objects.get()
    for path in home.rglob("*"):
        if path.is_file():
            os.utime(path, LONG_AGO)

    remove_unused_uploads(also_in_use=manifests_in_use)

    entries = manifest_of(version).entries
    assert entries
    assert store_for(team).has([entry.digest for entry in entries]) == {
        entry.digest for entry in entries
    }
