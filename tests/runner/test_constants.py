"""What the runner and the rest of Trainyard share is written in one place."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runner.constants import KILLED, STOPPED, exit_code_of

ROOT = Path(__file__).parents[2]
PRODUCT = ("config", "deploy", "models", "runner", "runs", "workspace")
SHARED = (
    '"TRAINYARD_PROCESS_TOKEN"',
    "TRAINYARD_RUNNER_DIR=",
    '"TRAINYARD_RUNNER_DIR"',
    '"runner.json"',
    '"/runner/v1/"',
    '"[trainyard] ',
    "128 + ",
    "= 137",
)


@pytest.mark.parametrize("text", SHARED)
def test_no_other_module_repeats_what_is_shared(text: str) -> None:
    repeated = [
        path.relative_to(ROOT).as_posix()
        for app in PRODUCT
        for path in sorted((ROOT / app).rglob("*.py"))
        if text in path.read_text()
    ]
    assert set(repeated) <= {"runner/constants.py"}


def test_a_program_ended_by_a_signal_has_128_and_its_number() -> None:
    assert exit_code_of(3 << 8) == 3
    assert exit_code_of(signal.SIGKILL) == KILLED == 137
    assert exit_code_of(signal.SIGTERM) == STOPPED == 143


def test_the_runner_imports_the_standard_library_and_itself_alone() -> None:
    modules = [path.stem for path in (ROOT / "runner").glob("[!_]*.py")]
    program = "; ".join(["import sys", *(f"import runner.{name}" for name in modules)])
    program += "; print(*sorted({n.partition('.')[0] for n in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-S", "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    ours = {name for name in loaded if not re.match(r"_|__", name)} - sys.stdlib_module_names
    assert ours == {"runner"}
