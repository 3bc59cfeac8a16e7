"""A wall clock that is set ahead and back for some programs of the machine, and for no other."""

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).with_name("stepped_clock.c")
OFFSET = struct.Struct("=q")


def missing_for_a_clock() -> str:
    """Return what this machine lacks to make a clock of its own, if anything."""
    return "" if shutil.which("cc") else "there is no C compiler"


class SteppedClock:
    """The clock of the programs that have `variables` in their environment."""

    def __init__(self, folder: Path) -> None:
        library = folder / "stepped_clock.so"
        command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
        subprocess.run(command, check=True)
        self._offset = folder / "offset"
        self._offset.write_bytes(OFFSET.pack(0))
        self.variables = {"LD_PRELOAD": str(library), "STEPPED_CLOCK_FILE": str(self._offset)}

    @property
    def seconds_ahead(self) -> int:
        """Return how far it is ahead of the true time; less than 0 if it is behind."""
        (seconds,) = OFFSET.unpack(self._offset.read_bytes())
        return int(seconds)

    def set(self, seconds_ahead: int) -> None:
        with self._offset.open("r+b", buffering=0) as file:
            file.write(OFFSET.pack(seconds_ahead))


@contextmanager
def stepped_clock() -> Iterator[SteppedClock]:
    """Make a clock that programs of any user can have."""
    with tempfile.TemporaryDirectory(prefix="trainyard-clock-") as folder:
        Path(folder).chmod(0o755)
        yield SteppedClock(Path(folder))
