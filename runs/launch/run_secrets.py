"""The secrets of an attempt: read when it starts, given to its runners, masked in what they send.

All processes of an attempt get the values of its start, whatever becomes of the team's secrets.
"""

import json
from functools import lru_cache
from itertools import accumulate
from typing import Any

from runs.config import RunConfig
from runs.logs.masking import CoveringMask, LogMask, SecretsMask
from runs.models import Run
from workspace.platform.encryption import decrypt, encrypt
from workspace.platform.errors import Conflict
from workspace.secrets.services import MAX_BYTES_OF_A_RUN, values_for_use

MASKS_KEPT = 64


def secrets_for_attempt(run: Run) -> str:
    """Return the secrets of a run's coming attempt, encrypted; empty where it has none.

    Variables and parameters that look like secrets are among them, to be masked alone. Raises
    SecretUnavailable, with the way out, where one was deleted or cannot be read.
    """
    config = RunConfig.from_row(run.config)
    wanted, shown = config.secrets, _bounded(config.secret_looking_values())
    if not wanted and not shown:
        return ""
    values = values_for_use(run.team, {reference.secret for reference in wanted.values()})
    given = {
        variable: {"value": values[reference.secret], "file": reference.file}
        for variable, reference in wanted.items()
    }
    return encrypt(json.dumps({"given": given, "shown": shown}))


def secrets_for_runner(encrypted: str) -> dict[str, Any]:
    """Return the secrets of a process by their variables, as the runner protocol has them."""
    given: dict[str, Any] = _decrypted(encrypted)["given"]
    return given


@lru_cache(MASKS_KEPT)
def mask_for(encrypted: str) -> LogMask | None:
    """Return the mask of an attempt's logs; without secrets there is none."""
    if not encrypted:
        return None
    try:
        secrets = _decrypted(encrypted)
    except Conflict:
        return CoveringMask()
    return SecretsMask([*(one["value"] for one in secrets["given"].values()), *secrets["shown"]])


def _bounded(values: list[str]) -> list[str]:
    """Return the values up to as many bytes as a run's secrets may have."""
    sizes = accumulate(len(value.encode()) for value in values)
    return [value for value, size in zip(values, sizes, strict=True) if size <= MAX_BYTES_OF_A_RUN]


def _decrypted(encrypted: str) -> dict[str, Any]:
    found: dict[str, Any] = (
        json.loads(decrypt(encrypted)) if encrypted else {"given": {}, "shown": []}
    )
    return found
