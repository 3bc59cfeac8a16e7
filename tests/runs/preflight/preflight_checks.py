"""Short ways to ask the preflight about a script."""

from collections.abc import Callable, Mapping
from typing import Any

from runs.preflight.check import check
from runs.preflight.findings import PreflightFinding
from runs.preflight.python_source import Files

ESTIMATOR = "import tensorflow as tf\ntf.estimator.train_and_evaluate(None, None, None)\n"

Script = str | bytes | Mapping[str, str | bytes | Callable[[], bytes]]


def findings_of(script: Script, **config: Any) -> list[PreflightFinding]:
    """Check a script, or a directory whose entry is train.py, on 2.21 in single mode."""
    files = {"train.py": script} if isinstance(script, str | bytes) else script
    held: Files = {
        path: text.encode() if isinstance(text, str) else text for path, text in files.items()
    }
    return check(
        held,
        {"entry_script": "train.py", "framework_version": "2.21", "mode": "single", **config},
    )


def codes_of(script: Script, **config: Any) -> list[tuple[str, str]]:
    return [(finding.level, finding.code) for finding in findings_of(script, **config)]
