"""The examples, for real: they train, and what they leave is watched, registered, deployed, scored.

They run one after another on one product, because each takes all that the machine has.
"""

import json
import os
import re
import signal
from functools import partial
from typing import Any

import httpx
import pytest

from tests.config.server.launched import ROOT
from tests.product.product import Product
from tests.product.steady_run import check_end
from tests.waiting import wait_for

pytestmark = [pytest.mark.product, pytest.mark.tensorflow]
EXAMPLES = ROOT / "examples"
BUILD_AND_TRAIN_SECONDS = 900
CHECKSUM = re.compile(r"worker \d: weights checksum ([0-9a-f]{16})")


class Trained:
    """Runs each example once a session and remembers its run."""

    def __init__(self, product: Product) -> None:
        self._product = product
        self._numbers: dict[str, int] = {}

    def run(self, example: str) -> dict[str, Any]:
        """Return the finished run of an example, with its `logs` by process."""
        if example not in self._numbers:
            folder = EXAMPLES / example
            config = json.loads((folder / "run.json").read_text())
            answer = self._product.send_run(folder, config)
            assert answer.status_code == 201, answer.text
            self._numbers[example] = answer.json()["number"]
        number = self._numbers[example]
        run = self._product.wait_for_end(number, BUILD_AND_TRAIN_SECONDS)
        names = [process["name"] for process in run["processes"]]
        logs = {name: self._product.log(number, name).decode() for name in names}
        assert run["status"] == "Completed", (run["end_detail"], logs)
        check_end(self._product, number, run)
        return {**run, "logs": logs}


@pytest.fixture(scope="module")
def trained(shared_product: Product) -> Trained:
    return Trained(shared_product)


def files_of(product: Product, run: dict[str, Any]) -> set[str]:
    return {file["path"] for file in product.get(f"/runs/{run['number']}/files")["files"]}


def metrics_of(product: Product, run: dict[str, Any]) -> dict[tuple[str, str], list[float]]:
    series = product.get(f"/runs/{run['number']}/metrics")["series"]
    return {
        (one["process"], one["name"]): [point["value"] for point in one["points"]] for one in series
    }


def register(product: Product, run: dict[str, Any], path: str, name: str) -> dict[str, Any]:
    version: dict[str, Any] = product.post(
        "/models",
        {
            "run": run["number"],
            "path": path,
            "name": name,
            "framework": "TensorFlow",
            "framework_version": run["config"]["framework_version"],
        },
    )
    return version


def deploy(product: Product, name: str, model: str) -> dict[str, str]:
    """Deploy a model, wait until it is healthy, and return the keys of its service."""
    resources = {"cpu": 0.5, "memory_gb": 2}
    made = product.post("/services", {"name": name, "model": model, "resources": resources})
    wait_for_health(product, name)
    keys: dict[str, str] = made["secrets"]
    return keys


def wait_for_health(product: Product, name: str) -> None:
    def is_healthy() -> bool:
        service = product.get(f"/services/{name}")
        assert service["state"] != "Failed", service
        return bool(service["state"] == "Healthy")

    wait_for(is_healthy, f"service {name} to be healthy", BUILD_AND_TRAIN_SECONDS)


def score(product: Product, name: str, key: str, body: object) -> httpx.Response:
    return product.http.post(
        f"/teams/default/services/{name}/score",
        json=body,
        headers={"Authorization": f"Bearer {key}"},
    )


def request_of(example: str) -> Any:
    return json.loads((EXAMPLES / example / "score.json").read_text())


def test_keras_trains_alone(product: Product, trained: Trained) -> None:
    run = trained.run("keras-single")
    assert "outputs/digits/saved_model.pb" in files_of(product, run)
    metrics = metrics_of(product, run)
    assert metrics["", "train/epoch_accuracy"][-1] > 0.9
    assert len(metrics["", "validation/epoch_loss"]) == 10


