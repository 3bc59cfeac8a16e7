"""How much memory a model version takes to serve: one rule for defaults, doubts and refusals.

Measured with TensorFlow 2.21: a server without a model takes 0.6 GB, and variables 1.3 times their
size. Requests come on top. A tensorflow_model_server is smaller than that.
"""

import math

from models.models import ModelVersion

GB = 1000**3
LEAST_FOR_TENSORFLOW = 0.2
USUAL_FOR_TENSORFLOW = 0.6
USUAL_FACTOR = 1.3
DEFAULT_FOR_TENSORFLOW = 1.0
DEFAULT_FACTOR = 3.0
LEAST_DEFAULT = 2.0


def default_gb(version: ModelVersion) -> float:
    """Return a version room to load and to compute, in tenths of a GB."""
    return max(LEAST_DEFAULT, _tenths(DEFAULT_FOR_TENSORFLOW, DEFAULT_FACTOR, version))


def memory_refusal(version: ModelVersion, memory_gb: float | None) -> str:
    """Return why a version cannot be served with so much memory, if it cannot."""
    least = LEAST_FOR_TENSORFLOW + version.total_bytes / GB
    if memory_gb is None or memory_gb >= least:
        return ""
    return (
        f"{memory_gb:g} GB of memory cannot hold {_figures(version)} with TensorFlow itself, which"
        f" takes {LEAST_FOR_TENSORFLOW:g} GB at least. Give it {default_gb(version):g} GB."
    )


def memory_warning(version: ModelVersion, memory_gb: float | None) -> str:
    """Say that a version may not fit into so much memory, if that is in doubt."""
    usual = _tenths(USUAL_FOR_TENSORFLOW, USUAL_FACTOR, version)
    if memory_gb is None or memory_gb >= usual:
        return ""
    return (
        f"{memory_gb:g} GB of memory may be too little for {_figures(version)}: such a server"
        f" usually takes {usual:g} GB before its first request."
    )


def _figures(version: ModelVersion) -> str:
    return f"the {version.total_bytes / GB:.2g} GB of {version}"


def _tenths(fixed: float, factor: float, version: ModelVersion) -> float:
    return math.ceil(10 * (fixed + factor * version.total_bytes / GB)) / 10
