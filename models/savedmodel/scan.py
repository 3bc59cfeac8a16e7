"""What a reader should know of a SavedModel before it runs: files, Python, operations, size."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

KNOWN_OPS = Path(__file__).with_name("known_ops.txt")
NAMED = 8
LARGE_BYTES = 2 * 2**30
FILE_READING_OPS = {
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
# Families of operations that reach beyond a graph's own tensors: files, networks, other programs.
REACHING_OPS = re.compile(
    r"Dataset|Reader|Summary|Rpc|Collective|Nccl|TPU|Tpu|CustomCall|Debug|Dump|Snapshot|Restore"
    r"|Save|File|PyFunc|Remap|Iterator|TfLite|Abort|Checkpoint|^_?(Host)?(Send|Recv)"
)
# They make a message of numbers, and write it nowhere: graphs of tf.estimator are full of them.
SUMMARY_MESSAGE_OPS = {
    *("ScalarSummary", "HistogramSummary", "ImageSummary", "AudioSummary", "AudioSummaryV2"),
    *("TensorSummary", "TensorSummaryV2", "MergeSummary"),
}
TABLE_INITIALIZER_OPS = {"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"}
FILE_WRITING_OPS = {
    *("WriteFile", "Save", "SaveSlices", "SaveV2", "MergeV2Checkpoints", "SaveDataset"),
    *("SaveDatasetV2", "DatasetToTFRecord", "CreateSummaryFileWriter", "CreateSummaryDbWriter"),
    *("CacheDataset", "CacheDatasetV2", "DebugIdentityV2"),
}
PYTHON_OPS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
NETWORK_OPS = {"RpcCall", "RpcClient", "RpcServer", "RpcServerStart", "DataServiceDatasetV4"}
PRINT_OPS = {"Print", "PrintV2"}
# How the loader itself saves and restores variables; only in what requests run are they odd.
LOADER_OPS = {
    *("SaveV2", "RestoreV2", "MergeV2Checkpoints", "Save", "Restore", "SaveSlices"),
    *("RestoreSlice", "ShardedFilename"),
}
LIBRARY_OPS = "library_ops"  # the kind of the finding that library_ops looks for
# Libraries of operations that TensorFlow Serving is built with.
SERVED_LIBRARIES = {
    "TensorFlow Text": re.compile(
        r"TFText>.+|CaseFoldUTF8|ConstrainedSequence|FastWordpiece\w+|FindSourceOffsets"
        r"|MaxSpanningTree|NormalizeUTF8(WithOffsetsMap)?|PhraseTokenize|RegexSplitWithOffsets|RougeL"
        r"|SentenceFragments(V2)?|Sentencepiece(\w+)?Op|SplitMerge(FromLogits)?TokenizeWithOffsets"
        r"|TokenizerFromLogits|UnicodeScriptTokenizeWithOffsets"
        r"|WhitespaceTokenizeWithOffsets(V2)?|WordpieceTokenizeWithOffsets"
    ),
    "TensorFlow Decision Forests": re.compile(r"SimpleML\w+"),
}
UNCONFINED = "unconfined"  # the kind of the finding that is_confined looks for


class FindingLevel(StrEnum):
    INFO = "info"
    WARNING = "warning"


@dataclass(frozen=True)
class ScanFinding:
    level: FindingLevel
    kind: str
    message: str


def findings_in(graph: Mapping[str, Any], sizes: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return what is to be known of a graph that savedmodel_reader described, warnings first."""
    found = [
        *_findings_in_executed_ops(graph["executed_ops"]),
        *_findings_in_unused_functions(graph["unused_ops"]),
        *_findings_in_reach(graph),
        *_findings_in_baked_in_paths(graph["baked_in_paths"]),
        *_findings_in_signatures(graph["signatures"]),
        *_findings_in_custom_ops({*graph["executed_ops"], *graph["unused_ops"]}),
        *_findings_in_files(graph["assets"], sizes),
    ]
    found.sort(key=lambda finding: finding.level != FindingLevel.WARNING)
    return [asdict(finding) for finding in found]


