"""Lines of requirements, as pip and the tools around it write them: which can be installed here."""

import platform
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from workspace.compute.repository_addresses import archive_instead_of
from workspace.platform.errors import FieldError, Invalid

MAX_REQUIREMENTS = 500
MAX_LINES = 2000
MAX_LINE_LENGTH = 1000
MAX_HASHES = 500
PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13")
COMMENT = re.compile(r"(^|\s)#.*$")
# The first of several blanks, lest each of them is tried.
HASH = re.compile(r"(?<!\s)\s+--hash[=\s]\s*(sha(?:256|384|512):[0-9a-fA-F]{64,128})(?=\s|$)")
FOLDER_ADDRESS = re.compile(r"^[\w.\[\],\s-]+@\s*file:", re.ASCII)
PATH = re.compile(r"^([A-Za-z]:[\\/]|\.{1,2}([\\/]|$)|[~/\\]|file:)|^[^@;]*\.(whl|tar\.gz|zip)\s*$")
URL = re.compile(r"^https?://\S+")
FREEZE = "Freeze with `pip list --format=freeze` instead."
# What `pip freeze` lists on other systems, and no Linux can install.
ONLY_FOR_WINDOWS = frozenset(
    {"pypiwin32", "pywin32", "pywinpty", "tensorflow-intel", "windows-curses"}
)
ONLY_FOR_MACOS = re.compile(r"tensorflow-(macos|metal)|pyobjc(-.*)?")


@dataclass(frozen=True)
class LogicalLine:
    """A line with those that continue it, without comments, and the number of the first."""

    number: int
    text: str

    @property
    def shown(self) -> str:
        text = HASH.sub("", self.text)
        return text if len(text) <= 80 else f"{text[:79]}…"


def logical_lines(lines: Iterable[str]) -> Iterator[LogicalLine]:
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
            yield LogicalLine(started_at, whole)
    if pending.strip():
        yield LogicalLine(started_at, pending.strip())


def takes_part(marker: str | Marker | None, pythons: Iterable[str]) -> bool:
    """Return whether a line with this marker means something on Linux, with any of the Pythons.

    A marker that cannot be read takes part, so that it is refused where lines are read.
    """
    try:
        parsed = Marker(marker) if isinstance(marker, str) else marker
        return not parsed or any(parsed.evaluate(_marker_variables(each)) for each in pythons)
    except (InvalidMarker, ValueError, RecursionError):
        return True


def _marker_variables(python: str) -> dict[str, str]:
    return {
        "extra": "",
        "implementation_name": "cpython",
        "implementation_version": f"{python}.9",
        "os_name": "posix",
        "platform_machine": platform.machine(),
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{python}.9",
        "python_version": python,
        "sys_platform": "linux",
    }


def requirement_of(line: str) -> Requirement:
    """Read a line that `requirement_lines` gave."""
    return Requirement(HASH.sub("", line))


def without_hashes(lines: Iterable[str]) -> list[str]:
    """Return requirement lines as people like to read them."""
    return [HASH.sub("", line) for line in lines]


def requirement_lines(
    lines: Iterable[str], *, field: str, pythons: Sequence[str] = PYTHONS
) -> list[str]:
    """Return the requirements in `lines`, sorted and in one spelling, with their hashes.

    Lines for other systems, by their markers, are left out. Raises Invalid with every line that
    can't be used and why.
    """
    requirements: set[str] = set()
    errors: list[FieldError] = []
    elsewhere: list[LogicalLine] = []
    for count, line in enumerate(logical_lines(lines), start=1):
        if count > MAX_LINES:
            allowed = f"at most {MAX_REQUIREMENTS} requirements are allowed."
            raise Invalid.of(FieldError(field, f"It has more than {MAX_LINES:,} lines; {allowed}"))
        if not takes_part(_marker_in(line.text), pythons):
            continue
        if FOLDER_ADDRESS.match(line.text):
            elsewhere.append(line)
        elif problem := _problem_with(line.text):
            errors.append(FieldError(field, f"Line {line.number}, {line.shown!r}: {problem}"))
        else:
            requirements.add(_canonical(line.text))
    if elsewhere:
        errors.insert(0, FieldError(field, _frozen_elsewhere(elsewhere)))
    if len(requirements) > MAX_REQUIREMENTS:
        message = f"{len(requirements)} requirements are more than the {MAX_REQUIREMENTS} allowed."
        errors.append(FieldError(field, message))
    if errors:
        raise Invalid.of(*errors)
    return sorted(requirements)


