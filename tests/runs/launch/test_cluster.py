"""The launch plan: what each process of each mode is told."""

import json
from typing import Any

import pytest

from runs.config import RunConfig, parse
from runs.launch.cluster import (
    ProcessFacts,
    environment_of,
    head_start_of,
    mpi_of,
    mpirun_command_text,
    processes_of,
    tf_config,
)

FACTS = ProcessFacts("7", "/checkpoints")


def config_of(distribution: dict[str, Any] | None = None, **more: Any) -> RunConfig:
    given = {"experiment": "e", "entry_script": "train.py", **more}
    return parse(given | ({"distributed_training": distribution} if distribution else {}))


def plan(config: RunConfig, kind: str = "local") -> dict[str, dict[str, str]]:
    processes = processes_of(config, kind)
    addresses = {p.name: f"host:{2222 + n}" for n, p in enumerate(processes) if p.listens}
    return {p.name: environment_of(config, p, addresses, FACTS) for p in processes}


def test_a_single_process_has_no_tf_config():
    assert "TF_CONFIG" not in plan(config_of())["worker-0"]
    assert (
        "TF_CONFIG" not in plan(config_of({"type": "multi_worker", "worker_count": 1}))["worker-0"]
    )


def test_every_task_sees_the_same_cluster_and_its_own_place():
    told = plan(config_of({"type": "multi_worker", "worker_count": 2}))
    clusters = {name: json.loads(env["TF_CONFIG"]) for name, env in told.items()}
    assert clusters["worker-0"]["cluster"] == clusters["worker-1"]["cluster"]
    assert clusters["worker-0"]["cluster"] == {"worker": ["host:2222", "host:2223"]}
    assert clusters["worker-1"]["task"] == {"type": "worker", "index": 1}


@pytest.mark.parametrize(
    ("distribution", "cluster"),
    [
        ({}, {"worker": ["host:2222"], "ps": ["host:2223"]}),
        ({"chief": True}, {"chief": ["host:2222"], "worker": ["host:2223"], "ps": ["host:2224"]}),
        (
            {"chief": True, "evaluator": True},
            {"chief": ["host:2222"], "worker": ["host:2223"], "ps": ["host:2224"]},
        ),
    ],
    ids=["azure ml", "tf2", "estimator"],
)
def test_the_three_layouts_of_parameter_servers(distribution, cluster):
    told = plan(config_of({"type": "parameter_server", **distribution}))
    for name, variables in told.items():
        given = json.loads(variables["TF_CONFIG"])
        assert given["cluster"] == cluster
        assert f"{given['task']['type']}-{given['task']['index']}" == name
        assert variables["GRPC_FAIL_FAST"] == "use_caller"


def test_an_evaluator_is_a_task_that_the_cluster_does_not_list():
    told = plan(config_of({"type": "parameter_server", "chief": True, "evaluator": True}))
    given = json.loads(told["evaluator-0"]["TF_CONFIG"])
    assert given["task"] == {"type": "evaluator", "index": 0}
    assert "evaluator" not in given["cluster"]


@pytest.mark.parametrize(
    ("version", "given", "expected"),
    [("2.21", {}, "1"), ("2.21", {"TF_USE_LEGACY_KERAS": "0"}, "0"), ("2.15", {}, None)],
    ids=["set", "the user's word stands", "not needed"],
)
def test_keras_2_is_chosen_where_keras_3_cannot_distribute(version, given, expected):
    config = config_of(
        {"type": "multi_worker", "worker_count": 2},
        framework_version=version,
        environment_variables=given,
    )
    assert plan(config)["worker-0"].get("TF_USE_LEGACY_KERAS") == expected


def test_processes_know_their_run_and_role():
    told = plan(config_of())["worker-0"]
    assert told["TRAINYARD_RUN_ID"] == "7"
    assert (told["TRAINYARD_ROLE"], told["TRAINYARD_INDEX"]) == ("worker", "0")
    assert told["TRAINYARD_CHECKPOINT_DIR"] == "/checkpoints"


def test_parameter_servers_take_no_gpus():
    config = config_of({"type": "parameter_server"}, use_gpu=True, gpus_per_process=2)
    assert {p.role: p.gpus for p in processes_of(config, "local")} == {"worker": 2, "ps": 0}


def test_tf_config_is_unset_without_addresses():
    assert tf_config(processes_of(config_of(), "local")[0], {}) is None


def test_the_first_of_several_workers_starts_before_the_others():
    config = config_of({"type": "multi_worker", "worker_count": 3})
    first, *others = processes_of(config, "docker")
    assert head_start_of(config, first, first) == 0
    assert all(head_start_of(config, other, first) > 0 for other in others)


MPI = {"type": "mpi", "process_count_per_node": 2}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("local", [("launcher-0", True, 4.0, 4)]),
        (
            "swarm",
            [
                ("launcher-0", False, None, 0),
                ("worker-0", True, 2.0, 2),
                ("worker-1", True, 2.0, 2),
            ],
        ),
    ],
)
def test_ranks_have_their_shares_where_they_run(kind: str, expected: list[Any]):
    config = config_of(MPI, node_count=2, cpus_per_process=1, use_gpu=True)
    planned = processes_of(config, kind)
    assert [(p.name, p.listens, p.cpus, p.gpus) for p in planned] == expected


def test_a_launcher_is_told_its_hosts_and_a_worker_where_to_listen():
    config = config_of(MPI, node_count=2)
    launcher, first, _ = processes_of(config, "docker")
    addresses = {"worker-0": "worker-0:2222", "worker-1": "worker-1:2222"}
    told = mpi_of(config, launcher, addresses)
    assert told is not None
    assert told["ranks"] == 4
    assert [(host["address"], host["slots"]) for host in told["hosts"]] == [
        ("worker-0:2222", 2),
        ("worker-1:2222", 2),
    ]
    assert mpi_of(config, first, addresses) == {"address": "worker-0:2222"}


def test_without_containers_the_launcher_has_all_ranks_of_all_nodes():
    config = config_of(MPI, node_count=2)
    (launcher,) = processes_of(config, "local")
    told = mpi_of(config, launcher, {"launcher-0": "127.0.0.1:20001"})
    assert told is not None
    assert (told["ranks"], told["hosts"]) == (4, [])


def test_ranks_have_the_address_of_the_first_node_and_no_tf_config():
    on_nodes = plan(config_of(MPI, node_count=2), "docker")["worker-1"]
    assert on_nodes["AZ_BATCH_MASTER_NODE"] == "host:6000"
    assert "TF_CONFIG" not in on_nodes
    assert plan(config_of(MPI))["launcher-0"]["AZ_BATCH_MASTER_NODE"] == "host:2222"


def test_the_mpirun_line_is_as_a_person_would_write_it():
    config = config_of(MPI, node_count=2, script_params={"--name": "a b"})
    assert mpirun_command_text(config) == (
        "mpirun -np 4 --hostfile hosts --map-by slot:OVERSUBSCRIBE --bind-to none"
        " python train.py --name 'a b'"
    )
