"""What an environment is made of: the curated TensorFlow versions and what a user adds to one."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from workspace.compute import horovod as horovod_build
from workspace.compute import modelserver_code
from workspace.errors import FieldError, Invalid

MAX_REQUIREMENTS = 500
MAX_LINE_LENGTH = 1000
SERVER_REQUIREMENTS = (
    Path(__file__).resolve().parent.parent / "deploy" / "modelserver" / "requirements.txt"
)
COMMENT = re.compile(r"(^|\s)#.*$")


@dataclass(frozen=True)
class Curated:
    """A TensorFlow that is known to work with what Trainyard does, and what belongs to it."""

    tensorflow: str
    pythons: tuple[str, ...]
    also: tuple[str, ...] = ()

    def requirements(self, *, gpu: bool) -> list[str]:
        package = "tensorflow[and-cuda]" if gpu else "tensorflow-cpu"
        return [f"{package}=={self.tensorflow}", *self.also]


CURATED: Mapping[str, Curated] = {
    "2.21": Curated(
        tensorflow="2.21.0",
        pythons=("3.11", "3.12", "3.13", "3.10"),
        also=("tensorboard~=2.20", "tf_keras==2.21.0"),
    ),
    "2.15": Curated(
        tensorflow="2.15.1",
        pythons=("3.11", "3.10", "3.9"),
        also=("numpy<2", "setuptools<81"),
    ),
}


class ServerKind(StrEnum):
    """Which model server an image holds: none, that of the image it starts from, or our own."""

    NONE = ""
    IMAGE = "image"
    OWN = "own"


@dataclass(frozen=True)
class EnvironmentSpec:
    """What somebody asked for; `packages` are requirement lines in order. Equal specs share one.

    `conda` (package specifications) and `image` (the image to start from) are for targets that run
    containers; `image_login` marks the login that may pull it, so that others cannot use what it
    pulled. `mpi` adds Open MPI and mpi4py, `horovod` Horovod too. `server` is for images that serve
    models: what is added to one that has a server is a Python for the runner.
    """

    framework_version: str
    gpu: bool = False
    packages: tuple[str, ...] = ()
    python: str = ""
    conda: tuple[str, ...] = ()
    image: str = ""
    mpi: bool = False
    horovod: bool = False
    image_login: str = ""
    server: str = ServerKind.NONE

    @classmethod
    def of(
        cls,
        framework_version: str,
        *,
        gpu: bool = False,
        packages: Iterable[str] = (),
        python: str = "",
        conda: Iterable[str] = (),
        image: str = "",
        mpi: bool = False,
        horovod: bool = False,
        image_login: str = "",
        server: str = ServerKind.NONE,
    ) -> "EnvironmentSpec":
        if framework_version not in CURATED:
            known = ", ".join(CURATED)
            message = f"There is no environment for TensorFlow {framework_version}. Use {known}."
            raise Invalid.of(FieldError("framework_version", message))
        added = (*(["mpi4py"] if mpi else []), *(horovod_build.NEEDS if horovod else []))
        return cls(
            framework_version,
            gpu,
            tuple(sorted({*packages, *added})),
            python,
            tuple(sorted(set(conda))),
            image,
            mpi,
            horovod,
            image_login,
            server,
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "EnvironmentSpec":
        return cls.of(**data)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"packages": list(self.packages), "conda": list(self.conda)}

    @property
    def pythons(self) -> tuple[str, ...]:
        """The Python versions that will do, the best one first."""
        return (self.python,) if self.python else CURATED[self.framework_version].pythons

    @property
    def requirements(self) -> list[str]:
        return [*CURATED[self.framework_version].requirements(gpu=self.gpu), *self.packages]

    @property
    def overrides(self) -> list[str]:
        """Keep the other builds of TensorFlow out, whatever package asks for one of them.

        Two builds in one environment overwrite each other's files.
        """
        ours = "tensorflow" if self.gpu else "tensorflow-cpu"
        return [
            f"{name} ; sys_platform == 'none'"
            for name in ("tensorflow", "tensorflow-cpu")
            if name != ours
        ]

    def digest(self, pool: str) -> str:
        """Name the environment by all that decides what is in it, and by where it is."""
        content = {
            "pool": pool,
            "requirements": self.requirements,
            "overrides": self.overrides,
            "pythons": self.pythons,
            "conda": self.conda,
            "image": self.image,
            "mpi": self.mpi,
            "horovod": self.horovod,
            "image_login": self.image_login,
        }
        if self.server:
            content["server"] = self.server
        if self.server == ServerKind.OWN:
            content["server_code"] = modelserver_code.digest()
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def serving_packages(framework_version: str) -> tuple[str, ...]:
    """Give what the model server needs beside the environment of a framework version."""
    server = requirement_lines(SERVER_REQUIREMENTS.read_text().splitlines(), field="requirements")
    tensorflow = CURATED[framework_version].tensorflow
    return tuple(sorted(["grpcio", f"tensorflow-serving-api=={tensorflow}", *server]))


def requirement_lines(lines: Iterable[str], *, field: str) -> list[str]:
    """Give the requirements in `lines`, sorted and in one spelling.

    Raises Invalid with every line that can't be used and why.
    """
    requirements: set[str] = set()
    errors: list[FieldError] = []
    for number, line in _logical(lines):
        problem = _problem_with(line)
        if problem:
            shown = line if len(line) <= 80 else f"{line[:79]}…"
            errors.append(FieldError(field, f"Line {number}, {shown!r}: {problem}"))
        else:
            requirements.add(_in_one_spelling(Requirement(line)))
    if len(requirements) > MAX_REQUIREMENTS:
        message = f"{len(requirements)} requirements are more than the {MAX_REQUIREMENTS} allowed."
        errors.append(FieldError(field, message))
    if errors:
        raise Invalid.of(*errors)
    return sorted(requirements)


def _logical(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Join continued lines, drop comments and empty lines, and number the rest from 1."""
    started_at, pending = 0, ""
    for number, line in enumerate(lines, start=1):
        text = line.lstrip("\ufeff") if number == 1 else line
        started_at = started_at if pending else number
        if text.rstrip().endswith("\\") and not COMMENT.search(text):
            pending += text.rstrip()[:-1]
            continue
        whole = COMMENT.sub("", pending + text).strip()
        pending = ""
        if whole:
            yield started_at, whole
    if pending.strip():
        yield started_at, pending.strip()


