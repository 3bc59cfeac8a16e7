"""Commands of a build on this machine, their output going to its log."""

import os
import re
import select
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from workspace.compute.builds.build_log import BuildLog
from workspace.compute.runner_processes import INHERITED

POLL_SECONDS = 1.0
BUILDS = re.compile(
    r"(UV|PIP|XDG)_\w+|CC|CXX|(C|CXX|CPP|LD|MAKE)FLAGS|C?PATH|LIBRARY_PATH|PKG_CONFIG_PATH|NETRC"
)


def run(
    command: Sequence[str],
    folder: Path,
    words: BuildLog,
    more: Mapping[str, str] | None = None,
    *,
    only: Mapping[str, str] | None = None,
) -> int:
    """Run a command with its output going to the log as it comes, and return its exit code.

    It gets our variables and `more`, or else none but `only`.

    When the log says that the build is not wanted any more, all that was started is killed.
    """
    with subprocess.Popen(  # noqa: S603 - requirements are checked before, and passed in files
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=variables() | dict(more or {}) if only is None else only,
        cwd=folder,
        start_new_session=True,
    ) as started:
        try:
            for chunk in _chunks(started):
                words.add(chunk)
            return started.wait()
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
            raise


def variables() -> dict[str, str]:
    """Return what builds get of our variables: what runs get, and the settings of what builds.

    Packages run code of strangers as they are built, which is told nothing of the installation.
    """
    kept = {k: v for k, v in os.environ.items() if INHERITED.fullmatch(k) or BUILDS.fullmatch(k)}
    # Clones or copies: what is linked could be changed in uv's cache, and so in every environment.
    kept.setdefault("UV_LINK_MODE", "clone")
    return kept | {"NO_COLOR": "1", "UV_NO_PROGRESS": "1", "UV_PYTHON_PREFERENCE": "system"}


def _chunks(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Yield output as it comes, and nothing (b"") now and then while there is none."""
    if process.stdout is None:
        raise RuntimeError("a command was started without a pipe")
    while True:
        ready, _, _ = select.select([process.stdout], [], [], POLL_SECONDS)
        chunk = os.read(process.stdout.fileno(), 65536) if ready else b""
        if ready and not chunk:
            return
        yield chunk
