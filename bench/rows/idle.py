"""What Trainyard takes when nothing happens: memory, time to start, disk (G21, G22)."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from uv import find_uv_bin

from bench import procfs
from bench.bench import Bench
from bench.measure import Line, alternate, seconds
from bench.site import ROOT

BARE = "import django; django.setup(); import config.asgi"
SETTLE_SECONDS = 5
MEMORY_MB, BOOT_SECONDS, INSTALLED_MB = 350, 4, 250


def measure(bench: Bench) -> Iterator[Line]:
    names = iter(f"boot-{number}" for number in range(100))

    def boot() -> float:
        site = bench.new_site(next(names))
        took = seconds(site.start)
        site.stop()
        return took

    def bare() -> float:
        return seconds(
            lambda: subprocess.run(
                [sys.executable, "-c", BARE],
                check=True,
                cwd=ROOT,
                env=os.environ
                | {
                    "DJANGO_SETTINGS_MODULE": "config.settings",
                    "TRAINYARD_HOME": str(bench.folder / "bare"),
                },
            )
        )

    ours, floor = alternate(boot, bare, 5)
    yield Line("first start to healthy", ours, "s", BOOT_SECONDS, "import of its code", floor)
    site = bench.new_site(next(names))
    site.start()
    site.wait(site.submit("hello"))
    site.watch(1, worker_0=0).close()
    for page in ("/login/", "/api/v1/teams/default/runs", "/api/v1/openapi.json"):
        site.fetch("GET", page)
    time.sleep(SETTLE_SECONDS)
    pids = procfs.tree(site.pid)
    memory = sum(map(procfs.pss_bytes, pids)) / 1e6
    site.stop()
    yield Line(f"memory when idle, {len(pids)} processes", memory, "MB", MEMORY_MB)
    yield Line(
        "installed without TensorFlow",
        _installed_bytes(bench.folder / "venv") / 1e6,
        "MB",
        INSTALLED_MB,
    )


def _installed_bytes(venv: Path) -> int:
    """Return the size of what `make setup` installs from nothing, and of the code itself."""
    uv, python = find_uv_bin(), venv / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(venv)], check=True)
    sync = [uv, "pip", "sync", "--quiet", "--python", str(python), "--require-hashes"]
    subprocess.run([*sync, str(ROOT / "requirements" / "base.txt")], check=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    ours = [ROOT / name for name in listed.stdout.split("\0")]
    others = [venv, ROOT / "node_modules", ROOT / "staticfiles"]
    files = [*ours, *(path for folder in others for path in folder.rglob("*"))]
    return sum(path.lstat().st_size for path in files if path.is_file() or path.is_symlink())
