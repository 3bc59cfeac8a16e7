"""Metrics: read from event files and JSON lines as they grow, and kept once."""

import json
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from redis import Redis

from runs.files.folders import logs_folder
from runs.files.quota import quota_owner
from runs.files.store import append_log_file
from runs.metrics import ingestion, series_limits, store
from runs.metrics.files import _masked_crc, holds_metrics, prefix_of
from runs.metrics.ingestion import enqueue_ingest, finish_metrics, ingest_metrics, reset_cursor
from runs.metrics.series import series_of
from runs.models import MetricCursor, MetricSeries, ProcessGroup, Run, RunEvent
from tests.factories import bearer
from tests.runs.ingest.runner_calls import running
from workspace.models import Team

pytestmark = pytest.mark.django_db
EVENTS = "logs/train/events.out.tfevents.1.host"
LINES = "logs/metrics.jsonl"


def framed(record: bytes) -> bytes:
    length = struct.pack("<Q", len(record))
    return length + struct.pack("<I", _masked_crc(length)) + record + bytes(4)


def event(step: int, **values: Any) -> bytes:
    """Make an event as TensorFlow 1 writes scalars."""
    from tensorboard.compat.proto.event_pb2 import Event

    made = Event(wall_time=1000.0 + step, step=step)
    for tag, value in values.items():
        made.summary.value.add(tag=tag, simple_value=value)
    return framed(made.SerializeToString())


def tensor_event(step: int, tag: str, plugin: str = "scalars", **tensor: Any) -> bytes:
    """Make an event as TensorFlow 2 writes scalars."""
    from tensorboard.compat.proto.event_pb2 import Event

    made = Event(wall_time=1000.0 + step, step=step)
    value = made.summary.value.add(tag=tag)
    value.metadata.plugin_data.plugin_name = plugin
    value.tensor.dtype = tensor.pop("dtype", 1)
    for name, content in tensor.items():
        if isinstance(content, bytes):
            setattr(value.tensor, name, content)
        else:
            getattr(value.tensor, name).extend(content)
    return framed(made.SerializeToString())


def ship(group: ProcessGroup, path: str, content: bytes, process: str = "worker-0") -> None:
    folder = logs_folder(group.label, process)
    size = (folder / path).stat().st_size if (folder / path).exists() else 0
    append_log_file(quota_owner(group), process, path, size, content)


def values(run: Run, name: str) -> list[tuple[int, float | None]]:
    return [
        (point.step, point.value) for series in series_of(run, name=name) for point in series.points
    ]


def test_scalars_of_tensorflow_1_and_2_are_read(group: ProcessGroup, run: Run) -> None:
    ship(group, EVENTS, framed(b"") + event(1, loss=0.5))
    ship(group, EVENTS, tensor_event(2, "acc", float_val=[0.25]))
    ship(group, EVENTS, tensor_event(3, "acc", tensor_content=struct.pack("<f", 0.5)))
    ship(group, EVENTS, tensor_event(4, "acc"))
    ship(group, EVENTS, tensor_event(4, "wide", dtype=2, double_val=[1e300]))
    ship(group, EVENTS, tensor_event(4, "half", dtype=19, half_val=[0x3C00]))
    finish_metrics(group.pk)
    assert values(run, "train/loss") == [(1, 0.5)]
    assert values(run, "train/acc") == [(2, 0.25), (3, 0.5), (4, 0.0)]
    assert values(run, "train/wide") == [(4, 1e300)]
    assert values(run, "train/half") == [(4, 1.0)]


def test_what_is_no_scalar_is_left_out(group: ProcessGroup, run: Run) -> None:
    ship(group, EVENTS, tensor_event(1, "text", plugin="text", dtype=7, string_val=[b"x"]))
    ship(group, EVENTS, tensor_event(1, "histogram", plugin="histograms", float_val=[1.0, 2.0]))
    ship(group, EVENTS, tensor_event(1, "loose", plugin="", float_val=[1.0]))
    finish_metrics(group.pk)
    assert not MetricSeries.objects.exists()


def test_a_series_described_once_goes_on_without_its_description(
    group: ProcessGroup, run: Run
) -> None:
    ship(group, EVENTS, tensor_event(1, "loss", float_val=[0.5]))
    ingest(run)
    ship(group, EVENTS, tensor_event(2, "loss", plugin="", float_val=[0.25]))
    ingest(run)
    assert values(run, "train/loss") == [(1, 0.5), (2, 0.25)]


def ingest(run: Run) -> None:
    """Read on as a worker's job does, without the broker that it would be told by."""
    group = run.attempts.get()
    ingestion._catch_up(run, group, is_final=False)


def test_a_record_that_is_not_whole_yet_is_left_for_the_next_time(
    group: ProcessGroup, run: Run
) -> None:
    data = event(1, loss=0.5) + event(2, loss=0.25)
    for byte in range(len(data)):
        ship(group, EVENTS, data[byte : byte + 1])
        ingest(run)
    assert values(run, "train/loss") == [(1, 0.5), (2, 0.25)]
    assert [series.total for series in series_of(run, names_only=True)] == [2]


