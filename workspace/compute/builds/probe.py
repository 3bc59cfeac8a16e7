"""Run by an environment's own Python: print the exact versions of what matters in it, as JSON.

It needs the standard library alone, and imports no TensorFlow, which would take seconds.
"""

import json
import platform
import re
import runpy
import shutil
import subprocess
from importlib import metadata

PACKAGES = {
    "TensorFlow": ("tensorflow", "tensorflow-cpu"),
    "Keras": ("keras",),
    "Horovod": ("horovod",),
    "CUDA": ("nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime-cu11", "nvidia-cuda-runtime"),
    "cuDNN": ("nvidia-cudnn-cu12", "nvidia-cudnn-cu11", "nvidia-cudnn"),
    "NCCL": ("nvidia-nccl-cu12", "nvidia-nccl-cu11", "nvidia-nccl"),
}
BUILT_WITH = {"CUDA": "cuda_version", "cuDNN": "cudnn_version"}
BUILD_INFO = "tensorflow/python/platform/build_info.py"
MPIRUN_SECONDS = 20


def versions() -> dict[str, str]:
    found = {"Python": platform.python_version(), **_of_tensorflow()}
    for shown, names in PACKAGES.items():
        version = next(filter(None, map(_installed, names)), "")
        if version:
            found[shown] = version
    mpi = _open_mpi()
    return {**found, "Open MPI": mpi} if mpi else found


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _of_tensorflow() -> dict[str, str]:
    """Return the CUDA versions that a TensorFlow was built with; images may lack packages."""
    try:
        path = metadata.distribution("tensorflow").locate_file(BUILD_INFO)
        built = runpy.run_path(str(path)).get("build_info", {})
    except (metadata.PackageNotFoundError, OSError):
        return {}
    if not built.get("is_cuda_build"):
        return {}
    return {shown: str(built[key]) for shown, key in BUILT_WITH.items() if built.get(key)}


def _open_mpi() -> str:
    mpirun = shutil.which("mpirun")
    if mpirun is None:
        return ""
    try:
        said = subprocess.run(  # noqa: S603 - a fixed command
            [mpirun, "--version"],
            capture_output=True,
            text=True,
            timeout=MPIRUN_SECONDS,
            check=False,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.search(r"\(Open MPI\) (\S+)", said)
    return found[1] if found else ""


if __name__ == "__main__":
    print(json.dumps(versions()))
