"""Conda's packages: specifications as users write them, and conda's own environment files."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from workspace.compute.requirements import MAX_LINES
from workspace.platform.errors import FieldError, Invalid
from workspace.platform.validation import kind_of
from workspace.sizes import size_text

FIELD = "conda_dependencies_file"
MAX_PACKAGES = 500
MAX_FILE_BYTES = 200_000  # which YAML takes a second or two to read
# A name, and a version in any of conda's spellings; no other channel, and nothing like an option.
PACKAGE = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}( *[=<>!~ ][A-Za-z0-9_.*+=<>!~,| -]{0,100})?"
)
# All are answered by the channel of the installation, which has what these have.
CHANNELS = frozenset({"conda-forge", "defaults", "anaconda", "main", "nodefaults"})
KNOWN = frozenset({"name", "channels", "dependencies", "prefix"})


@dataclass(frozen=True)
class CondaDependencies:
    """What a conda file asks for: packages of conda, and requirements for pip."""

    packages: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()


def conda_lines(lines: Iterable[str], *, field: str) -> list[str]:
    """Return package specifications as they are; raises Invalid with every one that is none."""
    given = [line.strip() for line in lines]
    errors = [
        FieldError(
            field,
            f"{line[:80]!r} is not a package of conda such as 'ffmpeg' or 'scikit-learn>=1.5';"
            " channels and options can't be given.",
        )
        for line in given
        if not PACKAGE.fullmatch(line)
    ]
    if len(given) > MAX_PACKAGES:
        errors.append(FieldError(field, f"{len(given)} packages are more than {MAX_PACKAGES}."))
    if errors:
        raise Invalid.of(*errors)
    return given


def read_conda_file(content: bytes) -> CondaDependencies:
    """Read conda's environment file; raises Invalid with all that can't be used."""
    if len(content) > MAX_FILE_BYTES:
        raise _refused(f"It is larger than {size_text(MAX_FILE_BYTES)}.")
    try:
        data = yaml.safe_load(content)
    except Exception as error:  # what is no date, number or tag of YAML raises anything
        message = f"It is not YAML: {' '.join(str(error).split())[:200]}"
        raise Invalid.of(FieldError(FIELD, message)) from error
    if not isinstance(data, dict) or not isinstance(data.get("dependencies"), list):
        raise _refused("It must be an environment file of conda, with a list of dependencies.")
    if len(data["dependencies"]) > MAX_PACKAGES:
        raise _refused(f"{len(data['dependencies']):,} packages are more than {MAX_PACKAGES}.")
    errors = [FieldError(FIELD, message) for message in _problems_of_keys(data)]
    packages: list[str] = []
    pip: list[str] = []
    for entry in data["dependencies"]:
        if isinstance(entry, str):
            packages.append(entry)
        elif _is_pip(entry):
            pip += entry["pip"]
            if len(pip) > MAX_LINES:
                raise _refused(f"It has more than {MAX_LINES:,} lines for pip.")
        else:
            message = f"{_shown(entry)} is neither a package nor a list of packages for pip."
            errors.append(FieldError(FIELD, message))
    try:
        packages = conda_lines(packages, field=FIELD)
    except Invalid as invalid:
        errors += invalid.errors
    if errors:
        raise Invalid.of(*errors)
    return CondaDependencies(tuple(packages), tuple(pip))


def _problems_of_keys(data: dict[Any, Any]) -> Iterator[str]:
    unknown = sorted(_shown(key).strip("'") for key in data.keys() - KNOWN)
    if unknown:
        yield f"It has {', '.join(unknown)[:200]}, which can't be used: leave that out."
    channels = data.get("channels") or []
    if not isinstance(channels, list):
        channels = [channels]
    others = [each for each in channels if not (isinstance(each, str) and each in CHANNELS)]
    if others:
        yield (
            f"The channel {_shown(others[0])} can't be used: packages come from the channel of this"
            " installation, conda-forge unless it says otherwise. Leave it out, or take the package"
            " from pip."
        )


def _is_pip(entry: object) -> bool:
    if not isinstance(entry, dict) or list(entry) != ["pip"]:
        return False
    lines = entry["pip"]
    return isinstance(lines, list) and all(isinstance(line, str) for line in lines)


def _shown(value: object) -> str:
    """Return the beginning of a value for a message; with aliases it may be endless."""
    if isinstance(value, dict) and value:
        return f"{{{_shown(next(iter(value)))}: …}}"
    if isinstance(value, str):
        return repr(value[:80])
    is_short = isinstance(value, int | float) and abs(value) < 10**15
    return f"'{value}'" if is_short else kind_of(value)


def _refused(message: str) -> Invalid:
    return Invalid.of(FieldError(FIELD, message))
