"""Report B5: parameter servers without a chief are told of before they start."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from runs.supervision.error_hints import error_hint_of
from tests.factories import bearer, make_target
from tests.runs.preflight.preflight_checks import ESTIMATOR, codes_of
from tests.runs.source.archive_builders import tar_gz_of
from workspace.models import Team

pytestmark = pytest.mark.django_db
WAY_OUT = "Set chief to true in distributed_training."
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "parameter-server" / "train.py"
COORDINATOR = """
import tensorflow as tf
resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
if resolver.task_type in ("worker", "ps"):
    server = tf.distribute.Server(
        resolver.cluster_spec(), job_name=resolver.task_type, task_index=resolver.task_id
    )
    server.join()
strategy = tf.distribute.ParameterServerStrategy(resolver)
coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
"""
OWN_CLUSTER = COORDINATOR + "import os\nos.environ['TF_CONFIG'] = '...'\n"
SESSIONS = """
import json, os
import tensorflow.compat.v1 as tf
config = json.loads(os.environ["TF_CONFIG"])
server = tf.train.Server(config["cluster"], job_name="worker", task_index=0)
tf.train.MonitoredTrainingSession(server.target, is_chief=True)
"""


@pytest.fixture
def target(team: Team) -> None:
    make_target(team)


def submit(client: Client, by: User, text: str, version: str, **distribution: Any) -> Any:
    cluster = {
        "type": "parameter_server",
        "worker_count": 2,
        "parameter_server_count": 1,
        **distribution,
    }
    config = {
        "experiment": "digits",
        "entry_script": "train.py",
        "framework_version": version,
        "distributed_training": cluster,
    }
    archive = tar_gz_of({"train.py": text.encode()})
    return client.post(
        "/api/v1/teams/default/runs",
        {"source": SimpleUploadedFile("source.tar.gz", archive), "config": json.dumps(config)},
        headers=bearer(by),
    )


@pytest.mark.parametrize(
    ("text", "version"), [(ESTIMATOR, "2.15"), (COORDINATOR, "2.21")], ids=["estimator", "TF 2"]
)
@pytest.mark.usefixtures("target")
def test_b5_a_script_that_needs_a_chief_is_refused_without_one(
    client: Client, bob: User, text: str, version: str
) -> None:
    refused = submit(client, bob, text, version)
    assert refused.status_code == 400
    (error,) = refused.json()["errors"]
    assert error["field"] == "distributed_training.chief"
    assert "there is no chief" in error["message"]
    assert WAY_OUT in error["message"]
    assert submit(client, bob, text, version, chief=True).json()["warnings"] == []


@pytest.mark.parametrize(
    "text", [EXAMPLE.read_text(), OWN_CLUSTER], ids=["the example", "TF_CONFIG of its own"]
)
@pytest.mark.usefixtures("target")
def test_b5_a_script_that_may_name_a_chief_itself_is_only_warned(
    client: Client, bob: User, text: str
) -> None:
    submitted = submit(client, bob, text, "2.21")
    assert submitted.status_code == 201, submitted.content
    told = [w for w in submitted.json()["warnings"] if w["remedy"] == WAY_OUT]
    assert [(w["level"], w["field"]) for w in told] == [("warn", "distributed_training.chief")]


RULE = [
    ("an estimator's configuration", "tf.estimator.RunConfig()", "refuse"),
    ("an estimator ready-made", "tf.estimator.DNNRegressor([1], [])", "refuse"),
    ("one of TensorFlow 1", "tf.compat.v1.estimator.Estimator(None)", "refuse"),
    ("one made of a Keras model", "tf.keras.estimator.model_to_estimator(None)", "refuse"),
    ("no more than a name of the estimator's", "tf.estimator.ModeKeys.TRAIN", None),
    ("the experimental name", "tf.distribute.experimental.ParameterServerStrategy(1)", "warn"),
    ("the strategy of TensorFlow 1", "tf.compat.v1.distribute.x.ParameterServerStrategy", None),
]


@pytest.mark.parametrize(("line", "level"), [row[1:] for row in RULE], ids=[row[0] for row in RULE])
def test_b5_what_needs_a_chief(line: str, level: str | None) -> None:
    script = f"import tensorflow as tf\n{line}\n"
    found = codes_of(script, mode="parameter_server", framework_version="2.15")
    assert [told for told, code in found if code == "no-chief"] == ([level] if level else [])


def test_b5_sessions_need_no_chief() -> None:
    found = codes_of(SESSIONS, mode="parameter_server", framework_version="2.15")
    assert found == []


def test_b5_the_estimators_own_words_are_a_known_cause() -> None:
    words = 'ValueError: If "cluster" is set in TF_CONFIG, it must have one "chief" node.'
    hint = error_hint_of([words], exit_code=1)
    assert hint is not None
    assert hint.remedy == WAY_OUT
