"""A sandboxed job: a program run once in an environment, isolated from everything else.

Its two arguments are a folder to read and one to write; it has no network and no secrets.
"""

from dataclasses import dataclass
from pathlib import Path

GB = 1000**3


@dataclass(frozen=True)
class SandboxedJob:
    """What to run, and what it may use. `label` names it on engines."""

    label: str
    program: Path
    source: Path
    target: Path
    cpus: float = 2.0
    memory_bytes: int = 8 * GB
    file_bytes: int = 10 * GB
    seconds: int = 1800


class JobTimedOut(Exception):
    """A sandboxed job exceeded its time limit."""

    def __init__(self) -> None:
        super().__init__("The job exceeded its time limit.")
