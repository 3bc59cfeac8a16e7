"""P8: a signature without inputs is predicted over gRPC and warmed up; only REST refuses it."""

from pathlib import Path

import pytest

from tests.modelserver.fixtures import StartServer
from tests.modelserver.grpc.client import Caller, GrpcClient
from workspace.compute.local.ports import free_port

pytestmark = pytest.mark.tensorflow


def test_p8_a_counter_is_warmed_up_and_counts_over_grpc(
    start_server: StartServer, saved_models: Path, grpc_client: GrpcClient
) -> None:
    server = start_server(
        "--model_name=counter",
        f"--model_base_path={saved_models / 'counter'}",
        "--max_num_load_retries=0",
        grpc_port=free_port(()),
    ).wait_until_ready()
    assert "Replayed 2 warm-up requests" in server.log_text()
    caller = Caller(grpc_client, server.grpc_target)
    first, second = (caller.predict("counter").ok().tensors["count"].values for _ in range(2))
    assert (first > 2, second) == (True, first + 1)
    refused = server.post("/v1/models/counter:predict", {"inputs": {}})
    assert (refused.status, "Failed to get input map" in refused.error) == (400, True)
