"""A target that does as it is told, and a way to submit runs to it."""

import pytest
from django.contrib.auth.models import User

from runs.models import Run
from runs.services import submit_run
from runs.source.blobs import store_for
from runs.source.snapshots import Manifest, ManifestEntry, create_snapshot
from runs.supervision import reconciler
from tests.factories import make_target
from tests.fakes import FakeBackend
from tests.runs.supervision.supervised_runs import Submit, serve_targets_with
from workspace.models import Team


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    fake = FakeBackend()
    serve_targets_with(fake, monkeypatch)
    monkeypatch.setattr("workspace.environments.services.backend_of", lambda environment: fake)
    monkeypatch.setattr(reconciler, "OBSERVE_EVERY_SECONDS", 0)
    monkeypatch.setattr(reconciler, "enqueue_build", lambda environment: None)
    return fake


@pytest.fixture
def submit(team: Team, bob: User, backend: FakeBackend) -> Submit:
    make_target(team)

    def submit(**config: object) -> Run:
        digest, size = store_for(team).put_stream(b"print('hello')\n")
        manifest = Manifest.of([ManifestEntry("train.py", digest, size)])
        snapshot = create_snapshot(team=team, by=bob, manifest=manifest)
        given = {"experiment": "digits", "entry_script": "train.py", **config}
        return submit_run(team=team, by=bob, snapshot=snapshot, config=given)

    return submit
