"""What is known to go wrong with a program, before it is queued.

A refusal is a failure that is certain as far as reading can tell; a doubt only warns.
"""

import difflib
import posixpath
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from runs.preflight.file_names import about_decomposed_names
from runs.preflight.findings import PreflightFinding
from runs.preflight.ignored_files import about_ignored, ignored_imports
from runs.preflight.parameter_server_rules import parameter_servers_need_a_chief
from runs.preflight.python_packages import (
    NEWEST_SHARED_PYTHON,
    Requirement,
    comes_with_framework,
    is_asked_for,
    is_standard_library,
    packages_bringing,
    requirements_in,
)
from runs.preflight.python_source import Files, ImportStatement, SourceProgram, read_program
from runs.preflight.secrets import about_secrets
from runs.preflight.tensorflow_rules import RULES, PreflightContext

# What the environment of an MPI run has; Horovod where the framework version allows it.
BROUGHT_FOR_MPI = ("mpi4py", "horovod")
# What is found of an entry script that cannot be read at all.
ABOUT_ENTRY = frozenset({"entry-outside", "entry-missing", "entry-not-python"})
__all__ = ["ABOUT_ENTRY", "PreflightFinding", "check"]


def check(files: Files, config: Mapping[str, Any]) -> list[PreflightFinding]:
    """Hold a source directory against its configuration; refusals come first.

    `files` maps each path to its bytes or to a call that reads them; only the entry script and what
    it imports is read, and nothing is run. `config` holds entry_script, framework_version, mode,
    chief, pip_packages, requirements (the requirements file's text), environment_variables,
    script_params, use_gpu, python_version and ignored_files: what the upload left out, each path
    with its rule.
    """
    entry = posixpath.normpath(config["entry_script"])
    environment_variables = config.get("environment_variables", {})
    python = config.get("python_version", NEWEST_SHARED_PYTHON)
    requirements = (
        *requirements_in(config.get("pip_packages", ()), "pip_packages", python),
        *requirements_in(
            config.get("requirements", "").splitlines(), "pip_requirements_file", python
        ),
    )
    findings = list(_about_the_entry(files, entry))
    program = SourceProgram()
    if not findings:
        program = read_program(files, entry, _python_path(environment_variables))
        findings += _about_the_reading(program, entry)
    situation = PreflightContext(
        program=program,
        framework_version=config["framework_version"],
        mode=config["mode"],
        has_chief=config.get("chief", False),
        environment_variables=environment_variables,
        requirements=requirements,
        use_gpu=config.get("use_gpu", False),
        is_read_whole=bool(program.sources) and not program.broken and not program.skipped,
    )
    for rule in (*RULES, parameter_servers_need_a_chief):
        findings += rule(situation)
    brought = requirements_in(BROUGHT_FOR_MPI, "") if situation.mode == "mpi" else ()
    ignored = config.get("ignored_files", {})
    folders = (posixpath.dirname(entry), *_python_path(environment_variables))
    imports = [
        found
        for found in ignored_imports(program, files, ignored, folders)
        if not _is_brought(found.imported, situation.framework_version, (*requirements, *brought))
    ]
    findings += about_ignored(imports, ignored)
    findings += _about_imports(
        program,
        situation.framework_version,
        (*requirements, *brought),
        left_out={found.imported.module.split(".")[0] for found in imports},
    )
    findings += about_decomposed_names(files)
    findings += about_secrets(files, environment_variables, config.get("script_params", {}))
    return sorted(findings, key=lambda finding: finding.level != "refuse")


def _about_the_entry(files: Files, entry: str) -> Iterator[PreflightFinding]:
    field = "entry_script"
    if entry.startswith(("/", "../")):
        yield PreflightFinding(
            "refuse",
            "entry-outside",
            field,
            f"{entry} is outside the source directory.",
            "Name a file of the source directory, by its path from the top.",
        )
    elif entry not in files:
        yield PreflightFinding(
            "refuse",
            "entry-missing",
            field,
            f"{entry} is not in the source directory.",
            _instead_of(files, entry),
        )
    elif not entry.endswith(".py"):
        way_out = (
            f"Convert it first: jupyter nbconvert --to script {entry}"
            if entry.endswith(".ipynb")
            else "Name a .py file; it may start other programs itself."
        )
        yield PreflightFinding(
            "refuse", "entry-not-python", field, f"{entry} is not a Python script.", way_out, entry
        )


def _instead_of(files: Files, entry: str) -> str:
    scripts = sorted(path for path in files if path.endswith(".py"))
    name = posixpath.basename(entry)
    likely = [path for path in scripts if posixpath.basename(path) == name]
    likely += difflib.get_close_matches(entry, scripts, n=3)
    offered = list(dict.fromkeys([*likely, *scripts]))[:3]
    if not offered:
        return "Upload a directory that has a Python script."
    return f"Choose one of: {', '.join(offered)}."


def _python_path(environment_variables: Mapping[str, str]) -> tuple[str, ...]:
    """Return the folders of the source directory that PYTHONPATH names."""
    folders = []
    for part in environment_variables.get("PYTHONPATH", "").split(":"):
        folder = posixpath.normpath(part) if part else ""
        if folder and not folder.startswith(("/", "..")):
            folders.append("" if folder == "." else folder)
    return tuple(folders)


def _about_the_reading(program: SourceProgram, entry: str) -> Iterator[PreflightFinding]:
    for path, trouble, is_guarded in program.broken:
        where = f"{path}, line {trouble.line}" if trouble.line else path
        yield PreflightFinding(
            "warn" if is_guarded else "refuse",
            "unreadable",
            "entry_script",
            f"{where}: {trouble}.",
            "Fix the file and upload it again.",
            path,
            trouble.line,
        )
    for path, reason in program.skipped:
        yield PreflightFinding(
            "warn",
            "not-checked",
            "entry_script",
            f"{path} was not checked: {reason}.",
            "Nothing to do. Errors in it show when the run starts.",
            path,
        )
    for path, imported, found in program.off_path:
        yield PreflightFinding(
            "warn",
            "import-off-path",
            "environment_variables",
            f"{path}:{imported.line} imports {imported.module}, which is {found} here, but Python "
            f"looks in the entry script's folder, {posixpath.dirname(entry) or 'the top'}.",
            "Set the environment variable PYTHONPATH to . (the top of the source directory).",
            path,
            imported.line,
        )


def _is_brought(
    imported: ImportStatement, framework_version: str, requirements: tuple[Requirement, ...]
) -> bool:
    """Return whether an import comes from Python, the framework or the requirements."""
    return not imported.level and (
        is_standard_library(imported.module)
        or comes_with_framework(imported.dotted, framework_version)
        or is_asked_for(imported.dotted, requirements)
    )


def _about_imports(
    program: SourceProgram,
    framework_version: str,
    requirements: tuple[Requirement, ...],
    left_out: Collection[str],
) -> Iterator[PreflightFinding]:
    """Warn of imports that neither the environment nor the requirements nor the files bring."""
    named: set[str] = set()
    for path, imported in program.foreign:
        module = imported.module
        package = packages_bringing(imported.dotted)[0]
        if (
            imported.is_guarded
            or package in named
            or module.split(".")[0] in left_out
            or _is_brought(imported, framework_version, requirements)
        ):
            continue
        named.add(package)
        yield PreflightFinding(
            "warn",
            "package-missing",
            "pip_packages",
            f"{path}:{imported.line} imports {module}, which neither the environment nor the "
            "requirements nor the source directory has.",
            f"Add {package} to pip_packages or to the requirements file.",
            path,
            imported.line,
        )
