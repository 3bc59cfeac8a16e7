"""The runner as one file, for machines that have only a Python: made in memory, always the same."""

import io
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path
from py_compile import PycInvalidationMode, compile

from runner import main

SOURCES = Path(main.__file__).parent
# Seen in archives instead of the time, so that equal sources give equal bytes.
STAMP = (1980, 1, 1, 0, 0, 0)
ENTRY = """\
import sys

from runner.main import main

sys.exit(main(sys.argv[1:]))
"""


@lru_cache(maxsize=1)
def runner_zip() -> bytes:
    """Return what `python -I -S FILE FOLDER` runs as the runner of a folder.

    Its modules are in it compiled too: a Python of our own version starts it in a third of the
    time, and any other takes their sources.
    """
    sources = {f"runner/{path.name}": path for path in sorted(SOURCES.glob("[!_]*.py"))}
    files = {
        "__main__.py": ENTRY.encode(),
        "runner/__init__.py": b"",
        **{name: path.read_bytes() for name, path in sources.items()},
        **{f"{name}c": _compiled(path, name) for name, path in sources.items()},
    }
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, STAMP), text, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def _compiled(path: Path, shown: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "compiled"
        compile(
            str(path),
            cfile=str(target),
            dfile=shown,
            doraise=True,
            invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
        )
        return target.read_bytes()
