"""What a reader should know of a SavedModel before it runs: files, Python, operations, size."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

KNOWN_OPS = Path(__file__).with_name("known_ops.txt")
NAMED = 8
LARGE_BYTES = 2 * 2**30
READS_FILES = {
    *("ReadFile", "MatchingFiles", "MatchingFilesDataset", "WholeFileReader", "WholeFileReaderV2"),
    *("TextLineReader", "TextLineReaderV2", "TFRecordReader", "TFRecordReaderV2", "LMDBReader"),
    *("FixedLengthRecordReader", "FixedLengthRecordReaderV2", "ReaderRead"),
    *("ReaderReadV2", "ReaderReadUpTo", "ReaderReadUpToV2", "TextLineDataset", "TFRecordDataset"),
    *("TFRecordDatasetV2", "FixedLengthRecordDataset", "FixedLengthRecordDatasetV2", "CSVDataset"),
    *("CSVDatasetV2", "SqlDataset", "LoadDataset", "SnapshotDataset", "SnapshotDatasetV2"),
    *("LMDBDataset", "Restore", "RestoreSlice", "RestoreV2"),
    *(
        "GenerateVocabRemapping",
        "LoadAndRemapMatrix",
        "FileSystemSetConfiguration",
    ),
}
FILLS_TABLES = {"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"}
WRITES_FILES = {
    *("WriteFile", "Save", "SaveSlices", "SaveV2", "MergeV2Checkpoints", "SaveDataset"),
    *("SaveDatasetV2", "DatasetToTFRecord", "CreateSummaryFileWriter", "CreateSummaryDbWriter"),
    *("CacheDataset", "CacheDatasetV2", "DebugIdentityV2"),
}
CALLS_PYTHON = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
TALKS_TO_OTHERS = {"RpcCall", "RpcClient", "RpcServer", "RpcServerStart", "DataServiceDatasetV4"}
PRINTS = {"Print", "PrintV2"}
# How the loader itself saves and restores variables; only in what requests run are they odd.
OF_THE_LOADER = {"SaveV2", "RestoreV2", "MergeV2Checkpoints", "Save", "Restore", "SaveSlices"}


class Level(StrEnum):
    INFO = "info"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    level: Level
    kind: str
    message: str


def findings_of(graph: Mapping[str, Any], sizes: Mapping[str, int]) -> list[dict[str, Any]]:
    """Give what is to be known of a graph that savedmodel_reader described, warnings first."""
    found = [
        *_of_what_runs(graph["ops_run"]),
        *_of_what_is_idle(graph["ops_idle"]),
        *_unknown({*graph["ops_run"], *graph["ops_idle"]}),
        *_of_files(graph["assets"], sizes),
    ]
    found.sort(key=lambda finding: finding.level != Level.WARNING)
    return [asdict(finding) for finding in found]


def _of_what_runs(ops: Mapping[str, int]) -> Iterator[Finding]:
    for kind, names, level, words in (
        (
            "python",
            CALLS_PYTHON,
            Level.WARNING,
            "It calls Python functions that are not part of a"
            " SavedModel, so requests that reach them fail",
        ),
        (
            "reads_files",
            READS_FILES,
            Level.WARNING,
            "It reads files of the server when it loads or answers",
        ),
        (
            "writes_files",
            WRITES_FILES,
            Level.WARNING,
            "It writes files of the server when it loads or answers",
        ),
        ("network", TALKS_TO_OTHERS, Level.WARNING, "It talks to other machines when it answers"),
        ("tables", FILLS_TABLES, Level.INFO, "It fills lookup tables from a file when it loads"),
        ("prints", PRINTS, Level.INFO, "It prints, to the log or to a file, when it answers"),
    ):
        if used := sorted(names & ops.keys()):
            yield Finding(level, kind, f"{words}: {_listed(used)}.")


def _of_what_is_idle(ops: Mapping[str, int]) -> Iterator[Finding]:
    """Tell of what is in the file and no signature calls; a request cannot reach it."""
    files = (READS_FILES | WRITES_FILES) - OF_THE_LOADER
    if used := sorted((files | CALLS_PYTHON) & ops.keys()):
        yield Finding(
            Level.INFO, "idle", f"It has functions that no signature calls, with {_listed(used)}."
        )


def _unknown(ops: set[str]) -> Iterator[Finding]:
    if unknown := sorted(ops - known_ops()):
        yield Finding(
            Level.WARNING,
            "custom_ops",
            f"It has operations that TensorFlow itself does not: {_listed(unknown)}. A server"
            " without their library cannot load it.",
        )


def _of_files(assets: Iterable[str], sizes: Mapping[str, int]) -> Iterator[Finding]:
    if names := sorted(assets):
        size = sum(sizes.get(f"assets/{name}", 0) for name in names)
        one = len(names) == 1
        yield Finding(
            Level.INFO,
            "assets",
            f"It brings {'a file' if one else f'{len(names)} files'} of its own ({size:,} bytes):"
            f" {_listed(names)}.",
        )
    total = sum(sizes.values())
    if total > LARGE_BYTES:
        yield Finding(
            Level.INFO,
            "size",
            f"It is large: {total / 1000**3:.1f} GB, which every replica loads into its memory.",
        )


@cache
def known_ops() -> frozenset[str]:
    lines = KNOWN_OPS.read_text().splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(name[:100] for name in names[:NAMED]) + more
