"""The sources of the model server, for images that hold it: it imports nothing else of ours."""

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "modelserver"


@lru_cache(maxsize=1)
def sources() -> Mapping[str, str]:
    """Return every file of the package by its path, with the empty package that it lies in."""
    found = {
        f"deploy/modelserver/{path.relative_to(FOLDER).as_posix()}": path.read_text()
        for path in FOLDER.rglob("*.py")
    }
    return {"deploy/__init__.py": "", **dict(sorted(found.items()))}


def digest() -> str:
    return hashlib.sha256(json.dumps(sources()).encode()).hexdigest()
