"""An errand: a program run once in an environment, away from everything else.

It gets a folder to read and one to write, as its two arguments, and has no network and no secrets.
"""

from dataclasses import dataclass
from pathlib import Path

GB = 1000**3


@dataclass(frozen=True)
class Errand:
    """What to run, and what it may use. `label` names it on engines."""

    label: str
    program: Path
    source: Path
    target: Path
    cpus: float = 2.0
    memory_bytes: int = 8 * GB
    file_bytes: int = 10 * GB
    seconds: int = 1800


class TooLong(Exception):
    """An errand took longer than it may."""
