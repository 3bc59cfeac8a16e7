"""What a submission shows to everyone in the team that seems to be a secret."""

from collections.abc import Iterator, Mapping

from runs.config_fields import looks_secret
from runs.preflight.findings import PreflightFinding
from runs.preflight.python_source import Files
from runs.source.secret_files import secret_files

FILES_NAMED = 10
WAY_OUT = "Store it as a secret of the team, and name it in the run's secrets"


def about_secrets(
    files: Files,
    environment_variables: Mapping[str, str],
    script_params: Mapping[str, object],
) -> Iterator[PreflightFinding]:
    """Warn of files, variables and parameters that seem to hold a secret."""
    found = secret_files(sorted(files))
    for path, what in found[:FILES_NAMED]:
        yield PreflightFinding(
            "warn",
            "secret-file",
            "source",
            f"{path} looks like a secret ({what}). Everyone in the team can read it.",
            f"Leave it out with .amlignore or .gitignore. {WAY_OUT}, as a file.",
            path,
        )
    if len(found) > FILES_NAMED:
        yield PreflightFinding(
            "warn",
            "secret-file",
            "source",
            f"{len(found) - FILES_NAMED:,} more files look like secrets.",
            "Leave them out with .amlignore or .gitignore.",
        )
    given = (("environment_variables", environment_variables), ("script_params", script_params))
    for field, values in given:
        for name, value in values.items():
            if looks_secret(name, value):
                yield PreflightFinding(
                    "warn",
                    "secret-value",
                    field,
                    f"{name} looks like a secret. Members of the team can read it.",
                    f"{WAY_OUT} instead: it is stored encrypted and never shown.",
                )
