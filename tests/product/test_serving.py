"""Services of a real model, through the end of everything, a rollout, and a server that hangs."""

import os
import signal

import httpx
import pytest

from tests.product.product import Product
from tests.product.sources import script
from tests.waiting import wait_for

pytestmark = [pytest.mark.product, pytest.mark.tensorflow]

EXPORT = """
import tensorflow as tf

for number in (1, 2):
    plus = tf.Module()
    plus.call = tf.function(
        lambda x: {"y": x + float(number)},
        input_signature=[tf.TensorSpec([None], tf.float32, name="x")],
    )
    tf.saved_model.save(plus, f"outputs/plus{number}", {"serving_default": plus.call})
"""
PATIENCE = 240.0


def test_a_service_outlives_everything_even_amid_a_rollout_and_notices_a_hang(
    product: Product,
) -> None:
    run = product.submit(script(EXPORT), framework_version="2.21")
    assert product.wait_for_end(run, seconds=PATIENCE)["status"] == "Completed"
    for number in (1, 2):
        product.post(
            "/models",
            {
                "run": run,
                "path": f"outputs/plus{number}",
                "name": "plus",
                "framework": "TensorFlow",
                "framework_version": "2.21",
            },
        )
    made = product.post("/services", {"name": "plus", "model": "plus:1"})
    key = made["secrets"]["primary"]

    def wait_for_state(state: str) -> str:
        def reason() -> str | None:
            service = product.patiently("/services/plus")
            return f"{state}. {service['state_reason']}" if service["state"] == state else None

        return wait_for(reason, f"the service to be {state}", PATIENCE)

    wait_for_state("Healthy")
    assert score(product, key) == 11.0
    before = product.living_replicas()

    product.kill_everything()
    product.start()
    assert score(product, key) == 11.0
    assert product.living_replicas() == before

    product.call("PATCH", "/services/plus", json={"model": "plus:2"})
    wait_for(
        lambda: any(one["revision"] == 2 for one in product.get("/services/plus")["replicas"]),
        "a replica of the new revision",
        PATIENCE,
    )
    product.kill_everything()
    product.start()
    got = score(product, key)
    assert got == 11.0 or (got == 12.0 and product.get("/services/plus")["state"] == "Healthy")
    wait_for(lambda: score(product, key) == 12.0, "the new version to take over", PATIENCE)
    wait_for_state("Healthy")
    wait_for(
        lambda: {one["revision"] for one in product.get("/services/plus")["replicas"]} == {2},
        "the old replica to end",
        PATIENCE,
    )

    (server,) = [one.pid for one in product.living_replicas() if not one.is_runner]
    os.kill(server, signal.SIGSTOP)
    try:
        assert "did not respond to a health check within 2 s" in wait_for_state("Unhealthy")
    finally:
        os.kill(server, signal.SIGCONT)
    wait_for_state("Healthy")
    assert score(product, key) == 12.0
    assert product.call("DELETE", "/services/plus").status_code == 204
    wait_for(lambda: not product.living_replicas(), "the end of the replicas", PATIENCE)


def score(product: Product, key: str) -> float | None:
    try:
        answer = product.http.post(
            "/teams/default/services/plus/score",
            headers={"Authorization": f"Bearer {key}"},
            json={"instances": [10.0]},
        )
    except httpx.TransportError:
        return None
    return float(answer.json()["predictions"][0]) if answer.status_code == 200 else None
