"""The configuration that a source directory brings along, to fill in the form of its run."""

from runs.config import RunConfig, parse
from runs.models import Snapshot
from runs.source.snapshots import manifest_of, read
from workspace.platform.errors import Invalid
from workspace.platform.json_body import load_json

CONFIG_FILE = "run.json"
MAX_BYTES = 100_000


def config_in(snapshot: Snapshot) -> RunConfig | None:
    """Return the configuration at the top of a snapshot, if there is one. Raises Invalid."""
    entry = next((e for e in manifest_of(snapshot).entries if e.path == CONFIG_FILE), None)
    if entry is None:
        return None
    if entry.size > MAX_BYTES:
        raise Invalid(f"It has {entry.size:,} bytes; at most {MAX_BYTES:,} are read.")
    try:
        data = load_json(read(snapshot)[CONFIG_FILE]())
    except (ValueError, RecursionError) as error:
        raise Invalid(f"It is not JSON: {error}.") from None
    return parse(data)
