"""What the runner and the rest of Trainyard agree on: names, limits and exit codes."""

from __future__ import annotations

import errno
import os
import signal

PROTOCOL = 1
URL_PREFIX = "/runner/v1/"
HEARTBEAT_SECONDS = 1

# Names in the directory of a process that a backend knows too.
SETTINGS_FILE = "runner.json"
GRACE_FILE = "grace"
WORK_DIRECTORY = "work"
LOGS_DIRECTORY = "logs"
OUTPUTS_DIRECTORY = "outputs"

DIRECTORY_VARIABLE = "TRAINYARD_RUNNER_DIR"
URL_VARIABLE = "TRAINYARD_URL"
TOKEN_VARIABLE = "TRAINYARD_PROCESS_TOKEN"  # noqa: S105 - a name
CA_BUNDLE_VARIABLE = "TRAINYARD_CA_BUNDLE"
RUNNER_ONLY_VARIABLES = frozenset({URL_VARIABLE, TOKEN_VARIABLE, CA_BUNDLE_VARIABLE})

COPY_BYTES = 1 << 20
MAX_CHUNK_BYTES = 8 << 20  # of a log or a growing file, that the server takes at once
MAX_OFFERED_FILES = 20_000

# What is wrong with a name stays wrong, however often it is tried.
UNUSABLE_NAME = frozenset(
    {
        errno.ENAMETOOLONG,
        errno.EILSEQ,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ELOOP,
    }
)

NOTE_PREFIX = "[trainyard] "
OUT_OF_MEMORY = "was killed by the kernel: out of memory (OOM)"

# Exit codes as shells have them: 128 + N where signal N ended a program.
SIGNAL_BASE = 128
NOT_FOUND = 127
KILLED = SIGNAL_BASE + int(signal.SIGKILL)
STOPPED = SIGNAL_BASE + int(signal.SIGTERM)
LARGEST_EXIT_CODE = 255
MAX_REASON_CHARACTERS = 2000


def exit_code_of(status: int) -> int:
    """Return the exit code for a wait status."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else SIGNAL_BASE - code


def is_exit_code(value: object) -> bool:
    """Return whether something that was reported is an exit code."""
    return type(value) is int and 0 <= value <= LARGEST_EXIT_CODE
