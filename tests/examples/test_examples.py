"""The examples are whole and say the truth; the platform's own tests run them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runs.config import parse
from runs.preflight.check import check

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FOLDERS = sorted(folder for folder in EXAMPLES.iterdir() if folder.is_dir())
SCORED = [folder for folder in FOLDERS if folder.name != "no-tensorflow"]

each_example = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def config_of(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return config


def test_every_kind_of_training_has_its_example() -> None:
    assert {folder.name for folder in FOLDERS} == {
        "custom-loop",
        "estimator-linear",
        "horovod",
        "keras-multi-worker",
        "keras-restarts",
        "keras-single",
        "mpi4py",
        "no-tensorflow",
        "parameter-server",
    }


@each_example
def test_the_readme_names_the_mode_and_is_listed_in_the_index(folder: Path) -> None:
    mode = config_of(folder).get("distributed_training", {}).get("type", "single")
    assert f"mode *{mode}*" in " ".join((folder / "README.md").read_text().split())
    assert f"| `{folder.name}` | {mode} |" in (EXAMPLES / "README.md").read_text()


@each_example
def test_the_run_names_files_that_are_there_and_fields_that_exist(folder: Path) -> None:
    config = config_of(folder)
    parse(config)
    assert (folder / config["entry_script"]).is_file()
    if "pip_requirements_file" in config:
        assert (folder / config["pip_requirements_file"]).is_file()


@each_example
def test_the_script_takes_every_parameter_of_the_run(folder: Path) -> None:
    config = config_of(folder)
    source = (folder / config["entry_script"]).read_text()
    for parameter in config["script_params"]:
        assert f'add_argument("{parameter}"' in source


@each_example
def test_the_preflight_finds_nothing_wrong(folder: Path) -> None:
    config = config_of(folder)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    distribution = config.get("distributed_training", {})
    requirements = files.get(config.get("pip_requirements_file", ""), b"").decode()
    findings = check(
        files,
        {
            "entry_script": config["entry_script"],
            "framework_version": config.get("framework_version", "2.21"),
            "mode": distribution.get("type", "single"),
            "chief": distribution.get("chief", False),
            "requirements": requirements,
            "environment_variables": config.get("environment_variables", {}),
        },
    )
    assert findings == []


@each_example
def test_no_file_holds_an_absolute_path(folder: Path) -> None:
    for path in folder.iterdir():
        text = path.read_text()
        assert not re.search(r"""["'\s(=]/(home|root|work|usr|var|mnt)/""", text), path.name


@pytest.mark.parametrize("folder", SCORED, ids=lambda folder: folder.name)
def test_the_scoring_request_is_one_digit(folder: Path) -> None:
    request = json.loads((folder / "score.json").read_text())
    assert len(request["instances"]) == 1
    (instance,) = request["instances"]
    if folder.name == "estimator-linear":
        assert request["signature_name"] == "predict"
        assert set(instance) == {"b64"}
    else:
        assert len(instance) == 64
        assert all(0 <= pixel <= 16 for pixel in instance)


def test_the_plain_example_logs_json_lines_and_fits_its_line(tmp_path: Path) -> None:
    script = EXAMPLES / "no-tensorflow" / "train.py"
    done = subprocess.run(
        [sys.executable, str(script), "--steps", "200"],
        cwd=tmp_path,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "step 200/200" in done.stdout
    lines = (tmp_path / "logs" / "metrics.jsonl").read_text().splitlines()
    points = [json.loads(line) for line in lines]
    assert [point["step"] for point in points] == list(range(1, 201))
    assert points[-1]["loss"] < 0.02 < points[0]["loss"]
    line = json.loads((tmp_path / "outputs" / "line.json").read_text())
    assert line["slope"] == pytest.approx(3, abs=0.1)
    assert line["intercept"] == pytest.approx(2, abs=0.1)
