"""What an image is made of: layers of steps, the ones that change seldom first. Pure functions."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from shlex import quote

from workspace.compute.builds import horovod, modelserver_code
from workspace.compute.environment_spec import CURATED, EnvironmentSpec, ModelServerKind
from workspace.compute.requirements import without_hashes

USER = "10001:10001"
HOME = "/home/trainyard"
# Where the runner keeps its files and a program its checkpoints, so that both may write there.
FOLDERS = "/trainyard/process /trainyard/checkpoints /trainyard/home"
ENVIRONMENT = "/opt/environment"
PYTHON = f"{ENVIRONMENT}/bin/python"
# Of the build alone: no file of these is left in an image.
BUILD_DIRECTORY = "/trainyard-build"
CACHE = "/var/cache/trainyard"
UV = f"{BUILD_DIRECTORY}/uv"
MICROMAMBA = f"{BUILD_DIRECTORY}/micromamba"
CA_BUNDLE = f"{BUILD_DIRECTORY}/ca.pem"

LOWEST_PYTHON = (3, 9)
CONDA_NAME = re.compile(r"(?:\S+::)?([A-Za-z0-9_.-]+)")
CUDA_IMAGES = {
    "2.21": "nvidia/cuda:12.5.1-base-ubuntu22.04",
    "2.15": "nvidia/cuda:12.2.2-base-ubuntu22.04",
}
# What starts a model server in any image that has one, with the flags of TensorFlow Serving.
MODEL_SERVER = "tensorflow_model_server"
MPI_PACKAGES = ("openmpi-bin", "openssh-server", "openssh-client")


@dataclass(frozen=True)
class BuildStep:
    """A shell script; `failure` says what it means when it fails, its output what happened."""

    script: str
    failure: str = ""


@dataclass(frozen=True)
class Layer:
    """Steps whose result is kept under one key, so that they run once for each thing below them.

    `files` are put on the workbench before, by name; `title` is for the log. What the steps
    `cache_steps` do is thrown away: they leave something in the cache.
    """

    name: str
    title: str
    steps: tuple[BuildStep, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    cache_steps: tuple[BuildStep, ...] = ()

    def key(self, below: str) -> str:
        """Name the result by all that decides it: the image below, and what is done to it."""
        content = json.dumps([below, asdict(self)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def base_of(spec: EnvironmentSpec, base: str, gpu_base: str) -> str:
    """Return the name of the image to start from."""
    if spec.image:
        return spec.image
    if spec.gpu:
        return gpu_base or CUDA_IMAGES[spec.framework_version]
    return base or f"python:{spec.pythons[0]}-slim"


def layers_of(spec: EnvironmentSpec) -> list[Layer]:
    """Return all that is put on top of the image to start from."""
    mpi = [_mpi()] if spec.mpi or spec.horovod else []
    if spec.server == ModelServerKind.IMAGE:
        return [_system(), _has_server(spec.image), _virtualenv(spec)]
    if spec.image:
        packages = [_packages("packages", spec.packages, spec)] if spec.packages else []
        return [_system(), _link_to_own_python(spec.image), *mpi, *packages]
    curated = CURATED[spec.framework_version].requirements(gpu=spec.gpu)
    own = [_packages("packages", spec.requirements, spec)] if spec.packages else []
    return [
        _system(),
        _conda(spec) if spec.conda else _virtualenv(spec),
        _packages("tensorflow", curated, spec),
        *mpi,
        *([_horovod()] if spec.horovod else []),
        *own,
        *([_own_server()] if spec.server == ModelServerKind.OWN else []),
    ]


def _system() -> Layer:
    steps = (
        BuildStep(
            f"""
            grep -q '^[^:]*:[^:]*:10001:' /etc/group || echo 'trainyard:x:10001:' >> /etc/group
            grep -q '^[^:]*:[^:]*:10001:' /etc/passwd ||
                echo 'trainyard:x:10001:10001:Trainyard:{HOME}:/bin/sh' >> /etc/passwd
            mkdir -p {HOME} {FOLDERS}
            chown {USER} {HOME} {FOLDERS}
            """,
            "An ordinary user could not be added to the image.",
        ),
    )
    return Layer("system", "Adding an ordinary user", steps)


def _mpi() -> Layer:
    names = " ".join(MPI_PACKAGES)
    step = BuildStep(
        f"""
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -q
        apt-get install -y -q --no-install-recommends {names}
        rm -rf /var/lib/apt/lists/*
        """,
        f"{names} could not be installed. The base image must be of Debian or Ubuntu, and their"
        " mirror must be reachable.",
    )
    return Layer("mpi", "Installing Open MPI and ssh", (step,))


def _horovod() -> Layer:
    """Install Horovod's wheel, which is built once for what it is tied to and kept in the cache."""
    kept = horovod.wheel_folder(
        "$python", CURATED[horovod.FRAMEWORK_VERSION].tensorflow, "$open_mpi"
    )
    names = f"""
        python=$({PYTHON} -c 'import sys; print(*sys.version_info[:2], sep=".")')
        open_mpi=$(mpirun --version | sed -n 's/^mpirun (Open MPI) //p')
        kept="{CACHE}/wheels/{kept}-$(uname -m)"
        """
    variables = " ".join(f"{name}={value}" for name, value in horovod.BUILD_VARIABLES.items())
    build = BuildStep(
        f"""{names}
        if ls "$kept"/*.whl 2>/dev/null; then exit 0; fi
        echo 'Building Horovod. This takes some minutes, once for this engine.'
        export DEBIAN_FRONTEND=noninteractive
        headers=$({PYTHON} -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
        [ -e "$headers/Python.h" ] || more="python$python-dev"
        apt-get update -q
        apt-get install -y -q --no-install-recommends g++ make libopenmpi-dev \\
            ${{more:-}}
        {UV} pip install --python {PYTHON} {" ".join(map(quote, horovod.BUILD_NEEDS))}
        made=$(mktemp -d)
        {variables} {PYTHON} -m pip wheel --no-build-isolation --no-deps --no-cache-dir \
            --wheel-dir "$made" horovod=={horovod.VERSION}
        mkdir -p "$kept"
        cp "$made"/*.whl "$kept/building"
        mv "$kept/building" "$kept/$(basename "$made"/*.whl)"
        """,
        "Horovod could not be built.",
    )
    install = BuildStep(
        f"""{names}
        {UV} pip install --python {PYTHON} --no-deps --compile-bytecode "$kept"/*.whl
        """
    )
    return Layer(
        "horovod", f"Installing Horovod {horovod.VERSION}", (install,), cache_steps=(build,)
    )


def _virtualenv(spec: EnvironmentSpec) -> Layer:
    """Use a Python of the image, else one of its distribution, else one that uv can fetch."""
    versions = " ".join(map(quote, spec.pythons))
    wanted = " or ".join(spec.pythons)
    return Layer(
        "python",
        f"Creating a virtualenv with Python {spec.pythons[0]}",
        (
            BuildStep(
                f"""
                find_python() {{
                    for version in {versions}; do
                        {UV} python find --system --no-python-downloads "$version" 2>/dev/null &&
                            return
                    done
                    return 1
                }}
                if ! python=$(find_python) && command -v apt-get >/dev/null; then
                    export DEBIAN_FRONTEND=noninteractive
                    apt-get update -q && apt-get install -y -q --no-install-recommends python3
                    rm -rf /var/lib/apt/lists/*
                    python=$(find_python) || python=
                fi
                : "${{python:={quote(spec.pythons[0])}}}"
                {UV} venv --no-project --python "$python" {ENVIRONMENT}
                """,
                f"Python {wanted} is not in the base image and could not be downloaded. Choose a"
                " base image that has it.",
            ),
        ),
    )


def _has_server(image: str) -> Layer:
    """See that an image serves models. It need not have a Python: the runner gets one beside it."""
    step = BuildStep(
        f"command -v {MODEL_SERVER}",
        f"The image {image} cannot serve models: it has no {MODEL_SERVER} on its PATH.",
    )
    return Layer("server", f"Looking for the model server of {image}", (step,))


def _own_server() -> Layer:
    """Put our model server among the environment's packages, under the name of the other one."""
    program = f"{ENVIRONMENT}/bin/{MODEL_SERVER}"
    step = BuildStep(
        f"""
        packages=$({PYTHON} -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
        cp -r {BUILD_DIRECTORY}/deploy "$packages/"
        chmod -R a+rX "$packages/deploy"
        {PYTHON} -m compileall -q "$packages/deploy"
        printf '#!/bin/sh\\nexec {PYTHON} -m deploy.modelserver "$@"\\n' > {program}
        chmod 755 {program}
        """
    )
    return Layer("model server", "Adding the model server", (step,), modelserver_code.sources())


def _conda(spec: EnvironmentSpec) -> Layer:
    """Make the environment of conda packages, with a Python that will do among them."""
    names = {found[1] for package in spec.conda if (found := CONDA_NAME.match(package))}
    python = () if "python" in names else (f"python={spec.pythons[0]}",)
    packages = " ".join(map(quote, (*python, *spec.conda)))
    return Layer(
        "conda",
        f"Installing {', '.join(spec.conda)} from conda",
        (
            BuildStep(
                f"""
                export MAMBA_ROOT_PREFIX={CACHE}/mamba
                {MICROMAMBA} create --yes --no-rc --override-channels \\
                    --channel "$TRAINYARD_CONDA_CHANNEL" --prefix {ENVIRONMENT} {packages}
                """,
                "The conda packages could not be installed.",
            ),
        ),
    )


def _link_to_own_python(image: str) -> Layer:
    """Let the image's own Python answer where those that are built here do."""
    lowest = ".".join(map(str, LOWEST_PYTHON))
    return Layer(
        "own python",
        f"Looking for the Python of {image}",
        (
            BuildStep(
                "command -v python3 || command -v python",
                f"The image {image} has no Python: `python3` is not on its PATH.",
            ),
            BuildStep(
                f"""
                python=$(command -v python3 || command -v python)
                "$python" --version
                "$python" -c 'import sys; sys.exit(sys.version_info < {LOWEST_PYTHON})'
                """,
                f"The Python of the image {image} is too old: {lowest} or newer is needed.",
            ),
            BuildStep(
                f"""
                python=$(command -v python3 || command -v python)
                [ ! -x {PYTHON} ] || exit 0
                mkdir -p {ENVIRONMENT}/bin
                printf '#!/bin/sh\\nexec %s "$@"\\n' "$python" > {PYTHON}
                chmod 755 {PYTHON}
                """,
                f"The image {image} is not writable.",
            ),
        ),
    )


def _packages(name: str, requirements: Sequence[str], spec: EnvironmentSpec) -> Layer:
    overrides = [] if spec.image else spec.overrides
    return Layer(
        name,
        f"Installing {', '.join(without_hashes(requirements))}",
        (
            BuildStep(
                f"""
                python=$({PYTHON} -c 'import sys; print(sys.executable)')
                {UV} pip install --python "$python" --break-system-packages --compile-bytecode \\
                    --requirements {BUILD_DIRECTORY}/requirements.txt \\
                    --overrides {BUILD_DIRECTORY}/overrides.txt
                """
            ),
        ),
        {"requirements.txt": _lines(requirements), "overrides.txt": _lines(overrides)},
    )


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
