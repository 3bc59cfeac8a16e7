"""D1, D3, D5: the smoke test judges why a request was refused, not the class of its status."""

import pytest
from django.test import Client
from tensorboard.compat.proto import types_pb2

from deploy.models import KeySlot, Service, ServiceState
from deploy.rollout.traffic_policy import update
from deploy.selectors import current_revision, living_replicas
from models.savedmodel.graph_reader import _saved_model_class
from tests.deploy.conftest import RegisterModel, ServiceStack
from tests.deploy.supervision.test_services import score
from tests.models.saved_models import graph_file

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

RAGGED = 3


def graph_of(**signatures: dict[str, int]) -> bytes:
    """Return a graph whose signatures take inputs of these types; RAGGED ones are ragged."""
    saved_model = _saved_model_class().FromString(graph_file())
    definitions = saved_model.meta_graphs[0].signature_def
    default = definitions.pop("serving_default")
    for name, inputs in signatures.items():
        definitions[name].CopyFrom(default)
        definitions[name].inputs.clear()
        for key, dtype in inputs.items():
            tensor = definitions[name].inputs[key]
            if dtype < 0:
                tensor.composite_tensor.type_spec.type_spec_class = RAGGED
            else:
                tensor.name, tensor.dtype = f"{key}:0", dtype
                tensor.tensor_shape.dim.add(size=1)
                tensor.tensor_shape.dim.add(size=4)
    content: bytes = saved_model.SerializeToString()
    return content


def revision_failure(stage: ServiceStack, service: Service) -> str:
    stage.wait(lambda: bool(current_revision(service).failure), service)
    return current_revision(service).failure


def page_of(client: Client, stage: ServiceStack, service: Service) -> str:
    client.force_login(stage.by)
    return client.get(f"/t/{stage.team.slug}/services/{service.name}/").content.decode()


def test_d5_a_model_that_is_at_fault_takes_no_request_at_its_first_deployment(
    stage: ServiceStack, register: RegisterModel
) -> None:
    made = stage.deploy(register("status=400 grpc=FAILED_PRECONDITION"))
    service = stage.wait_for_state(made.service, ServiceState.FAILED)
    said = "server-0 failed its smoke test: it answered FAILED_PRECONDITION: as the model says"
    assert service.state_reason.startswith(said)
    assert service.revisions.get().replicas.count() == 1


@pytest.mark.parametrize("code", ["FAILED_PRECONDITION", "INVALID_ARGUMENT"])
def test_d5_a_version_that_works_stays_while_the_new_one_answered_nothing(
    stage: ServiceStack, register: RegisterModel, code: str
) -> None:
    service, key = stage.healthy(register())
    update(service=service, by=stage.by, version=register(f"status=400 grpc={code}"))
    failure = revision_failure(stage, service)
    assert code in failure
    assert ("revision 1, which serves, answered" in failure) == (code != "FAILED_PRECONDITION")
    stage.wait_for_state(service, ServiceState.UNHEALTHY)
    assert score(service, key)[1]["predictions"][0] == "model 1"


def test_d5_versions_that_all_refuse_what_is_made_up_follow_each_other_with_a_notice(
    stage: ServiceStack, register: RegisterModel
) -> None:
    behaviour = "status=400 grpc=INVALID_ARGUMENT"
    service, _ = stage.healthy(register(behaviour))
    update(service=service, by=stage.by, version=register(behaviour))
    stage.wait(lambda: {one.revision.number for one in living_replicas(service)} == {2}, service)
    assert not current_revision(service).failure
    assert "(INVALID_ARGUMENT: as the model says)" in current_revision(service).notice


def test_d1_what_rest_refuses_and_grpc_answers_is_no_broken_replica(
    stage: ServiceStack, register: RegisterModel
) -> None:
    service, _ = stage.healthy(register("status=501 grpc=OK"))
    assert "was answered over gRPC; REST refused it (501" in current_revision(service).notice


def test_d1_a_signature_that_can_be_answered_is_tested_and_shown_in_place_of_a_ragged_one(
    stage: ServiceStack, register: RegisterModel, client: Client
) -> None:
    graph = graph_of(serving_default={"x": -1}, mean={"x": types_pb2.DT_FLOAT})
    version = register(graph=graph)
    service, key = stage.healthy(version)
    assert score(service, key, b'{"signature_name": "mean", "inputs": [[0, 0, 0, 0]]}')[0] == 200
    assert not current_revision(service).notice
    (found,) = (one for one in version.scan or [] if one["kind"] == "not_callable")
    assert "input x is ragged" in found["message"]
    assert "signature mean" in page_of(client, stage, service)


def test_d3_a_type_that_json_cannot_carry_is_tested_over_grpc(
    stage: ServiceStack, register: RegisterModel, client: Client
) -> None:
    graph = graph_of(serving_default={"x": types_pb2.DT_HALF})
    made = stage.deploy(register("status=501 grpc=OK", graph=graph))
    service = stage.wait_for_state(made.service, ServiceState.HEALTHY)
    words = "JSON cannot carry every type of the signature serving_default (x is float16): use gRPC"
    assert f"The smoke test ran over gRPC. {words}" in current_revision(service).notice
    page = page_of(client, stage, service)
    assert page.count(words) >= 4  # the form, curl, Python, JavaScript
    assert "curl &#x27;http" not in page
    assert score(service, made.keys[KeySlot.PRIMARY])[0] == 501
