"""What an upload leaves out: the root's .amlignore, else its .gitignore, and what is never wanted.

Only the one file at the root is read, and the two are never merged. A later rule overrules an
earlier one, and `!` takes a file back in, also out of a folder that an earlier rule left out.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from runs.source.paths import problem_of, shown
from runs.source.text import ODD_BYTES, SAVE_AS_UTF8, UnreadableText, decoded, without_nul
from workspace.platform.errors import FieldError, Invalid

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
# What macOS adds beside each file in archives: its attributes.
APPLE_DOUBLE = "._"
COMPILED = ".pyc"
# Of comparing rules with paths; the largest takes a few seconds.
MAX_WORK = 3_000_000
USUAL_PATH_LENGTH = 200
STEPS_OF_A_COMPARISON = 100
NAME = re.compile(r"(?P<name>[\w.@+-]+)(?P<is_folder>/?)", re.ASCII)
ENDING = re.compile(r"\*(?P<ending>\.[\w.@+-]+)", re.ASCII)
STAR = "[^/]*"
ESCAPED_OR_CLASS = re.compile(r"\\.|\[\^?\]?[^]]*\]", re.DOTALL)
GROUPING = re.compile(r"[/()|]")


ALWAYS_RULE = "always: "
# Of what is left out, how programs and the files that a configuration names end.
SOURCE_ENDINGS = (".py", ".txt", ".yml", ".yaml")
INSTALLED = frozenset({"site-packages", "dist-packages", "node_modules"})
MAX_SOURCES = 1000


@dataclass(frozen=True)
class IgnoredFile:
    """A file that is left out, and why."""

    path: str
    rule: str


def ignored_sources(ignored: Iterable[IgnoredFile]) -> list[IgnoredFile]:
    """Return which of the ignored files a run may miss, modules and the nearest to the top first.

    Of very many, the first; what was installed is none of the program's own.
    """
    sources = [
        IgnoredFile(file.path, shown(file.rule))
        for file in ignored
        if file.path.endswith(SOURCE_ENDINGS)
        and not file.rule.startswith(ALWAYS_RULE)
        and INSTALLED.isdisjoint(file.path.split("/"))
        and not problem_of(file.path)
    ]
    sources.sort(key=lambda file: (not file.path.endswith(".py"), file.path.count("/"), file.path))
    return sources[:MAX_SOURCES]


class IgnoreRules:
    """The rules of one ignore file; `name` is empty where there is none.

    Raises Invalid where a rule cannot be read, as of a file that is not UTF-8.
    """

    def __init__(self, name: str = "", text: str = "") -> None:
        self.name = name
        try:
            self._lines = _rules_in(without_nul(text))
        except UnreadableText as error:
            raise _refused(name, str(error)) from None
        for number, line in self._lines:
            if ODD_BYTES in line:
                raise _refused(name, f"Line {number} is not UTF-8: {line[:100]} {SAVE_AS_UTF8}")
        if len(self._lines) > MAX_RULES:
            raise _refused(name, f"It has more than {MAX_RULES:,} rules.")
        self._takes_back = any(line.startswith("!") for _, line in self._lines)
        self._names = _NameRules()
        others = [
            place
            for place, (_, line) in enumerate(self._lines)
            if self._takes_back or not self._names.add(place, line)
        ]
        self._places = others
        patterns = [self._pattern(*self._lines[place]) for place in others]
        self._double_stars = Counter(self._lines[place][1].count("**") for place in others)
        self._spec = GitIgnoreSpec(patterns, backend="simple") if patterns else None
        self._folders: dict[str, str] = {"": ""}
        self._work = 0.0

    def _pattern(self, number: int, line: str) -> GitIgnoreSpecPattern:
        if line.count("**") > MAX_DOUBLE_STARS:
            raise _refused(self.name, f"Line {number} has ** more than {MAX_DOUBLE_STARS} times.")
        try:
            return _Pattern(line)
        except (GitIgnorePatternError, re.error):
            raise _refused(self.name, f"Line {number} is no rule: {line[:100]}") from None

    def ignored_by(self, path: str) -> str:
        """Name the rule that leaves a file out, or give nothing when it is kept.

        Raises Invalid where rules and files together are too many to compare.
        """
        parts = path.split("/")
        for part in parts:
            if part in ALWAYS:
                return f"{ALWAYS_RULE}{part} ({ALWAYS[part]})"
            if part.startswith(APPLE_DOUBLE):
                return f"{ALWAYS_RULE}{APPLE_DOUBLE}* (made by macOS)"
        if path.endswith(COMPILED):
            return f"{ALWAYS_RULE}*.pyc (made by Python)"
        if self._takes_back:
            return self._rule_for(path)
        folder = ""
        for part in parts[:-1]:
            parent, folder = folder, f"{folder}{part}/"
            if folder not in self._folders:
                self._folders[folder] = self._folders[parent] or self._own_rule_for(folder, part)
        return self._folders[folder] or self._own_rule_for(path, parts[-1])

    def _own_rule_for(self, path: str, last: str) -> str:
        place = self._names.place_of(last, is_folder=path.endswith("/"))
        return self._rule_for(path) if place is None else self._described(place)

    def _rule_for(self, path: str) -> str:
        if self._spec is None:
            return ""
        self._count(path)
        verdict = self._spec.check_file(path)
        if not verdict.include or verdict.index is None:
            return ""
        return self._described(self._places[verdict.index])

    def _count(self, path: str) -> None:
        parts = path.count("/") + 1
        work = sum(
            count * (1 + parts**stars / STEPS_OF_A_COMPARISON)
            for stars, count in self._double_stars.items()
        )
        self._work += work * (1 + len(path) // USUAL_PATH_LENGTH)
        if self._work > MAX_WORK:
            raise _refused(
                self.name,
                f"Its {len(self._lines):,} rules take too long with so many files or such deep"
                " folders. Leave whole folders out by their names, and use fewer rules with *.",
            )

    def _described(self, place: int) -> str:
        number, line = self._lines[place]
        return f"{self.name} line {number}: {line.strip()}"


class _NameRules:
    """The rules that are a name or an ending alone: found at once, however many they are."""

    def __init__(self) -> None:
        self._any: dict[str, int] = {}
        self._folders: dict[str, int] = {}
        self._endings: dict[str, int] = {}

    def add(self, place: int, line: str) -> bool:
        """Take a rule in, if it is of this kind."""
        if found := NAME.fullmatch(line):
            names = self._folders if found["is_folder"] else self._any
            names[found["name"]] = place
        elif found := ENDING.fullmatch(line):
            self._endings[found["ending"]] = place
        return found is not None

    def place_of(self, name: str, *, is_folder: bool) -> int | None:
        """Return the place of the last rule that leaves out what has this name."""
        found = [self._any.get(name), self._folders.get(name) if is_folder else None]
        if self._endings:
            dots = (place for place, letter in enumerate(name) if letter == ".")
            found += [self._endings.get(name[dot:]) for dot in dots]
        return max((place for place in found if place is not None), default=None)


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
    """Return the ignore file that counts among the paths of a directory, or nothing."""
    return next((name for name in FILE_NAMES if name in paths), "")


def rules_from(name: str, content: bytes) -> IgnoreRules:
    """Read the rules of an ignore file."""
    if len(content) > MAX_FILE_BYTES:
        raise _refused(name, "It is larger than 1 MB.")
    try:
        return IgnoreRules(name, decoded(content))
    except UnreadableText as error:
        raise _refused(name, str(error)) from None