def test_a_damaged_file_is_given_up_and_said_so_once(group: ProcessGroup, run: Run) -> None:
    ship(group, EVENTS, event(1, loss=0.5) + b"garbage that is no record" * 3)
    ingest(run)
    ship(group, EVENTS, event(2, loss=0.25))
    ingest(run)
    finish_metrics(group.pk)
    assert values(run, "train/loss") == [(1, 0.5)]
    told = RunEvent.objects.get(run=run, type="metrics.refused")
    assert EVENTS in told.data["message"]


def test_json_lines_are_read_in_both_forms(group: ProcessGroup, run: Run) -> None:
    lines = [
        {"step": 1, "loss": 0.5, "accuracy": 1, "time": 1000.0},
        {"name": "rate", "value": 1e-3, "step": 2.0},
    ]
    ship(group, LINES, "".join(json.dumps(line) + "\n" for line in lines).encode())
    ship(group, LINES, b'{"step": 3, "loss": 0.1}')
    ingest(run)
    assert values(run, "loss") == [(1, 0.5)]
    finish_metrics(group.pk)
    assert values(run, "loss") == [(1, 0.5), (3, 0.1)]
    assert values(run, "rate") == [(2, 0.001)]
    assert series_of(run, name="accuracy")[0].points[0].at == datetime.fromtimestamp(1000, UTC)


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[1]",
        '{"loss": 1}',
        '{"step": "x", "loss": 1}',
        '{"step": 1e400, "loss": 1}',
        '{"step": 99999999999999999999, "loss": 1}',
        '{"step": 1, "loss": "high"}',
        '{"step": 1, "loss": [1]}',
        '{"step": 1, "loss": true}',
        '{"step": 1}',
        '{"step": 1, "loss": null}',
        '{"step": 1, "name": "x", "value": null}',
        '{"step": 1, "name": 5, "value": 1}',
        "[" * 100_000,
        "\x00",
    ],
)
def test_a_line_that_makes_no_sense_is_told_and_the_others_kept(
    group: ProcessGroup, run: Run, line: str
) -> None:
    ship(group, LINES, f'{line}\n{{"step": 1, "fine": 2}}\n'.encode())
    finish_metrics(group.pk)
    assert values(run, "fine") == [(1, 2.0)]
    assert "metrics.jsonl" in RunEvent.objects.get(type="metrics.refused").data["message"]


def test_a_value_that_is_no_number_costs_the_others_of_its_line_nothing(
    group: ProcessGroup, run: Run
) -> None:
    lines = b"""{"step": 1, "loss": 0.5, "phase": "warm-up", "val": null}
{"step": 2, "a": "no", "loss": 0.4, "val": 0.6}
"""
    ship(group, LINES, lines)
    finish_metrics(group.pk)
    assert values(run, "loss") == [(1, 0.5), (2, 0.4)]
    assert values(run, "val") == [(2, 0.6)]
    told = RunEvent.objects.get(type="metrics.refused").data["message"]
    assert "has a value of 'phase' that is not a number" in told


def test_nothing_is_told_of_what_is_null(group: ProcessGroup, run: Run) -> None:
    ship(group, LINES, b'{"step": 1, "loss": 0.5, "val": null}\n')
    finish_metrics(group.pk)
    assert values(run, "loss") == [(1, 0.5)]
    assert not RunEvent.objects.filter(type="metrics.refused").exists()


def test_nan_and_the_infinities_are_kept_and_answered_as_words(
    group: ProcessGroup, run: Run, client: Client, vera: Any
) -> None:
    ship(group, EVENTS, event(1, x=float("nan")) + event(2, x=float("inf")))
    ship(group, EVENTS, event(3, x=float("-inf")))
    ship(
        group, LINES, b'{"step": 1, "y": NaN}\n{"step": 2, "y": "Infinity"}\n{"step":3,"y":1e999}\n'
    )
    finish_metrics(group.pk)
    answer = client.get(
        f"/api/v1/teams/{run.team.slug}/runs/{run.number}/metrics", headers=bearer(vera)
    )
    shown = {
        series["name"]: [point["value"] for point in series["points"]]
        for series in json.loads(answer.content, parse_constant=pytest.fail)["series"]
    }
    assert shown == {
        "train/x": ["NaN", "Infinity", "-Infinity"],
        "y": ["NaN", "Infinity", "Infinity"],
    }


def test_a_long_name_and_too_many_names_are_refused_in_words(
    group: ProcessGroup, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series_limits, "MAX_SERIES", 3)
    monkeypatch.setattr(series_limits, "KEPT_FREE", 0)
    ship(group, LINES, json.dumps({"step": 1, "n" * 251: 1, "fine": 2}).encode() + b"\n")
    ship(group, "logs/a/metrics.jsonl", json.dumps({"step": 1, "a\nb": 1}).encode() + b"\n")
    many = {"step": 1, **{f"name{n}": n for n in range(10)}}
    ship(group, "logs/z/metrics.jsonl", json.dumps(many).encode() + b"\n")
    finish_metrics(group.pk)
    assert MetricSeries.objects.count() == 3
    told = [event.data["message"] for event in RunEvent.objects.filter(type="metrics.refused")]
    assert len(told) == 3
    assert any("251 characters" in message for message in told)