def _marker_in(line: str) -> str:
    """Return the marker of a line; in an address a semicolon begins one only after a blank."""
    separator = r"\s;" if "://" in line or "file:" in line else ";"
    parts = re.split(separator, HASH.sub("", line), maxsplit=1)
    return parts[1].strip() if len(parts) == 2 else ""


def _frozen_elsewhere(lines: Sequence[LogicalLine]) -> str:
    first = lines[0]
    if len(lines) == 1:
        what = f"Line {first.number} names a folder of the machine it was frozen on"
    else:
        what = (
            f"Line {first.number} and {len(lines) - 1} more name folders of the machine they were"
            " frozen on"
        )
    return f"{what}. {FREEZE} The line: {first.shown!r}."


def _problem_with(line: str) -> str:
    bare = HASH.sub("", line)
    if len(bare) > MAX_LINE_LENGTH:
        return f"It is longer than {MAX_LINE_LENGTH} characters."
    if archive := archive_instead_of(bare):
        return archive
    if line.startswith("-"):
        return _option_problem(line)
    if " --hash" in bare or len(HASH.findall(line)) > MAX_HASHES:
        return "Its hashes can't be read: each is --hash=sha256: and 64 hexadecimal digits."
    if re.search(r"\s--\w", bare):
        return "Options of a single line are not supported; leave all but --hash out."
    if URL.match(bare):
        return f"An address needs the package's name before it: NAME @ {bare}"
    if PATH.search(bare):
        return (
            "Files and folders of a machine can't be installed; name the package, or put its code"
            " into the source directory."
        )
    try:
        requirement = Requirement(bare)
    except InvalidRequirement as error:
        return f"It is not a requirement such as 'scikit-learn>=1.5' ({_first_line(error)})."
    except RecursionError:
        return "Its marker is nested too deeply."
    return _package_problem(requirement)


def _package_problem(requirement: Requirement) -> str:
    if requirement.url and not _is_https(requirement.url):
        return "Only packages by name, or by an https:// address of an archive, can be installed."
    name = canonicalize_name(requirement.name)
    if name == "pkg-resources":
        return "There is no such package: Debian's pip lists it by mistake. Leave the line out."
    if name in ONLY_FOR_WINDOWS:
        return _only_for("Windows", "win32")
    if ONLY_FOR_MACOS.fullmatch(name):
        return _only_for("macOS", "darwin")
    return ""


def _is_https(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname)


def _only_for(system: str, sys_platform: str) -> str:
    return (
        f"It is for {system} only, and runs are on Linux. Leave the line out, or end it with"
        f" ; sys_platform == '{sys_platform}'"
    )


def _option_problem(line: str) -> str:
    option = re.split(r"[\s=]", line, maxsplit=1)[0]
    if option == "--editable" or option.startswith("-e"):
        return "Editable installs are not possible; put the code into the source directory."
    if option in {"--requirement", "--constraint"} or option.startswith(("-r", "-c")):
        return "Other files can't be referred to; write their lines here."
    if option in {"--index-url", "--extra-index-url", "--find-links", "--no-index"} or (
        option.startswith(("-i", "-f"))
    ):
        return "The package index is chosen by the installation; leave this option out."
    return "Options are not supported here; leave the line out."


def _canonical(line: str) -> str:
    requirement = requirement_of(line)
    requirement.name = canonicalize_name(requirement.name)
    hashes = sorted({f"--hash={digest.lower()}" for digest in HASH.findall(line)})
    return " ".join([str(requirement), *hashes])


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["unreadable"])[0]
