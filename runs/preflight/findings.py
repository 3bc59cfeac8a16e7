"""What the preflight has to say."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PreflightFinding:
    """One thing found: what is wrong, where, and the way out."""

    level: Literal["refuse", "warn"]
    code: str
    field: str
    message: str
    remedy: str
    path: str = ""
    line: int = 0

    @property
    def place(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path
