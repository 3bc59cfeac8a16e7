"""P7: README's REST example runs as it stands, with what a fresh Debian has."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.config.server.launched import ROOT
from tests.product.product import Product

pytestmark = [
    pytest.mark.product,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]

# Essential packages of Debian, and curl, which README asks for.
PROGRAMS = ("awk", "bash", "curl", "gzip", "tar")


def example() -> str:
    """Return the commands of README's example of the REST API."""
    readme = (ROOT / "README.md").read_text()
    (block,) = [block for block in readme.split("\n\n") if block.startswith("    TOKEN=")]
    return "\n".join(line.removeprefix("    ") for line in block.splitlines())


def test_the_example_of_the_readme_submits_a_run_on_a_fresh_machine(
    product: Product, tmp_path: Path
) -> None:
    for name in PROGRAMS:
        (tmp_path / name).symlink_to(Path(shutil.which(name) or name).resolve())
    commands = example().replace("http://127.0.0.1:8000", product.url)
    commands = re.sub("/tmp(?=/)", str(tmp_path), commands)  # noqa: S108 - other sessions have it
    paused = product.call("PATCH", "/targets/local", json={"is_paused": True})
    assert paused.status_code == 200, paused.text
    try:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=ROOT,
            env={**product.environment, "PATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        run = json.loads(done.stdout)
        assert run["status"] == "Queued"
        files = product.get(f"/runs/{run['number']}")["config"]["entry_script"]
        assert files == "train.py"
        product.cancel(run["number"])
        assert product.wait_for_end(run["number"])["status"] == "Canceled"
    finally:
        product.call("PATCH", "/targets/local", json={"is_paused": False})
