"""The runner as one file, for machines that have only a Python: made in memory, always the same."""

import io
import zipfile
from functools import lru_cache
from pathlib import Path

from runs.runner import main

SOURCES = Path(main.__file__).parent
# Seen in archives instead of the time, so that equal sources give equal bytes.
STAMP = (1980, 1, 1, 0, 0, 0)
ENTRY = """\
import sys

from runs.runner.main import main

sys.exit(main(sys.argv[1:]))
"""


@lru_cache(maxsize=1)
def runner_zip() -> bytes:
    """Give what `python -I -S FILE FOLDER` runs as the runner of a folder."""
    sources = {
        f"runs/runner/{path.name}": path.read_text() for path in sorted(SOURCES.glob("[!_]*.py"))
    }
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        packages = {"runs/__init__.py": "", "runs/runner/__init__.py": ""}
        for name, text in {"__main__.py": ENTRY, **packages, **sources}.items():
            archive.writestr(zipfile.ZipInfo(name, STAMP), text)
    return content.getvalue()
