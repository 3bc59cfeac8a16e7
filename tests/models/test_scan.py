"""What a scan of a SavedModel tells, without running it."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from models.models import ModelVersion
from models.savedmodel_reader import describe
from models.scan import findings_of
from tests.factories import bearer
from tests.models.registry import make_version
from tests.models.saved_models import graph_file
from workspace.models import Team


def found(sizes: dict[str, int] | None = None, **graph: Any) -> list[tuple[str, str, str]]:
    (described,) = describe(graph_file(**graph))["meta_graphs"]
    findings = findings_of(described, sizes or {})
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
    ((told_level, told_kind, message),) = found(ops=("MatMul", op))
    assert (told_level, told_kind) == (level, kind)
    assert f": {op}." in message


def test_what_no_signature_calls_is_told_as_that() -> None:
    ((level, kind, message),) = found(idle_ops=("ReadFile", "PyFunc"))
    assert (level, kind) == ("info", "idle")
    assert "no signature calls, with PyFunc, ReadFile" in message


def test_warnings_come_before_assets_and_size() -> None:
    told = found(
        {"assets/words.txt": 12, "saved_model.pb": 3 * 2**30},
        assets=("words.txt",),
        ops=("PyFunc",),
    )
    assert [kind for _, kind, _ in told] == ["python", "assets", "size"]
    assert "a file of its own (12 bytes): words.txt" in told[1][2]
    assert "3.2 GB" in told[2][2]


def test_a_version_tells_its_scan_also_when_it_is_older_than_scans(
    client: Client, bob: User, team: Team
) -> None:
    make_version(team, bob, graph={"ops": ("ReadFile",)})
    address = "/api/v1/teams/default/models/digits/versions/1"
    told = client.get(address, headers=bearer(bob)).json()["scan"]
    assert [finding["kind"] for finding in told] == ["reads_files"]
    ModelVersion.objects.update(scan=None)
    assert client.get(address, headers=bearer(bob)).json()["scan"] == told
    assert ModelVersion.objects.get().scan == told
