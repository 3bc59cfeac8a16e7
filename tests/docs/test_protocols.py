"""docs/protocols.md lists what websockets send, what events hold and what runners call."""

import ast
import re
from dataclasses import fields
from typing import Any, cast

import pytest

from deploy.consumers import ReplicaStatus, ServiceStatusMessage
from deploy.routing import websocket_urlpatterns as service_websockets
from runs.events import EVENT_TYPES, EventData, RunSubmitted
from runs.ingest.app import HANDLERS
from runs.lifecycle import EndDetail, PhaseTime
from runs.live.messages import LogMessage, RedrawnLines, WebsocketMessage
from runs.live.routing import websocket_urlpatterns as run_websockets
from runs.supervision.error_hints import ErrorHint
from tests.docs.pages import ROOT, codes_in, rows_of
from workspace.platform.json_records import JsonRecord

PAGE = "docs/protocols.md"
OBJECTS: dict[str, Any] = {
    "phases": PhaseTime,
    "end_detail": EndDetail,
    "hint": ErrorHint,
    "replicas": ReplicaStatus,
    "redrawn": RedrawnLines,
}


def subclasses(kind: type[JsonRecord]) -> list[type[JsonRecord]]:
    """Return the dataclasses below a class, however deep."""
    return [found for each in kind.__subclasses__() for found in (each, *subclasses(each))]


def sent(kind: type[JsonRecord]) -> dict[str, list[str]]:
    return {each.type: list(each.json_fields()) for each in subclasses(kind)}


def documented(header: str) -> dict[str, list[str]]:
    return {codes_in(kind)[0]: codes_in(listed) for kind, listed, *_ in rows_of(PAGE, header)}


def test_every_message_and_event_is_documented_with_its_fields_and_nothing_else() -> None:
    assert documented("type") == sent(WebsocketMessage) | sent(EventData)


def test_the_objects_inside_messages_are_documented_with_their_fields() -> None:
    assert documented("object") == {
        name: [field.name for field in fields(kind)] for name, kind in OBJECTS.items()
    }


def test_every_event_can_be_read_back() -> None:
    assert set(EVENT_TYPES.values()) == set(subclasses(EventData))


@pytest.mark.parametrize("kind", [RunSubmitted, LogMessage, ServiceStatusMessage])
def test_an_unknown_field_is_refused_where_a_record_is_made(kind: type[JsonRecord]) -> None:
    known = dict.fromkeys(kind.json_fields(), "")
    with pytest.raises(TypeError, match="nobody_knows"):
        kind(**known, nobody_knows=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="nobody_knows"):
        kind.from_json({**known, "nobody_knows": 1})


def test_events_and_messages_are_made_nowhere_else() -> None:
    """A dict with a documented type, or a row of RunEvent, would pass by the dataclasses."""
    types = {*sent(WebsocketMessage), *sent(EventData)} - {"log", "build", "metrics", "usage"}
    makers = {"runs/events.py", "runs/live/messages.py", "deploy/consumers.py"}
    for path in [*ROOT.glob("runs/**/*.py"), *ROOT.glob("deploy/**/*.py")]:
        name = path.relative_to(ROOT).as_posix()
        if name in makers or "/migrations/" in name:
            continue
        text = path.read_text()
        found = {kind for kind in types if f'"{kind}"' in text}
        assert not found, f"{name} writes {found} out"
        assert "RunEvent.objects.create" not in text, name


def test_every_endpoint_of_runners_is_documented() -> None:
    calls = {codes_in(call)[0].partition("?")[0] for call, *_ in rows_of(PAGE, "call")}
    assert calls == {f"{method} {path}" for method, path in HANDLERS}


def test_every_field_of_the_spec_is_documented() -> None:
    tree = ast.parse((ROOT / "runs/ingest/processes.py").read_text())
    (spec,) = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "_spec"
    ]
    (returned,) = [node.value for node in ast.walk(spec) if isinstance(node, ast.Return)]
    keys = {cast("ast.Constant", key).value for key in cast("ast.Dict", returned).keys if key}
    assert {name for row in rows_of(PAGE, "field") for name in codes_in(row[0])} == keys


def test_every_websocket_is_documented() -> None:
    patterns = [str(route.pattern) for route in [*run_websockets, *service_websockets]]
    addresses = [codes_in(row[0])[0] for row in rows_of(PAGE, "address")]
    assert len(addresses) == len(patterns)
    for pattern, address in zip(patterns, addresses, strict=True):
        example = address.removeprefix("/").replace("NUMBER", "1").lower()
        assert re.fullmatch(pattern.rstrip("$"), example), (pattern, address)
