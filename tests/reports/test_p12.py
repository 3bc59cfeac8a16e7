"""Every error of a submission is told at once: none hides another."""

from typing import Any

import pytest

from tests.reports.ways_in import Submit, said_of

pytestmark = pytest.mark.django_db

FILES = {
    "train.py": b"import tensorflow as tf\ntf.estimator.train_and_evaluate(1, 2, 3)\n",
    "requirements.txt": b"-e .\npywin32==306\n",
    "conda.yml": b"channels: [mine]\nmore: 1\ndependencies: [1, '-c x', {pip: ['-r a']}]\n",
}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({}, ""),
        ({"cpus_per_process": -1}, "cpus_per_process"),
        ({"experiment": ""}, "experiment"),
        ({"unknown": 1}, "unknown"),
        ({"compute_target": "nowhere"}, "compute_target"),
        ({"compute_target": 5}, "compute_target"),
        ({"resume_from": 77}, "resume_from"),
        ({"secrets": {"A": {"secret": "none"}}}, "secrets.A.secret"),
        ({"distributed_training": {"type": "many"}}, "distributed_training.type"),
    ],
)
def test_p12_any_earlier_error_hides_none_of_requirements_packages_and_preflight(
    submit: Submit, wrong: dict[str, Any], field: str
):
    config = {
        "pip_requirements_file": "requirements.txt",
        "pip_packages": ["./x"],
        "conda_packages": ["--all"],
    }

    answer = submit(FILES, 400, **config, **wrong)

    assert len(said_of(answer, "pip_requirements_file")) == 2
    assert len(said_of(answer, "pip_packages")) == 1
    assert any("--all" in said for said in said_of(answer, "conda_packages"))
    (estimator,) = said_of(answer, "framework_version")
    assert "ended with TensorFlow 2.15" in estimator
    assert not field or said_of(answer, field)


def test_p12_all_of_a_conda_file_is_told_at_once(submit: Submit):
    answer = submit(FILES, 400, conda_dependencies_file="conda.yml", max_restarts=-1)

    said = " ".join(said_of(answer, "conda_dependencies_file"))
    for part in ("It has more", "The channel 'mine'", "'1' is neither", "'-c x'"):
        assert part in said
    assert said_of(answer, "max_restarts")


def test_p12_with_an_unknown_version_what_holds_for_each_is_told(submit: Submit):
    config = {"framework_version": "1.13", "pip_requirements_file": "requirements.txt"}

    answer = submit(FILES, 400, **config)

    (version,) = said_of(answer, "framework_version")
    assert "1.13" in version
    assert len(said_of(answer, "pip_requirements_file")) == 2


def test_p12_an_entry_script_that_is_missing_is_told_once(submit: Submit):
    answer = submit(FILES, 400, entry_script="nope.py", pip_packages=["-e ."])

    assert len(said_of(answer, "entry_script")) == 1
    assert said_of(answer, "pip_packages")


def test_p12_a_wrong_field_is_told_once(submit: Submit):
    answer = submit(FILES, 400, entry_script=5, compute_target=5)

    assert len(said_of(answer, "entry_script")) == 1
    assert len(said_of(answer, "compute_target")) == 1


@pytest.mark.parametrize("config", [{"distributed_training": 1}, {"pip_packages": 5}])
def test_p12_a_configuration_of_the_wrong_shape_is_refused_in_words(
    submit: Submit, config: dict[str, Any]
):
    assert submit(FILES, 400, **config)["errors"]


def test_p12_force_passes_over_the_preflight_alone(submit: Submit):
    assert said_of(submit(FILES, 400, pip_packages=["-e ."]), "framework_version")
