"""P15, D4: a model that cannot be loaded is told once, with TensorFlow's words first."""

from datetime import timedelta

import pytest

from deploy.models import Replica, ServiceState
from tests.deploy.conftest import RegisterModel, ServiceStack

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]
WORDS = "could not load the model: Op type not registered 'Odd' in binary running on a machine"


def test_p15_it_fails_at_its_first_replica_with_the_reason_first(
    stage: ServiceStack, register: RegisterModel
) -> None:
    made = stage.deploy(register("cannot_load=NOT_FOUND"))
    service = stage.wait_for_state(made.service, ServiceState.FAILED)
    assert service.state_reason.startswith(f"server-0 {WORDS}. The model server has")
    assert "exit code" not in service.state_reason.partition("\n")[0]
    assert Replica.objects.count() == 1


def test_p15_what_may_pass_is_tried_again(
    stage: ServiceStack, register: RegisterModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.supervision.service_state.MAX_BACKOFF", timedelta(seconds=0.1))
    made = stage.deploy(register("cannot_load=RESOURCE_EXHAUSTED"))
    service = stage.wait_for_state(made.service, ServiceState.FAILED)
    assert service.state_reason.startswith(f"server-4 {WORDS}")
    assert Replica.objects.count() == 5
