"""Which environment a run needs."""

from collections.abc import Callable, Mapping
from functools import partial

from packaging.requirements import Requirement

from runs.config import RunConfig
from runs.distribution import Mode
from runs.launch.conda_file import CondaDependencies, conda_lines, read_conda_file
from runs.preflight.python_source import read_program
from runs.source.text import UnreadableText, decoded
from workspace.compute.access import ImageLogin
from workspace.compute.builds import horovod
from workspace.compute.environment_spec import CURATED, EnvironmentSpec
from workspace.compute.requirements import requirement_lines, requirement_of, takes_part
from workspace.environments.services import login_fingerprint
from workspace.platform.errors import CollectedErrors, FieldError, Invalid
from workspace.sizes import MEGABYTE, size_text

MAX_REQUIREMENTS_BYTES = 2 * MEGABYTE
Files = Mapping[str, Callable[[], bytes]]


def spec_of(
    config: RunConfig, files: Files, image_login: ImageLogin | None = None
) -> EnvironmentSpec:
    """Return the environment of a run; raises Invalid naming every requirement that can't be used.

    Horovod is in it where a requirement or the code asks for it, and is built rather than resolved.
    """
    pythons = CURATED[config.framework_version].pythons
    errors = CollectedErrors()
    conda = errors.of(lambda: conda_dependencies_in(config, files), CondaDependencies())
    listed = {
        "conda_dependencies_file": conda.pip,
        "pip_packages": config.pip_packages,
        "pip_requirements_file": errors.of(lambda: requirements_in(config, files), "").splitlines(),
    }
    nothing: list[str] = []
    lines = {
        field: errors.of(partial(requirement_lines, given, field=field, pythons=pythons), nothing)
        for field, given in listed.items()
    }
    conda_packages = errors.of(
        lambda: conda_lines(config.conda_packages, field="conda_packages"), nothing
    )
    asked = {
        field: requirement
        for field, listed in lines.items()
        for requirement in map(requirement_of, listed)
        if requirement.name == "horovod" and takes_part(requirement.marker, pythons[:1])
    }
    for field, requirement in asked.items():
        errors.of(partial(_check_horovod, config, field, requirement), None)
    errors.raise_all()
    return EnvironmentSpec.of(
        config.framework_version,
        gpu=config.use_gpu,
        packages=[
            line
            for listed in lines.values()
            for line in listed
            if requirement_of(line).name != "horovod"
        ],
        conda=[*conda_packages, *conda.packages],
        image=config.custom_docker_image,
        mpi=config.mode == Mode.MPI or bool(asked),
        horovod=bool(asked) or _imports_horovod(config, files),
        image_login=login_fingerprint(image_login),
    )


def requirements_in(config: RunConfig, files: Files) -> str:
    """Return the text of the requirements file, if the run has one. Raises Invalid."""
    field, path = "pip_requirements_file", config.pip_requirements_file
    if path not in files:
        return ""
    content = files[path]()
    if len(content) > MAX_REQUIREMENTS_BYTES:
        limit = size_text(MAX_REQUIREMENTS_BYTES)
        raise Invalid.of(FieldError(field, f"{path} is larger than {limit}."))
    try:
        return decoded(content)
    except UnreadableText as error:
        raise Invalid.of(FieldError(field, f"{path} cannot be read. {error}")) from None


def conda_dependencies_in(config: RunConfig, files: Files) -> CondaDependencies:
    """Return what the conda file of a run asks for, if it has one."""
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
    if config.entry_script not in files:
        return False
    program = read_program(files, config.entry_script)
    return any(imported.module.split(".")[0] == "horovod" for _, imported in program.foreign)
