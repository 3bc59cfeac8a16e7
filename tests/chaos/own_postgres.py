"""A PostgreSQL that a test may stop, pause and start again."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.config.server.launched import children_of

OWNER = "postgres"
VERSIONS = Path("/usr/lib/postgresql")


def missing_for_postgres() -> str:
    """Return what this machine lacks to run a PostgreSQL of its own, if anything."""
    return "" if _programs() else f"no initdb below {VERSIONS}"


class OwnPostgres:
    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self._folder = folder
        self._variables = variables
        self._data = folder / "data"
        self._do("initdb", "-U", OWNER, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8")

    @property
    def url(self) -> str:
        return f"postgresql://{OWNER}@/postgres?host={self._folder}"

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories='{self._folder}' -c fsync=off"
        self._do("pg_ctl", "-w", "-l", str(self._folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """End it as if it had crashed."""
        self._do("pg_ctl", "-w", "-m", "immediate", "stop")

    def processes(self) -> list[int]:
        server = int((self._data / "postmaster.pid").read_text().split()[0])
        return [server, *children_of(server)]

    def _do(self, program: str, *arguments: str) -> None:
        """Run a program of PostgreSQL, which refuses to be run by root, as its owner."""
        programs = _programs()
        assert programs is not None
        as_root = os.geteuid() == 0
        done = subprocess.run(
            [str(programs / program), "-D", str(self._data), *arguments],
            cwd=self._folder,
            env={**os.environ, **self._variables},
            user=OWNER if as_root else None,
            group=OWNER if as_root else None,
            extra_groups=[] if as_root else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (program, done.stderr, self._said())

    def _said(self) -> str:
        log = self._folder / "log"
        return log.read_text() if log.exists() else ""


@contextmanager
def running_postgres(variables: Mapping[str, str]) -> Iterator[OwnPostgres]:
    """Run a PostgreSQL whose programs have these variables in their environment."""
    # Not below pytest's folder: that is closed to other users, and its name is long for a socket.
    folder = Path(tempfile.mkdtemp(prefix="trainyard-postgres-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, OWNER)
        made = OwnPostgres(folder, variables)
        made.start()
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder)


def _programs() -> Path | None:
    """Find the programs of the newest version."""
    found = VERSIONS.glob("*/bin/initdb")
    newest = max(found, key=lambda path: float(path.parts[-3]), default=None)
    return newest and newest.parent
