"""What is looked at before a run starts."""

import pytest

from runs.launch.plan import environment_for
from tests.fakes import FakeBackend
from tests.runs.supervision.supervised_runs import Submit, build_environments


@pytest.mark.django_db
def test_the_files_of_an_environment_are_looked_through_once_for_a_run(
    submit: Submit, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_through: list[str] = []

    def look(reference: str) -> bool:
        looked_through.append(reference)
        return True

    monkeypatch.setattr(backend, "has_environment", look)
    environment_for(submit())
    build_environments()
    environment_for(submit())
    assert looked_through == ["here"]
