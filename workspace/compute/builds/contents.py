"""What is in an environment: read from what uv and the environment's own Python say of it."""

import json
from collections.abc import Mapping
from pathlib import Path

PROBE = Path(__file__).with_name("probe.py")


def packages_of(frozen: str) -> Mapping[str, str]:
    """Return the exact version of every package from what `uv pip freeze` printed."""
    return dict(_name_and_version(line) for line in frozen.splitlines() if line.strip())


def versions_of(printed: str) -> Mapping[str, str]:
    """Return the versions that the probe printed on its last line."""
    found: dict[str, str] = json.loads(printed.strip().splitlines()[-1])
    return found


def _name_and_version(line: str) -> tuple[str, str]:
    name, separator, version = line.partition("==")
    if not separator:
        name, _, version = line.partition(" @ ")
    return name.strip(), version.strip()
