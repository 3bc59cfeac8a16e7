"""The set-up says what it lacks, and does nothing twice."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from config.server import install
from tests.config.server.launched import ROOT


def test_a_python_too_old_is_told_which_one_is_needed(tmp_path: Path) -> None:
    pretend = (
        "import sys; sys.version_info = (3, 9, 2);"
        " from config.server import install; sys.exit(install.main([]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", pretend],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("Trainyard needs Python 3.11 or newer, and ")
    assert "is 3.9" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_the_set_up_reads_in_an_older_python() -> None:
    source = (ROOT / "config" / "server" / "install.py").read_text()
    ast.parse(source, feature_version=(3, 7))


def test_a_python_that_cannot_make_a_virtualenv_names_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(install.InstallFailed, match="apt install python3-venv"):
        install.virtualenv("base")


def test_only_steps_whose_input_changed_are_done_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").touch()
    results = dict.fromkeys(("packages", "front end", "static files"), tmp_path)
    monkeypatch.setattr(install, "VENV", venv)
    monkeypatch.setattr(install, "VENV_PYTHON", venv / "bin" / "python")
    monkeypatch.setattr(install, "RECORD", venv / "trainyard.json")
    monkeypatch.setattr(install, "result_of", results.__getitem__)
    done: list[str] = []
    for step in ("virtualenv", "packages", "front_end", "static_files"):
        monkeypatch.setattr(install, step, lambda kind, step=step: done.append(f"{step} {kind}"))

    install.install(with_dev_tools=False)
    assert done == ["virtualenv base", "packages base", "front_end base", "static_files base"]
    done.clear()

    install.install(with_dev_tools=False)
    assert done == []

    install.install(with_dev_tools=True)
    assert done == ["packages dev"]
    done.clear()

    install.install(with_dev_tools=False)
    assert done == [], "what tests need stays"

    record = install.read_record()
    install.write_record({**record, "front end": "of yesterday"})
    install.install(with_dev_tools=False)
    assert done == ["front_end dev"]
