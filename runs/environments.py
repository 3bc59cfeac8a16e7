"""Which environment a run needs."""

from collections.abc import Callable, Mapping

from packaging.requirements import Requirement

from runs.conda_file import CondaDependencies, conda_lines, read_conda_file
from runs.config import Mode, RunConfig
from runs.python_source import read_program
from workspace.compute import horovod
from workspace.compute.access import ImageLogin
from workspace.environments import EnvironmentSpec, login_mark, requirement_lines
from workspace.errors import FieldError, Invalid

Files = Mapping[str, Callable[[], bytes]]


def spec_of(
    config: RunConfig, files: Files, image_login: ImageLogin | None = None
) -> EnvironmentSpec:
    """Give the environment of a run; raises Invalid naming the requirement that can't be used.

    Horovod is in it where a requirement or the code asks for it, and is built rather than resolved.
    """
    conda = conda_dependencies_in(config, files)
    lines = {
        "conda_dependencies_file": requirement_lines(conda.pip, field="conda_dependencies_file"),
        "pip_packages": requirement_lines(config.pip_packages, field="pip_packages"),
        "pip_requirements_file": requirement_lines(
            requirements_in(config, files).splitlines(), field="pip_requirements_file"
        ),
    }
    asked = {
        field: requirement
        for field, listed in lines.items()
        for requirement in map(Requirement, listed)
        if requirement.name == "horovod"
    }
    for field, requirement in asked.items():
        _check_horovod(config, field, requirement)
    return EnvironmentSpec.of(
        config.framework_version,
        gpu=config.use_gpu,
        packages=[
            line
            for listed in lines.values()
            for line in listed
            if Requirement(line).name != "horovod"
        ],
        conda=[*conda_lines(config.conda_packages, field="conda_packages"), *conda.packages],
        image=config.custom_docker_image,
        mpi=config.mode == Mode.MPI or bool(asked),
        horovod=bool(asked) or _imports_horovod(config, files),
        image_login=login_mark(image_login),
    )


def requirements_in(config: RunConfig, files: Files) -> str:
    """Give the text of the requirements file, if the run has one."""
    path = config.pip_requirements_file
    return files[path]().decode("utf-8", "replace") if path in files else ""


def conda_dependencies_in(config: RunConfig, files: Files) -> CondaDependencies:
    """Give what the conda file of a run asks for, if it has one."""
    path = config.conda_dependencies_file
    return read_conda_file(files[path]()) if path in files else CondaDependencies()


def _check_horovod(config: RunConfig, field: str, requirement: Requirement) -> None:
    if config.framework_version != horovod.FRAMEWORK_VERSION:
        raise Invalid.of(
            FieldError(
                field,
                f"Horovod {horovod.VERSION}, its last release, cannot be built with TensorFlow"
                f" {config.framework_version}: choose framework_version"
                f" {horovod.FRAMEWORK_VERSION}, or leave horovod out.",
            )
        )
    if config.custom_docker_image:
        raise Invalid.of(
            FieldError(
                field,
                "Horovod cannot be built into a custom_docker_image: put it into the image, and"
                " leave it out here.",
            )
        )
    if requirement.url or not requirement.specifier.contains(horovod.VERSION):
        raise Invalid.of(
            FieldError(
                field,
                f"{str(requirement)!r}: the only Horovod that is built is {horovod.VERSION}; write"
                f" horovod=={horovod.VERSION}.",
            )
        )


def _imports_horovod(config: RunConfig, files: Files) -> bool:
    if config.mode != Mode.MPI or config.framework_version != horovod.FRAMEWORK_VERSION:
        return False
    if config.custom_docker_image:
        return False
    program = read_program(files, config.entry_script)
    return any(imported.module.split(".")[0] == "horovod" for _, imported in program.foreign)