def test_each_process_of_several_has_series_of_its_own(team: Team) -> None:
    group = running(team, "worker-0", "worker-1")
    assert group.run is not None
    for process in ("worker-0", "worker-1"):
        ship(group, LINES, b'{"step": 1, "loss": 1}\n', process)
    finish_metrics(group.pk)
    assert [series.process for series in series_of(group.run)] == ["worker-0", "worker-1"]


def test_the_points_and_the_cursor_are_stored_together_or_not_at_all(
    group: ProcessGroup, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship(group, LINES, b'{"step": 1, "loss": 1}\n')

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "append", killed)
        with pytest.raises(KeyboardInterrupt):
            ingest(run)
    assert MetricCursor.objects.get().offset == 0
    ingest(run)
    ingest(run)
    assert values(run, "loss") == [(1, 1.0)]


def test_of_two_readers_of_one_stretch_one_stores_it(group: ProcessGroup, run: Run) -> None:
    ship(group, LINES, b'{"step": 1, "loss": 1}\n')
    ingest(run)
    stale = MetricCursor.objects.get()
    stale.offset = 0
    location = logs_folder(group.label, "worker-0") / LINES
    room = series_limits.SeriesRoom(run)
    ingestion._FileReader(run, group, "", LINES, location, stale, {}, room).read_on(False)
    assert values(run, "loss") == [(1, 1.0)]


def test_a_file_that_begins_anew_repeats_no_point(group: ProcessGroup, run: Run) -> None:
    ship(group, LINES, b'{"step": 1, "loss": 1}\n{"step": 2, "loss": 2}\n')
    ingest(run)
    reset_cursor(run.pk, group.label, "worker-0", LINES)
    owner = quota_owner(group)
    append_log_file(owner, "worker-0", LINES, 0, b'{"step": 1, "loss": 1}\n', restarts=True)
    ingest(run)
    ship(group, LINES, b'{"step": 2, "loss": 2}\n{"step": 3, "loss": 3}\n')
    finish_metrics(group.pk)
    assert values(run, "loss") == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_what_keras_workers_write_again_is_charted_once() -> None:
    assert holds_metrics("logs/train/events.out.tfevents.1.node.2.0.v2")
    assert not holds_metrics("logs/workertemp_1/train/events.out.tfevents.1.node.2.0.v2")


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        ("logs/events", ""),
        ("logs/train/events", "train/"),
        ("logs/fit/2/validation/events", "fit/2/validation/"),
    ],
)
def test_folders_below_logs_become_part_of_the_name(path: str, prefix: str) -> None:
    assert prefix_of(path) == prefix


@pytest.mark.django_db(transaction=True)
def test_jobs_are_queued_once_until_they_begin_and_read_everything(
    group: ProcessGroup, run: Run, broker: Redis
) -> None:
    import django_rq

    for _ in range(5):
        enqueue_ingest(run.pk)
    assert django_rq.get_queue("metrics").count == 1
    ship(group, LINES, b'{"step": 1, "loss": 1}\n')
    ingest_metrics(run.pk)
    assert values(run, "loss") == [(1, 1.0)]
    enqueue_ingest(run.pk)
    assert django_rq.get_queue("metrics").count == 2


def test_a_job_leaves_its_share_to_the_one_at_work(
    group: ProcessGroup, run: Run, broker: Redis
) -> None:
    ship(group, LINES, b'{"step": 1, "loss": 1}\n')
    with ingestion._lock_run(group.label):
        ingest_metrics(run.pk)
    assert values(run, "loss") == []
    ingest_metrics(run.pk)
    assert values(run, "loss") == [(1, 1.0)]


def test_without_a_broker_metrics_are_read_at_the_end(
    group: ProcessGroup, run: Run, settings: Any, tmp_path: Path
) -> None:
    settings.RQ_QUEUES = {"metrics": {"URL": f"unix://{tmp_path}/no-broker"}}
    ship(group, LINES, b'{"step": 1, "loss": 1}\n')
    enqueue_ingest(run.pk)
    finish_metrics(group.pk)
    assert values(run, "loss") == [(1, 1.0)]


def test_tensorboards_own_reader_agrees(group: ProcessGroup, run: Run, tmp_path: Path) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(tmp_path))
    for step in range(100):
        written = Event(wall_time=1000.0 + step, step=step)
        written.summary.value.add(tag="loss", simple_value=step / 2)
        writer.add_event(written)
    writer.close()
    [file] = tmp_path.glob("*tfevents*")
    ship(group, f"logs/{file.name}", file.read_bytes())
    finish_metrics(group.pk)
    assert values(run, "loss") == [(step, step / 2) for step in range(100)]
