"""How Horovod is built: its last release, for the one TensorFlow that it can be built with."""

VERSION = "0.28.1"
FRAMEWORK_VERSION = "2.15"
NEEDS = ("cffi", "cloudpickle", "packaging", "psutil", "pyyaml")
BUILD_NEEDS = ("cmake<4", "setuptools<70", "wheel", "pip", *NEEDS)
BUILD_VARIABLES = {
    "HOROVOD_WITH_TENSORFLOW": "1",
    "HOROVOD_WITH_MPI": "1",
    "HOROVOD_WITH_GLOO": "1",
    "HOROVOD_WITHOUT_PYTORCH": "1",
    "HOROVOD_WITHOUT_MXNET": "1",
}
HOST_PACKAGES = ("openmpi-bin", "libopenmpi-dev", "g++", "make")
HOST_LINE = f"apt-get install {' '.join(HOST_PACKAGES)}"


def wheel_folder(python: str, tensorflow: str, open_mpi: str) -> str:
    """Name the place of a wheel by all that it was built for."""
    return f"horovod-{VERSION}-python{python}-tensorflow{tensorflow}-openmpi{open_mpi}"
