"""Start a launcher as a real process, hear what it says and look at its parts."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[3]
OURS = {"ALLOWED_HOSTS", "DATABASE_URL", "DEBUG", "DJANGO_SETTINGS_MODULE", "REDIS_URL"}
CLEAN = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("TRAINYARD_", "PYTHON")) and name not in OURS
}


class LaunchedProduct:
    def __init__(self, folder: Path, *arguments: str, environment: Mapping[str, str]) -> None:
        self.home = environment.get("TRAINYARD_HOME", "")
        self._log = folder / f"launched-{len(list(folder.iterdir()))}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env={**CLEAN, **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    def wait_to_hear(self, text: str, times: int = 1, seconds: float = 60) -> None:
        wait_for(
            lambda: self.said.count(text) >= times or self.process.poll() is not None,
            f"{text!r}, after {self.said!r},",
            seconds,
        )
        assert self.said.count(text) >= times, self.said

    def wait_for_end(self, seconds: float = 60) -> int:
        return self.process.wait(seconds)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait_for_end()

    def parts(self) -> dict[str, int]:
        """Return the process ids of the parts by their names."""
        found = {}
        for pid in children_of(self.process.pid):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                found[title_of(pid).removeprefix("trainyard: ").replace(" ", "-")] = pid
        return found

    def end(self) -> None:
        """Leave nothing, however the test went."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def children_of(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]


def title_of(pid: int) -> str:
    """Read how `ps` shows a process."""
    return Path(f"/proc/{pid}/cmdline").read_text().partition("\0")[0]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
