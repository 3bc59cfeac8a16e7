"""What an upload leaves out: the root's .amlignore, else its .gitignore, and what is never wanted.

Only the one file at the root is read, and the two are never merged. A later rule overrules an
earlier one, and `!` takes a file back in, also out of a folder that an earlier rule left out.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from workspace.errors import FieldError, Invalid

FILE_NAMES = (".amlignore", ".gitignore")
MAX_FILE_BYTES = 1024 * 1024
MAX_RULES = 10_000
MAX_DOUBLE_STARS = 3
ALWAYS = {
    ".git": "version control, not source",
    "__pycache__": "made by Python",
    "__MACOSX": "made by macOS",
    ".DS_Store": "made by macOS",
}
COMPILED = ".pyc"
STAR = "[^/]*"
ESCAPED_OR_CLASS = re.compile(r"\\.|\[\^?\]?[^]]*\]", re.DOTALL)
GROUPING = re.compile(r"[/()|]")


@dataclass(frozen=True)
class Ignored:
    """A file that is left out, and why."""

    path: str
    rule: str


class Rules:
    """The rules of one ignore file; `name` is empty where there is none."""

    def __init__(self, name: str = "", text: str = "") -> None:
        self.name = name
        self._lines = _rules_in(text)
        if len(self._lines) > MAX_RULES:
            raise _refused(name, f"It has more than {MAX_RULES:,} rules.")
        patterns = [self._pattern(number, line) for number, line in self._lines]
        self._spec = GitIgnoreSpec(patterns, backend="simple") if patterns else None

    def _pattern(self, number: int, line: str) -> GitIgnoreSpecPattern:
        if line.count("**") > MAX_DOUBLE_STARS:
            raise _refused(self.name, f"Line {number} has ** more than {MAX_DOUBLE_STARS} times.")
        try:
            return _Pattern(line)
        except (GitIgnorePatternError, re.error):
            raise _refused(self.name, f"Line {number} is no rule: {line[:100]}") from None

    def left_out_by(self, path: str) -> str:
        """Name the rule that leaves a file out, or give nothing when it is kept."""
        for part in path.split("/"):
            if part in ALWAYS:
                return f"always: {part} ({ALWAYS[part]})"
        if path.endswith(COMPILED):
            return "always: *.pyc (made by Python)"
        if self._spec is None:
            return ""
        verdict = self._spec.check_file(path)
        if not verdict.include or verdict.index is None:
            return ""
        number, line = self._lines[verdict.index]
        return f"{self.name} line {number}: {line.strip()}"


class _Pattern(GitIgnoreSpecPattern):
    """A rule whose stars cannot make matching slow."""

    @classmethod
    def pattern_to_regex(cls, pattern: str) -> tuple[str | None, bool | None]:  # type: ignore[override]
        regex, include = super().pattern_to_regex(pattern)
        return (None if regex is None else _without_backtracking(regex)), include


def _without_backtracking(regex: str) -> str:
    """Make a star settle on the first place where what follows it, up to the next star, fits.

    That loses no match within a part of a path, and makes `*a*a*a*a*b` take linear time.
    """
    first, *pieces = regex.split(STAR)
    made = first
    for place, piece in enumerate(pieces):
        is_before_star = place < len(pieces) - 1
        if is_before_star and not GROUPING.search(ESCAPED_OR_CLASS.sub("", piece)):
            made += f"(?>[^/]*?{piece})" if piece else ""
        else:
            made += STAR + piece
    return made


def _rules_in(text: str) -> list[tuple[int, str]]:
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    return [
        (number, line)
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith("#")
    ]


def _refused(name: str, why: str) -> Invalid:
    return Invalid(f"{name} cannot be used. {why}", errors=[FieldError(name, why)])


def ignore_file_among(paths: Collection[str]) -> str:
    """Give the ignore file that counts among the paths of a directory, or nothing."""
    return next((name for name in FILE_NAMES if name in paths), "")


def rules_from(name: str, content: bytes) -> Rules:
    """Read the rules of an ignore file."""
    if len(content) > MAX_FILE_BYTES:
        raise _refused(name, "It is larger than 1 MB.")
    try:
        return Rules(name, content.decode())
    except UnicodeDecodeError:
        raise _refused(name, "It is not UTF-8 text.") from None
