"""What an environment is made of: the curated TensorFlow versions and what a user adds to one."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from workspace.compute.builds import horovod as horovod_build
from workspace.compute.builds import modelserver_code
from workspace.compute.requirements import requirement_lines
from workspace.platform.errors import FieldError, Invalid

SERVER_REQUIREMENTS = (
    Path(__file__).resolve().parents[2] / "deploy" / "modelserver" / "requirements.txt"
)


@dataclass(frozen=True)
class CuratedFramework:
    """A TensorFlow that is known to work with what Trainyard does, and what belongs to it."""

    tensorflow: str
    pythons: tuple[str, ...]
    extra_requirements: tuple[str, ...] = ()

    def requirements(self, *, gpu: bool) -> list[str]:
        package = "tensorflow[and-cuda]" if gpu else "tensorflow-cpu"
        return [f"{package}=={self.tensorflow}", *self.extra_requirements]


CURATED: Mapping[str, CuratedFramework] = {
    "2.21": CuratedFramework(
        tensorflow="2.21.0",
        pythons=("3.11", "3.12", "3.13", "3.10"),
        extra_requirements=("tensorboard~=2.20", "tf_keras==2.21.0"),
    ),
    "2.15": CuratedFramework(
        tensorflow="2.15.1",
        pythons=("3.11", "3.10", "3.9"),
        extra_requirements=("numpy<2", "setuptools<81"),
    ),
}


class ModelServerKind(StrEnum):
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
    server: str = ModelServerKind.NONE

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
        server: str = ModelServerKind.NONE,
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
        if self.server == ModelServerKind.OWN:
            content["server_code"] = modelserver_code.digest()
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def serving_packages(framework_version: str) -> tuple[str, ...]:
    """Return what the model server needs beside the environment of a framework version."""
    server = requirement_lines(SERVER_REQUIREMENTS.read_text().splitlines(), field="requirements")
    tensorflow = CURATED[framework_version].tensorflow
    return tuple(sorted(["grpcio", f"tensorflow-serving-api=={tensorflow}", *server]))