def test_keras_workers_end_with_the_same_weights(product: Product, trained: Trained) -> None:
    run = trained.run("keras-multi-worker")
    assert [process["exit_code"] for process in run["processes"]] == [0, 0]
    assert all("2 replicas in sync" in log for log in run["logs"].values())
    checksums = [CHECKSUM.findall(log) for log in run["logs"].values()]
    assert checksums[0] == checksums[1]
    assert len(checksums[0]) == 1
    assert "outputs/digits/saved_model.pb" in files_of(product, run)
    assert metrics_of(product, run)["worker-0", "train/epoch_accuracy"][-1] > 0.9


def test_a_loop_of_ones_own_ends_with_the_same_weights(product: Product, trained: Trained) -> None:
    run = trained.run("custom-loop")
    checksums = [CHECKSUM.findall(log) for log in run["logs"].values()]
    assert checksums[0] == checksums[1]
    assert len(checksums[0]) == 1
    assert metrics_of(product, run)


def test_parameter_servers_and_workers_are_ended_when_the_chief_is_done(
    product: Product, trained: Trained
) -> None:
    run = trained.run("parameter-server")
    assert {process["name"] for process in run["processes"]} == {
        "chief-0",
        "worker-0",
        "worker-1",
        "ps-0",
    }
    assert run["end_detail"]["message"] == "chief-0 completed."
    steps = re.search(r"steps done by each worker: \[(\d+), (\d+)\]", run["logs"]["chief-0"])
    assert steps
    assert all(int(count) > 0 for count in steps.groups())
    assert "/job:ps/" in run["logs"]["chief-0"]
    assert "outputs/digits/saved_model.pb" in files_of(product, run)


def test_an_estimator_trains_on_its_four_roles_and_its_model_scores_examples(
    product: Product, trained: Trained
) -> None:
    run = trained.run("estimator-linear")
    assert {p["role"] for p in run["processes"]} == {"chief", "worker", "ps", "evaluator"}
    assert "did" in run["logs"]["worker-0"]
    (saved,) = [path for path in files_of(product, run) if path.endswith("saved_model.pb")]
    version = register(product, run, saved.rpartition("/")[0], "linear")
    assert version["framework_version"] == "2.15"
    keys = deploy(product, "linear", "linear:1")
    answer = score(product, "linear", keys["primary"], request_of("estimator-linear"))
    assert answer.status_code == 200, answer.text
    (prediction,) = answer.json()["predictions"]
    assert prediction["class_ids"] == [7]
    assert product.call("DELETE", "/services/linear").status_code == 204


def test_a_model_is_registered_deployed_and_scores_whatever_is_killed_or_started_again(
    product: Product, trained: Trained
) -> None:
    run = trained.run("keras-multi-worker")
    version = register(product, run, "outputs/digits", "digits")
    assert version["version"] == 1
    keys = deploy(product, "digits", "digits:1")
    scored = partial(score, product, "digits", keys["primary"])
    body = request_of("keras-multi-worker")
    answer = scored(body)
    assert answer.status_code == 200, answer.text
    (chances,) = answer.json()["predictions"]
    assert max(range(10), key=chances.__getitem__) == 7
    assert score(product, "digits", "tk_wrong", body).status_code == 401
    bad: object
    for bad in ({"instances": [["a"] * 64]}, {"instances": [[1.0], [1.0, 2.0]]}, {"inputs": {}}, 7):
        refused = scored(bad)
        assert refused.status_code == 400, (bad, refused.text)
        assert refused.json()["error"]

    server = next(one for one in product.living_replicas() if not one.is_runner)
    os.kill(server.pid, signal.SIGKILL)
    wait_for(lambda: scored(body).status_code == 200, "another server to score", 240)
    assert server.pid not in {one.pid for one in product.living_replicas()}

    product.kill_everything()
    product.start()
    wait_for_health(product, "digits")
    assert scored(body).json() == answer.json()
    assert product.stop() == 0
    product.start()
    wait_for_health(product, "digits")
    assert scored(body).json() == answer.json()
    assert product.call("DELETE", "/services/digits").status_code == 204
    assert score(product, "digits", product.token, body).status_code == 404
    wait_for(lambda: not product.living_replicas(), "all servers to end", 240)
