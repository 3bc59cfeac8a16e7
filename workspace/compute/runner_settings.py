"""The settings file of a runner: where its server is, and what its program gets."""

from typing import Any

from runner.constants import RUNNER_ONLY_VARIABLES, TOKEN_VARIABLE
from workspace.compute.base import ProcessPlan


def runner_settings(
    group_id: str, process: ProcessPlan, *, url: str, ca_bundle: str, binaries: str
) -> dict[str, Any]:
    """Return the settings of a process's runner, its token among them.

    `ca_bundle` and `binaries` are paths where the runner is, the latter the folder of its Python.
    """
    given = process.environment
    return {
        "url": url,
        "token": given[TOKEN_VARIABLE],
        "ca_bundle": ca_bundle,
        "group": group_id,
        "name": process.name,
        "bin": binaries,
        "gpus": list(process.gpus),
        "environment": {k: v for k, v in given.items() if k not in RUNNER_ONLY_VARIABLES},
    }
