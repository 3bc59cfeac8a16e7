from pathlib import Path

from workspace.compute.access import TargetAccess
from workspace.compute.engine.sandboxed_jobs import _settings
from workspace.compute.sandboxed_job import SandboxedJob


def test_a_container_ends_itself_when_its_worker_does_not(tmp_path: Path) -> None:
    job = SandboxedJob("conversion-1", tmp_path / "program.py", tmp_path, tmp_path, seconds=30)
    command = _settings(TargetAccess(home=str(tmp_path)), job, "name")["command"]
    assert command[:4] == ["timeout", "-s", "KILL", "90"]
    assert command[-4] == "-I"
