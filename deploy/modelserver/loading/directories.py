"""What lies in a model's directory: its versions, and whether their files hold still."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from time import time_ns

from .model_config import ModelConfig

MAX_VERSION = 2**63 - 1
SETTLE_SECONDS = 1.0
Fingerprint = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class VersionListing:
    """The versions to serve, fingerprints of those that may be moving, and what is odd."""

    versions: dict[int, tuple[Path, Fingerprint | None]]
    problem: str = ""


def list_versions(config: ModelConfig, settled: Collection[int]) -> VersionListing:
    """Look into a model's directory; versions known to have settled are not looked into."""
    paths: dict[int, Path] = {}
    twice: list[Path] = []
    with os.scandir(config.base_path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if not (entry.name.isascii() and entry.name.isdigit()) or not entry.is_dir():
                continue
            number = int(entry.name)
            if number in paths:
                twice.append(Path(entry.path))
            elif number <= MAX_VERSION:
                paths[number] = Path(entry.path)
    versions = {
        number: (paths[number], None if number in settled else fingerprint(paths[number]))
        for number in config.policy.choose(paths)
    }
    return VersionListing(versions, _complaint(config, versions, twice))


def fingerprint(path: Path) -> Fingerprint:
    """Summarise a tree so that any copying that still goes on shows."""
    files = size = newest = 0
    for folder, _, names in os.walk(path):
        newest = max(newest, os.stat(folder).st_mtime_ns)
        for name in names:
            status = os.stat(os.path.join(folder, name))
            files += 1
            size += status.st_size
            newest = max(newest, status.st_mtime_ns)
    return files, size, newest


def is_settled(seen: Fingerprint) -> bool:
    return time_ns() - seen[2] > SETTLE_SECONDS * 1e9


def _complaint(config: ModelConfig, found: Collection[int], twice: list[Path]) -> str:
    missing = sorted((config.policy.specific or frozenset()).difference(found))
    if missing:
        return (
            f"Version {missing[0]} of servable {config.name}, which was requested to be served as"
            " a 'specific' version in the servable's version policy, was not found in the file"
            " system"
        )
    if not found:
        return (
            f"No versions of servable {config.name} found under base path {config.base_path}."
            " Did you forget to name your leaf directory as a number (eg. '/1/')?"
        )
    if twice:
        return f"Version {int(twice[0].name)} is there twice; {twice[0]} is left out"
    return ""
