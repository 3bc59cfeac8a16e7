"""Which environment a run needs."""

from runs.config import RunConfig
from workspace.environments import EnvironmentSpec, requirement_lines


def spec_of(config: RunConfig, requirements: str) -> EnvironmentSpec:
    """Give the environment of a run; raises Invalid naming the requirement that can't be used."""
    lines = [
        *requirement_lines(config.pip_packages, field="pip_packages"),
        *requirement_lines(requirements.splitlines(), field="pip_requirements_file"),
    ]
    return EnvironmentSpec.of(config.framework_version, gpu=config.use_gpu, packages=lines)
