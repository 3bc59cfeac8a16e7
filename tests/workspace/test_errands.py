from pathlib import Path

from workspace.compute.access import TargetAccess
from workspace.compute.docker_errands import _settings
from workspace.compute.errand import Errand


def test_a_container_ends_itself_when_its_worker_does_not(tmp_path: Path) -> None:
    errand = Errand("conversion-1", tmp_path / "program.py", tmp_path, tmp_path, seconds=30)
    command = _settings(TargetAccess(home=str(tmp_path)), errand, "name")["command"]
    assert command[:4] == ["timeout", "-s", "KILL", "90"]
    assert command[-4] == "-I"
