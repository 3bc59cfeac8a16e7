"""Why a model server ended before it was ready, in its own words. Pure functions.

TensorFlow Serving and our own server end with the same exit code, whatever stopped them, and write
the reason into their log.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

START_ERROR = "Failed to start server. Error: "
LOAD_ERROR = re.compile(
    r"did not become available: .*? due to error: (?P<code>[A-Z_]+): (?P<words>.*?)\}, ?[{}]",
    re.DOTALL,
)
UNKNOWN_OPERATION = "Op type not registered"
# What another try may find otherwise; all else is the model's own.
PASSING_CODES = {"RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED"}
CUSTOM_OPERATIONS = "custom_ops"  # the kind of the scan's finding
WITHOUT_LIBRARY = (
    "The model server has TensorFlow's own operations alone. Deploy the model to a target whose"
    " containers run an image with the library of these operations, or do what they do before the"
    " request."
)


@dataclass(frozen=True)
class LoadFailure:
    """What TensorFlow says of a model it cannot load; `may_pass` where another try may help."""

    words: str
    may_pass: bool


def find_load_failure(log_lines: Sequence[str]) -> LoadFailure | None:
    """Return why the model could not be loaded; None where the log says nothing of it."""
    text = "\n".join(log_lines)
    _, said, error = text.rpartition(START_ERROR)
    found = LOAD_ERROR.search(error) if said else None
    if found is None:
        return None
    return LoadFailure(found["words"].strip(), found["code"] in PASSING_CODES)


def describe_load_failure(words: str, findings: Iterable[Mapping[str, Any]] | None) -> str:
    """Return the words with what helps, as far as the scan of the model knows it."""
    reason = f"could not load the model: {words}"
    if UNKNOWN_OPERATION not in words:
        return reason
    known = [one["message"] for one in findings or () if one["kind"] == CUSTOM_OPERATIONS]
    first, _, rest = reason.partition("\n")
    first = " ".join([f"{first.rstrip('.')}.", *known, WITHOUT_LIBRARY])
    return f"{first}\n{rest}" if rest else first