def is_confined(findings: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether a model computes and does nothing else, by what a scan found."""
    return not any(finding["kind"] == UNCONFINED for finding in findings)


def unscanned(reason: str) -> list[dict[str, Any]]:
    """Return the finding of a model whose graph cannot be read: what it reaches is not known."""
    message = f"Its graph could not be read, so it may reach beyond itself: {reason}"
    return [asdict(ScanFinding(FindingLevel.WARNING, UNCONFINED, message))]


def _findings_in_reach(graph: Mapping[str, Any]) -> Iterator[ScanFinding]:
    """Tell of all that is not known to stay within the graph, whether a signature calls it or not.

    How the loader restores variables is left out, unless a signature calls it.
    """
    executed, unused = graph["executed_ops"].keys(), graph["unused_ops"].keys()
    found = {op for op in executed | unused if _is_reaching(op)}
    found -= LOADER_OPS - executed
    found -= TABLE_INITIALIZER_OPS
    found |= set(graph["ops_with_paths"])
    listed = sorted(found)
    if graph["foreign_table_files"]:
        listed.append("lookup tables from files that are not its own")
    if listed:
        yield ScanFinding(
            FindingLevel.WARNING,
            UNCONFINED,
            "It can be deployed on targets with containers alone, since it may reach beyond itself:"
            f" {_listed(listed)}.",
        )


def _findings_in_baked_in_paths(paths: list[str]) -> Iterator[ScanFinding]:
    """Tell of files of the machine that made the model, which the server will not have."""
    if paths:
        yield ScanFinding(
            FindingLevel.WARNING,
            "baked_in_paths",
            f"It reads {_listed(paths)}, as the machine that made it names it. A server without"
            " that file cannot load or answer. Export the model with the file among its assets, by"
            " tf.saved_model.Asset or tf.lookup.TextFileInitializer on an attribute of the model.",
        )


def _is_reaching(op: str) -> bool:
    if op in SUMMARY_MESSAGE_OPS:
        return False
    return op not in known_ops() or REACHING_OPS.search(op) is not None


def _findings_in_executed_ops(ops: Mapping[str, int]) -> Iterator[ScanFinding]:
    for kind, names, level, words in (
        (
            "python",
            PYTHON_OPS,
            FindingLevel.WARNING,
            "It calls Python functions that are not part of a"
            " SavedModel, so requests that reach them fail",
        ),
        (
            "reads_files",
            FILE_READING_OPS,
            FindingLevel.WARNING,
            "It reads files of the server when it loads or answers",
        ),
        (
            "writes_files",
            FILE_WRITING_OPS,
            FindingLevel.WARNING,
            "It writes files of the server when it loads or answers",
        ),
        (
            "network",
            NETWORK_OPS,
            FindingLevel.WARNING,
            "It talks to other machines when it answers",
        ),
        (
            "tables",
            TABLE_INITIALIZER_OPS,
            FindingLevel.INFO,
            "It fills lookup tables from a file when it loads",
        ),
        (
            "prints",
            PRINT_OPS,
            FindingLevel.INFO,
            "It prints, to the log or to a file, when it answers",
        ),
    ):
        if used := sorted(names & ops.keys()):
            yield ScanFinding(level, kind, f"{words}: {_listed(used)}.")


def _findings_in_unused_functions(ops: Mapping[str, int]) -> Iterator[ScanFinding]:
    """Tell of what is in the file and no signature calls; a request cannot reach it."""
    files = (FILE_READING_OPS | FILE_WRITING_OPS) - LOADER_OPS
    if used := sorted((files | PYTHON_OPS) & ops.keys()):
        yield ScanFinding(
            FindingLevel.INFO,
            "idle",
            f"It has functions that no signature calls, with {_listed(used)}.",
        )


def _findings_in_signatures(signatures: Mapping[str, Any]) -> Iterator[ScanFinding]:
    """Tell of signatures that no request can call, as model servers take and give arrays alone."""
    for name, signature in signatures.items():
        parts = [
            f"{side[:-1]} {tensor} is {described['encoding']}"
            for side in ("inputs", "outputs")
            for tensor, described in signature[side].items()
            if "encoding" in described
        ]
        if parts:
            yield ScanFinding(
                FindingLevel.WARNING,
                "not_callable",
                f"The signature {name} cannot be called by REST or gRPC: {_listed(parts)}. Export"
                " it with dense tensors, made by to_tensor() or tf.sparse.to_dense().",
            )


def library_ops(findings: Iterable[Mapping[str, Any]]) -> str:
    """Return what a scan says of operations that TensorFlow Serving has and our server has not."""
    told = (finding["message"] for finding in findings if finding["kind"] == LIBRARY_OPS)
    return " ".join(told)


def _findings_in_custom_ops(ops: set[str]) -> Iterator[ScanFinding]:
    unknown = sorted(ops - known_ops())
    for library, pattern in SERVED_LIBRARIES.items():
        if used := [op for op in unknown if pattern.fullmatch(op)]:
            unknown = [op for op in unknown if op not in used]
            yield ScanFinding(
                FindingLevel.WARNING,
                LIBRARY_OPS,
                f"It has operations of {library}: {_listed(used)}. The image tensorflow/serving has"
                " them, Trainyard's own model server has not.",
            )
    if unknown:
        yield ScanFinding(
            FindingLevel.WARNING,
            "custom_ops",
            f"It has operations that TensorFlow itself does not: {_listed(unknown)}. A server"
            " without their library cannot load it.",
        )


def _findings_in_files(assets: Iterable[str], sizes: Mapping[str, int]) -> Iterator[ScanFinding]:
    if names := sorted(assets):
        size = sum(sizes.get(f"assets/{name}", 0) for name in names)
        one = len(names) == 1
        yield ScanFinding(
            FindingLevel.INFO,
            "assets",
            f"It brings {'a file' if one else f'{len(names)} files'} of its own ({size:,} bytes):"
            f" {_listed(names)}.",
        )
    total = sum(sizes.values())
    if total > LARGE_BYTES:
        yield ScanFinding(
            FindingLevel.INFO,
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