def _problem_with(line: str) -> str:
    if len(line) > MAX_LINE_LENGTH:
        return f"It is longer than {MAX_LINE_LENGTH} characters."
    if line.startswith("-"):
        return _option_problem(line)
    if "--hash" in line:
        return "Hashes are not supported; leave the --hash options out."
    try:
        requirement = Requirement(line)
    except InvalidRequirement as error:
        return f"It is not a requirement such as 'scikit-learn>=1.5' ({_first_line(error)})."
    if requirement.url and not requirement.url.startswith("https://"):
        return "Only packages by name, or by an https:// address of an archive, can be installed."
    return ""


def _option_problem(line: str) -> str:
    option = line.split()[0].partition("=")[0]
    if option in {"-e", "--editable"}:
        return "Editable installs are not possible; put the code into the source directory."
    if option in {"-r", "--requirement", "-c", "--constraint"}:
        return "Other files can't be referred to; write their lines here."
    if option in {"-i", "--index-url", "--extra-index-url", "-f", "--find-links"}:
        return "The package index is chosen by the installation; leave this option out."
    return "Options are not supported here; leave the line out."


def _in_one_spelling(requirement: Requirement) -> str:
    requirement.name = canonicalize_name(requirement.name)
    return str(requirement)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["unreadable"])[0]
