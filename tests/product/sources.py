"""Source directories to submit."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"
Source = Path | bytes | Mapping[str, str | bytes]


def program(name: str) -> dict[str, str]:
    """Return a source directory that holds one of our programs as train.py."""
    return {"train.py": (PROGRAMS / f"{name}.py").read_text()}


def script(text: str) -> dict[str, str]:
    return {"train.py": text}


def packed(source: Path | Mapping[str, str | bytes]) -> bytes:
    files: Mapping[str, str | bytes] = (
        {path.name: path.read_bytes() for path in source.iterdir() if path.is_file()}
        if isinstance(source, Path)
        else source
    )
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return archive.getvalue()
