"""Modules that are in the user's folder, but that an ignore rule left out of the upload."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runs.preflight.findings import PreflightFinding
from runs.preflight.python_source import Files, ImportStatement, SourceProgram, SourceTree


@dataclass(frozen=True)
class IgnoredImport:
    """An import in a file of the program, and the file that it needs and that was left out."""

    path: str
    imported: ImportStatement
    missing: str


def ignored_imports(
    program: SourceProgram, files: Files, ignored: Mapping[str, str], folders: tuple[str, ...]
) -> Iterator[IgnoredImport]:
    """Yield what the program imports and would find if nothing had been left out."""
    if not any(path.endswith(".py") for path in ignored):
        return
    kept, whole = SourceTree(files), SourceTree({**dict.fromkeys(ignored, b""), **files})
    for source in program.sources:
        for imported in source.imports:
            there = whole.resolve(imported, source.path, (*folders, ""))
            missing = [path for path in there if path in ignored and path not in files]
            if missing and len(kept.resolve(imported, source.path, (*folders, ""))) < len(there):
                yield IgnoredImport(source.path, imported, missing[-1])


def about_ignored(
    found: list[IgnoredImport], ignored: Mapping[str, str]
) -> Iterator[PreflightFinding]:
    """Warn of each file that is missing, once."""
    named: set[str] = set()
    for each in found:
        if each.missing in named or each.imported.is_guarded:
            continue
        named.add(each.missing)
        line = each.imported.line
        yield PreflightFinding(
            "warn",
            "module-ignored",
            "entry_script",
            f"{each.path}:{line} imports {each.missing}, which is there but is left out by "
            f"{ignored[each.missing]}.",
            way_to_include(ignored[each.missing]),
            each.path,
            line,
        )


def way_to_include(rule: str) -> str:
    """Say how a file is sent that a rule, as `.gitignore line 3: lib/`, leaves out."""
    place, colon, pattern = rule.partition(": ")
    name = place.partition(" ")[0]
    if not colon or name not in (".amlignore", ".gitignore"):
        return "Upload the files again with it."
    other = ", or write an .amlignore, which is read instead" if name == ".gitignore" else ""
    return f"Add !{pattern} to {name}{other}, and upload the files again."


def ignored_module(module: str, ignored: Mapping[str, str]) -> str:
    """Return a file of a module of the top folder, by its dotted name, that was left out."""
    stem = module.replace(".", "/")
    paths = (path for path in ignored if path == f"{stem}.py" or path.startswith(f"{stem}/"))
    return next(paths, "")
