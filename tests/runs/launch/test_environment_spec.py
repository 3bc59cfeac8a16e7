"""Which environment a run gets: Open MPI and Horovod where its mode or its code needs them."""

from collections.abc import Callable
from typing import Any

import pytest

from runs.config import parse
from runs.launch.environment_spec import spec_of
from workspace.compute.environment_spec import EnvironmentSpec
from workspace.platform.errors import Invalid

MPI = {"type": "mpi", "process_count_per_node": 2}


def spec(script: str = "", requirements: str = "", **config: Any) -> EnvironmentSpec:
    files: dict[str, Callable[[], bytes]] = {
        "train.py": script.encode,
        "requirements.txt": requirements.encode,
    }
    given = {"experiment": "e", "entry_script": "train.py", "framework_version": "2.15", **config}
    return spec_of(parse(given), files)


def test_mpi_brings_mpi4py_and_other_modes_do_not():
    assert "mpi4py" in spec(distributed_training=MPI).packages
    assert spec(distributed_training=MPI).mpi
    assert not spec().mpi
    assert spec().packages == ()


@pytest.mark.parametrize(
    "asked",
    [
        {"script": "import horovod.tensorflow as hvd"},
        {"pip_packages": ["horovod[tensorflow]==0.28.1"]},
        {"requirements": "horovod>=0.20\n", "pip_requirements_file": "requirements.txt"},
    ],
    ids=["by import", "pip_packages", "requirements file"],
)
def test_horovod_is_built_rather_than_resolved(asked: dict[str, Any]):
    made = spec(distributed_training=MPI, **asked)
    assert made.horovod
    assert made.mpi
    assert not [line for line in made.packages if line.startswith("horovod")]
    assert "cloudpickle" in made.packages


@pytest.mark.parametrize(
    ("version", "line", "words"),
    [
        ("2.21", "horovod", "choose framework_version 2.15"),
        ("2.15", "horovod==0.27.0", "write horovod==0.28.1"),
    ],
)
def test_a_horovod_that_cannot_be_is_refused_with_the_way_out(version: str, line: str, words: str):
    with pytest.raises(Invalid) as refused:
        spec(distributed_training=MPI, framework_version=version, pip_packages=[line])
    (error,) = refused.value.errors
    assert error.field == "pip_packages"
    assert words in error.message


def test_horovod_is_there_only_for_mpi_runs_that_import_it():
    assert not spec("import horovod.tensorflow as hvd").horovod
    assert not spec("print(1)", distributed_training=MPI).horovod
