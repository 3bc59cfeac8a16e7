"""What is known to go wrong with a program, before it is queued.

A refusal is a failure that is certain as far as reading can tell; a doubt only warns.
"""

import difflib
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from runs.findings import Finding
from runs.preflight_rules import RULES, Situation
from runs.python_packages import (
    Requirement,
    comes_with_framework,
    comes_with_python,
    is_asked_for,
    packages_bringing,
    requirements_in,
)
from runs.python_source import Files, Program, read_program

# What the environment of an MPI run has; Horovod where the framework version allows it.
BROUGHT_FOR_MPI = ("mpi4py", "horovod")
__all__ = ["Finding", "check"]


def check(files: Files, config: Mapping[str, Any]) -> list[Finding]:
    """Hold a source directory against its configuration; refusals come first.

    `files` maps each path to its bytes or to a call that reads them; only the entry script and what
    it imports is read, and nothing is run. `config` holds entry_script, framework_version, mode,
    pip_packages, requirements (the requirements file's text), environment_variables and use_gpu.
    """
    entry = posixpath.normpath(config["entry_script"])
    environment_variables = config.get("environment_variables", {})
    requirements = (
        *requirements_in(config.get("pip_packages", ()), "pip_packages"),
        *requirements_in(config.get("requirements", "").splitlines(), "pip_requirements_file"),
    )
    findings = list(_about_the_entry(files, entry))
    program = Program()
    if not findings:
        program = read_program(files, entry, _python_path(environment_variables))
        findings += _about_the_reading(program, entry)
    situation = Situation(
        program=program,
        framework_version=config["framework_version"],
        mode=config["mode"],
        environment_variables=environment_variables,
        requirements=requirements,
        use_gpu=config.get("use_gpu", False),
        is_read_whole=bool(program.sources) and not program.broken and not program.skipped,
    )
    for rule in RULES:
        findings += rule(situation)
    brought = requirements_in(BROUGHT_FOR_MPI, "") if situation.mode == "mpi" else ()
    findings += _about_imports(program, situation.framework_version, (*requirements, *brought))
    return sorted(findings, key=lambda finding: finding.level != "refuse")


def _about_the_entry(files: Files, entry: str) -> Iterator[Finding]:
    field = "entry_script"
    if entry.startswith(("/", "../")):
        yield Finding(
            "refuse",
            "entry-outside",
            field,
            f"{entry} lies outside the source directory.",
            "Name a file of the source directory, by its path from the top.",
        )
    elif entry not in files:
        yield Finding(
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
        yield Finding(
            "refuse", "entry-not-python", field, f"{entry} is no Python script.", way_out, entry
        )


def _instead_of(files: Files, entry: str) -> str:
    scripts = sorted(path for path in files if path.endswith(".py"))
    name = posixpath.basename(entry)
    likely = [path for path in scripts if posixpath.basename(path) == name]
    likely += difflib.get_close_matches(entry, scripts, n=3)
    offered = list(dict.fromkeys([*likely, *scripts]))[:3]
    if not offered:
        return "Upload a directory that has a Python script."
    return f"Choose one that is there: {', '.join(offered)}."


def _python_path(environment_variables: Mapping[str, str]) -> tuple[str, ...]:
    """Give the folders of the source directory that PYTHONPATH names."""
    folders = []
    for part in environment_variables.get("PYTHONPATH", "").split(":"):
        folder = posixpath.normpath(part) if part else ""
        if folder and not folder.startswith(("/", "..")):
            folders.append("" if folder == "." else folder)
    return tuple(folders)


def _about_the_reading(program: Program, entry: str) -> Iterator[Finding]:
    for path, trouble, is_guarded in program.broken:
        where = f"{path}, line {trouble.line}" if trouble.line else path
        yield Finding(
            "warn" if is_guarded else "refuse",
            "unreadable",
            "entry_script",
            f"{where}: {trouble}.",
            "Mend the file and upload it again.",
            path,
            trouble.line,
        )
    for path, reason in program.skipped:
        yield Finding(
            "warn",
            "not-checked",
            "entry_script",
            f"{path} was not checked: {reason}.",
            "Nothing need be done; what it does wrong will show when it runs.",
            path,
        )
    for path, imported, found in program.off_path:
        yield Finding(
            "warn",
            "import-off-path",
            "environment_variables",
            f"{path}:{imported.line} imports {imported.module}, which is {found} here, but Python "
            f"looks in the entry script's folder, {posixpath.dirname(entry) or 'the top'}.",
            "Set the environment variable PYTHONPATH to . (the top of the source directory).",
            path,
            imported.line,
        )


def _about_imports(
    program: Program, framework_version: str, requirements: tuple[Requirement, ...]
) -> Iterator[Finding]:
    """Warn of imports that neither the environment nor the requirements nor the files bring."""
    named: set[str] = set()
    for path, imported in program.foreign:
        module = imported.module
        package = packages_bringing(imported.dotted)[0]
        if (
            imported.is_guarded
            or package in named
            or comes_with_python(module)
            or comes_with_framework(imported.dotted, framework_version)
            or is_asked_for(imported.dotted, requirements)
        ):
            continue
        named.add(package)
        yield Finding(
            "warn",
            "package-missing",
            "pip_packages",
            f"{path}:{imported.line} imports {module}, which neither the environment nor the "
            "requirements nor the source directory has.",
            f"Add {package} to pip_packages or to the requirements file.",
            path,
            imported.line,
        )
