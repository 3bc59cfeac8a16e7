"""Which paths a file of a source directory may have, wherever it comes from."""

import re
import unicodedata
from collections.abc import Iterable, Iterator

from workspace.platform.errors import FieldError

MAX_COMPONENT_BYTES = 255
MAX_PATH_BYTES = 1000
MAX_DEPTH = 100
DRIVE = re.compile(r"[A-Za-z]:")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def problem_of(path: str) -> str:
    """Return why a path may not be used, or nothing when it may."""
    if not path:
        return "the name is empty"
    if "\0" in path:
        return "it has a NUL character"
    if CONTROL.search(path):
        return "it has a control character"
    if path.startswith("/"):
        return "it is an absolute path"
    if DRIVE.match(path):
        return "it starts with a drive letter"
    if "\\" in path:
        return "it has a backslash: use / between folders"
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "it is not UTF-8"
    if len(encoded) > MAX_PATH_BYTES:
        return f"it is longer than {MAX_PATH_BYTES} bytes"
    parts = path.split("/")
    if ".." in parts:
        return "it has .. in it, which leads out of the directory"
    if "." in parts or "" in parts:
        return "it has an empty or . part"
    if len(parts) > MAX_DEPTH:
        return f"it is more than {MAX_DEPTH} folders deep"
    if any(len(part.encode()) > MAX_COMPONENT_BYTES for part in parts):
        return f"a part of it is longer than {MAX_COMPONENT_BYTES} bytes"
    return ""


def shown(path: str) -> str:
    """Return a path as a message may show it: printable, and of bearable length."""
    printable = "".join(
        character if character.isprintable() else f"\\x{ord(character):02x}"
        for character in path[:200]
    )
    return printable + ("…" if len(path) > 200 else "")


def errors_in(paths: Iterable[str], *, folders: Iterable[str] = ()) -> Iterator[FieldError]:
    """Name every path of a file that may not be used, or not beside the others.

    Names that differ only by case or Unicode form would become one file on many machines.
    `folders` are those that are listed by themselves, as archives do.
    """
    seen_files: dict[str, str] = {}
    seen_folders: dict[str, str] = {}
    for folder in folders:
        problem = problem_of(folder) or _folder_clash(folder, seen_folders)
        if problem:
            yield FieldError(shown(folder), f"{problem}.")
    for path in paths:
        problem = problem_of(path)
        if not problem:
            key = _folded(path)
            if key in seen_files:
                problem = _clash(path, seen_files[key])
            else:
                seen_files[key] = path
                problem = _folder_clash(path.rpartition("/")[0], seen_folders)
        if problem:
            yield FieldError(shown(path), f"{problem}.")
    for key in seen_files.keys() & seen_folders.keys():
        yield FieldError(shown(seen_files[key]), "it is both a file and a folder.")


def _folder_clash(folder: str, seen: dict[str, str]) -> str:
    """Add a folder and those above it to `seen`; say which is there under another name."""
    while folder:
        known = seen.setdefault(_folded(folder), folder)
        if known != folder:
            return _clash(folder, known)
        folder = folder.rpartition("/")[0]
    return ""


def _folded(path: str) -> str:
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _clash(path: str, other: str) -> str:
    if path == other:
        return "it is listed twice"
    return f"it differs from {shown(other)} only by case or Unicode form"
