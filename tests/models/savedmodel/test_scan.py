"""What a scan of a SavedModel tells, without running it."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from models.models import ModelVersion
from models.savedmodel.graph_reader import _saved_model_class, describe
from models.savedmodel.scan import findings_in, is_confined
from tests.factories import bearer
from tests.models.registry import make_version
from tests.models.saved_models import graph_file
from workspace.models import Team


def found(sizes: dict[str, int] | None = None, **graph: Any) -> list[tuple[str, str, str]]:
    (described,) = describe(graph_file(**graph))["meta_graphs"]
    findings = findings_in(described, sizes or {})
    return [(finding["level"], finding["kind"], finding["message"]) for finding in findings]


def test_an_ordinary_model_has_nothing_to_tell() -> None:
    assert found(ops=("MatMul",), idle_ops=("SaveV2", "RestoreV2", "MergeV2Checkpoints")) == []


@pytest.mark.parametrize(
    ("op", "level", "kind"),
    [
        ("ReadFile", "warning", "reads_files"),
        ("RestoreV2", "warning", "reads_files"),
        ("WriteFile", "warning", "writes_files"),
        ("SaveV2", "warning", "writes_files"),
        ("EagerPyFunc", "warning", "python"),
        ("MyCompanysOp", "warning", "custom_ops"),
        ("InitializeTableFromTextFileV2", "info", "tables"),
        ("PrintV2", "info", "prints"),
    ],
)
def test_what_a_signature_calls_is_told(op: str, level: str, kind: str) -> None:
    told = found(ops=("MatMul", op))
    ((told_level, told_kind, message),) = [each for each in told if each[1] != "unconfined"]
    assert (told_level, told_kind) == (level, kind)
    assert f": {op}." in message


def test_what_no_signature_calls_is_told_as_that() -> None:
    reach, (level, kind, message) = found(idle_ops=("ReadFile", "PyFunc"))
    assert reach[1] == "unconfined"
    assert (level, kind) == ("info", "idle")
    assert "no signature calls, with PyFunc, ReadFile" in message


def test_warnings_come_before_assets_and_size() -> None:
    told = found(
        {"assets/words.txt": 12, "saved_model.pb": 3 * 2**30},
        assets=("words.txt",),
        ops=("PyFunc",),
    )
    assert [kind for _, kind, _ in told] == ["python", "unconfined", "assets", "size"]
    assert "a file of its own (12 bytes): words.txt" in told[2][2]
    assert "3.2 GB" in told[3][2]


def test_a_version_tells_its_scan_also_when_it_is_older_than_scans(
    client: Client, bob: User, team: Team
) -> None:
    make_version(team, bob, graph={"ops": ("ReadFile",)})
    address = "/api/v1/teams/default/models/digits/versions/1"
    told = client.get(address, headers=bearer(bob)).json()["scan"]
    assert [finding["kind"] for finding in told] == ["reads_files", "unconfined"]
    ModelVersion.objects.update(scan=None)
    assert client.get(address, headers=bearer(bob)).json()["scan"] == told
    assert ModelVersion.objects.get().scan == told


def reaches(**graph: Any) -> bool:
    (described,) = describe(graph_file(**graph))["meta_graphs"]
    return not is_confined(findings_in(described, {}))


COMPUTING = ("MatMul", "Conv2D", "StatefulPartitionedCall", "StringJoin", "ParseExampleV2")
LOADING = ("SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename")


def test_a_model_that_computes_is_confined() -> None:
    assert not reaches(ops=COMPUTING, idle_ops=LOADING)
    assert not reaches(
        ops=COMPUTING, idle_ops=("ScalarSummary", "HistogramSummary", "MergeSummary")
    )


@pytest.mark.parametrize(
    "op",
    [
        *("ReadFile", "WholeFileReaderV2", "TFRecordDataset", "MatchingFiles", "RestoreV2"),
        *("WriteFile", "SaveV2", "DebugIdentityV2", "CreateSummaryFileWriter", "DumpTensor"),
        "WriteScalarSummary",
        *("PyFunc", "RpcCall", "DataServiceDatasetV4", "LoadAndRemapMatrix", "LMDBDataset"),
        *("XlaCustomCallV2", "TfLiteSubgraphExecute", "_Recv", "OpOfNobody"),
    ],
)
def test_a_model_with_any_other_operation_is_not(op: str) -> None:
    assert reaches(ops=("MatMul", op))
    assert reaches(ops=("MatMul",), idle_ops=(op,)) or op in {"RestoreV2", "SaveV2"}


@pytest.mark.parametrize(
    ("op", "name", "value", "is_path"),
    [
        ("PrintV2", "output_stream", b"stderr", False),
        ("PrintV2", "output_stream", b"log(info)", False),
        ("PrintV2", "output_stream", b"file:///root/.ssh/authorized_keys", True),
        ("PrintV2", "output_stream", None, True),
        ("DecodeProtoV2", "descriptor_source", b"", False),
        ("DecodeProtoV2", "descriptor_source", b"local://", False),
        ("DecodeProtoV2", "descriptor_source", b"bytes://\n\x00", False),
        ("DecodeProtoV2", "descriptor_source", b"/etc/passwd", True),
        ("EncodeProto", "descriptor_source", b"/etc/passwd", True),
    ],
)
def test_an_operation_that_may_name_a_file_reaches_no_further_than_it_does(
    op: str, name: str, value: bytes | None, is_path: bool
) -> None:
    graph = _saved_model_class().FromString(graph_file(ops=("MatMul", op)))
    node = graph.meta_graphs[0].graph_def.library.function[0].node_def[1]
    if value is None:
        node.attr[name].placeholder = "given by the call"
    else:
        node.attr[name].s = value
    (described,) = describe(graph.SerializeToString())["meta_graphs"]
    assert is_confined(findings_in(described, {})) is not is_path


@pytest.mark.parametrize(
    ("source", "is_foreign"),
    [("asset", False), ("elsewhere", True), ("x", True)],
    ids=["an asset", "a path of its own", "a request's input"],
)
def test_lookup_tables_may_be_filled_from_the_models_own_files_alone(
    source: str, is_foreign: bool
) -> None:
    graph = _saved_model_class().FromString(graph_file(assets=("words.txt",)))
    meta = graph.meta_graphs[0]
    meta.asset_file_def[0].tensor_info.name = "asset:0"
    for name in ("asset", "elsewhere"):
        meta.graph_def.node.add(name=name, op="Const")
    fill = meta.graph_def.library.function.add()
    fill.signature.name = "fill"
    fill.signature.input_arg.add(name="table")
    fill.signature.input_arg.add(name="file")
    fill.node_def.add(name="named", op="Identity", input=["file"])
    fill.node_def.add(
        name="init", op="InitializeTableFromTextFileV2", input=["table", "named:output:0"]
    )
    meta.graph_def.node.add(name="table", op="HashTableV2")
    call = meta.graph_def.node.add(
        name="start", op="StatefulPartitionedCall", input=["table", source]
    )
    call.attr["f"].func.name = "fill"
    (described,) = describe(graph.SerializeToString())["meta_graphs"]
    assert is_confined(findings_in(described, {})) is not is_foreign


@pytest.mark.parametrize(
    ("op", "path", "is_told"),
    [
        ("InitializeTableFromTextFileV2", "/home/ann/words.txt", True),
        ("TextLineDataset", "C:\\data\\words.txt", True),
        ("ReadFile", "gs://bucket/words.txt", True),
        ("ReadFile", "words.txt", False),
        ("StringJoin", "/home/ann/words.txt", False),
    ],
)
def test_a_path_of_the_machine_that_made_the_model_is_told(
    op: str, path: str, is_told: bool
) -> None:
    graph = _saved_model_class().FromString(graph_file())
    meta = graph.meta_graphs[0]
    constant = meta.graph_def.node.add(name="path", op="Const")
    constant.attr["value"].tensor.string_val.append(path.encode())
    load = meta.graph_def.library.function.add()
    load.signature.name = "load"
    load.signature.input_arg.add(name="file")
    load.node_def.add(name="read", op=op, input=["file", "file"])
    call = meta.graph_def.node.add(name="start", op="StatefulPartitionedCall", input=["path"])
    call.attr["f"].func.name = "load"
    (described,) = describe(graph.SerializeToString())["meta_graphs"]
    told = [one["message"] for one in findings_in(described, {}) if one["kind"] == "baked_in_paths"]
    assert [path in message for message in told] == [True] * is_told


def test_the_path_of_an_asset_is_no_path_of_another_machine() -> None:
    graph = _saved_model_class().FromString(graph_file(assets=("words.txt",)))
    meta = graph.meta_graphs[0]
    meta.asset_file_def[0].tensor_info.name = "asset:0"
    constant = meta.graph_def.node.add(name="asset", op="Const")
    constant.attr["value"].tensor.string_val.append(b"/home/ann/words.txt")
    meta.graph_def.node.add(name="read", op="ReadFile", input=["asset"])
    (described,) = describe(graph.SerializeToString())["meta_graphs"]
    assert described["baked_in_paths"] == []
