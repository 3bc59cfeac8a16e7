"""The service page as a person uses it: a form for each kind of input, charts, warnings."""

import base64
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.db import connections
from django.utils import timezone
from playwright.sync_api import Page, expect
from tensorboard.compat.proto import types_pb2

from deploy.models import KeySlot, Replica, ReplicaState, Service, ServiceState, Traffic
from deploy.services import deploy, regenerate_key
from deploy.traffic.latency_histogram import empty_buckets
from models.registration import Registration
from models.services import register_from_archive
from tests.browser import chromium, tab
from tests.deploy.fake_replicas import FakeReplica, answers, replica
from tests.models.saved_models import as_zip, model_files
from workspace.models import ComputeTarget, Team

__all__ = ["chromium", "tab"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PASSWORD = "a-password-of-the-tests"
CHANCES = {"predictions": [[0.1, 0.7, 0.2]]}
Inputs = dict[str, tuple[int, list[int] | None]]
Opened = Callable[..., FakeReplica]


@pytest.fixture(scope="module", autouse=True)
def rows_beside_a_browser() -> Iterator[None]:
    """Let a test use the database in a thread in which Playwright's event loop runs."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    yield
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


def apart(work: Callable[..., None], *arguments: Any) -> None:
    """Do something in a thread of its own, which no event loop holds."""

    def whole() -> None:
        try:
            work(*arguments)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(whole).result()


@pytest.fixture
def opened(
    web: str,
    team: Team,
    bob: User,
    target: ComputeTarget,
    tab: Page,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Opened]:
    """Yield a function that serves a model with some inputs and shows its page."""
    monkeypatch.setattr("config.asgi.django", ASGIStaticFilesHandler(get_asgi_application()))
    bob.set_password(PASSWORD)
    bob.save()
    with replica(answers(json.dumps(CHANCES).encode())) as fake:

        def furnish(inputs: Inputs) -> None:
            version = register_from_archive(
                team=team,
                by=bob,
                file=as_zip(model_files(inputs=inputs)),
                filename="m.zip",
                registration=Registration(name="digits", framework_version="2.21"),
            )
            made = deploy(team=team, by=bob, name="digits", version=version, target=target)
            Service.objects.update(state=ServiceState.HEALTHY, state_reason="")
            made.service.revisions.update(verified_at=timezone.now())
            Replica.objects.create(
                revision=made.service.revisions.get(),
                number=0,
                address=fake.address,
                state=ReplicaState.READY,
            )

        def show(inputs: Inputs, page: str = "") -> FakeReplica:
            apart(furnish, inputs)
            tab.goto(f"{web}/login/")
            tab.get_by_label("User name").fill("bob")
            tab.get_by_label("Password").fill(PASSWORD)
            tab.get_by_role("button", name="Log in").click()
            tab.wait_for_url(re.compile("/t/"))
            tab.goto(f"{web}/t/default/services/digits/{page}")
            return fake

        yield show


def score(tab: Page) -> None:
    tab.locator("#try-answer").evaluate("element => element.replaceChildren()")
    tab.get_by_role("button", name="Score").click()
    expect(tab.locator("#try-answer")).to_contain_text("200")


def last_body(fake: FakeReplica) -> str:
    return fake.requests[-1].partition(b"\r\n\r\n")[2].decode()


def instances(fake: FakeReplica) -> list[Any]:
    return list(json.loads(last_body(fake))["instances"])


IMAGE: Inputs = {"x": (types_pb2.DT_FLOAT, [-1, 28, 28])}


def png(path: Path, side: int) -> Path:
    """Write a white picture with a black left half."""
    row = b"\0" + b"\0" * (side // 2) + b"\xff" * (side - side // 2)
    parts = [
        (b"IHDR", side.to_bytes(4) * 2 + b"\x08\0\0\0\0"),
        (b"IDAT", zlib.compress(row * side)),
    ]
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in [*parts, (b"IEND", b"")]:
        content += len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)
    path.write_bytes(content)
    return path


def test_what_is_drawn_or_chosen_is_scored_as_the_model_takes_it(
    opened: Opened, tab: Page, tmp_path: Path
) -> None:
    fake = opened(IMAGE)
    box = tab.get_by_role("img", name="Image for x").bounding_box()
    assert box
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 10, steps=5)
    tab.mouse.up()
    score(tab)
    bars = tab.get_by_role("list", name="Top classes").locator("li")
    expect(bars.first).to_contain_text("70.0 %")
    (image,) = instances(fake)
    assert [len(row) for row in image] == [28] * 28
    assert image[14][14] == 1
    assert image[14][2] == 0

    with tab.expect_file_chooser() as chooser:
        tab.get_by_role("button", name="Choose an image").click()
    chooser.value.set_files(png(tmp_path / "half.png", 280))
    expect(tab.get_by_text("half.png, scaled from 280")).to_be_visible()
    tab.get_by_label("Values of the pixels").select_option("0 to 255")
    score(tab)
    (image,) = instances(fake)
    assert (image[5][3], image[5][24]) == (0, 255)


MIXED: Inputs = {
    "big": (types_pb2.DT_INT64, [-1]),
    "name": (types_pb2.DT_STRING, [-1]),
    "on": (types_pb2.DT_BOOL, [-1]),
    "pair": (types_pb2.DT_FLOAT, [-1, 2]),
}


def test_rows_of_mixed_inputs_are_sent_to_the_letter(
    opened: Opened, tab: Page, tmp_path: Path
) -> None:
    fake = opened(MIXED)
    tab.get_by_role("button", name="Add a row").click()
    first, second = tab.locator(".try-row").all()
    first.get_by_label("big").fill("9223372036854775807")
    first.get_by_label("name").fill('quote " and é')
    first.get_by_label("on").check()
    first.get_by_label("pair 0").fill("NaN")
    first.get_by_label("pair 1").fill("1e-3")
    (tmp_path / "bytes").write_bytes(b"\x00\xff")
    with tab.expect_file_chooser() as chooser:
        second.get_by_role("button", name="Use a file").click()
    chooser.value.set_files(tmp_path / "bytes")
    expect(second.get_by_label("name")).to_have_value("bytes, 2 bytes")
    score(tab)
    sent = last_body(fake)
    assert '"big": 9223372036854775807' in sent
    assert '"pair": [NaN, 0.001]' in sent
    one, two = instances(fake)
    assert (one["name"], one["on"]) == ('quote " and é', True)
    assert two["name"] == {"b64": base64.b64encode(b"\x00\xff").decode()}

    second.get_by_label("big").fill("9223372036854775808")
    before = len(fake.requests)
    tab.get_by_role("button", name="Score").click()
    is_fine = second.get_by_label("big").evaluate("element => element.validity.valid")
    assert not is_fine
    assert len(fake.requests) == before


# As TensorFlow 2.21 serializes a tf.train.Example with age [1.5, -2], n [-1, 300] and s [é, b].
EXAMPLE = bytes.fromhex(
    "0a3c"
    "0a130a03616765120c120a0a080000c03f000000c0"
    "0a150a016e12101a0e0a0cffffffffffffffffff01ac02"
    "0a0e0a017312090a070a02c3a90a0162"
)


def test_a_tf_example_is_built_from_its_features(opened: Opened, tab: Page) -> None:
    fake = opened({"examples": (types_pb2.DT_STRING, [-1])})
    for place, (name, kind, values) in enumerate(
        [
            ("age", "decimal numbers", "1.5, -2"),
            ("n", "whole numbers", "-1, 300"),
            ("s", "texts", "é, b"),
        ]
    ):
        if place:
            tab.get_by_role("button", name="Add a feature").click()
        feature = tab.locator(".try-feature").nth(place)
        feature.get_by_label("Feature").fill(name)
        feature.get_by_label("Kind of values").select_option(kind)
        feature.get_by_label("Values, comma-separated").fill(values)
    score(tab)
    (row,) = instances(fake)
    assert base64.b64decode(row["b64"]) == EXAMPLE


def test_json_may_be_written_instead(opened: Opened, tab: Page) -> None:
    fake = opened({"x": (types_pb2.DT_FLOAT, [-1, 3])})
    tab.get_by_label("x 1").fill("4")
    tab.get_by_role("button", name="JSON").click()
    request = tab.get_by_label("Request")
    expect(request).to_have_value(re.compile(r"\[0, 4, 0\]"))
    request.fill('{"instances": [[7, 8, 9]]}')
    score(tab)
    assert instances(fake) == [[7, 8, 9]]


def test_the_javascript_shown_scores(opened: Opened, tab: Page) -> None:
    fake = opened({"x": (types_pb2.DT_FLOAT, [-1, 3])})
    keys: list[str] = []
    tab.get_by_role("button", name="JavaScript").click()
    program = tab.locator("#example-javascript").inner_text()
    apart(
        lambda: keys.append(
            regenerate_key(service=Service.objects.get(), by=None, slot=KeySlot.PRIMARY)
        )
    )
    with tab.expect_console_message() as said:
        tab.evaluate(f"async () => {{ {program.replace('YOUR_KEY', keys[0])} }}")
    assert said.value.args[0].json_value() == CHANCES
    assert instances(fake) == [[0, 0, 0]]


def test_charts_are_drawn_for_each_revision(opened: Opened, tab: Page) -> None:
    opened(IMAGE)
    revision = Service.objects.get().revisions.get()
    latencies = empty_buckets()
    latencies[10] = 50
    Traffic.objects.create(
        revision=revision,
        at=timezone.now() - timedelta(minutes=1),
        source="a",
        requests=50,
        latencies=latencies,
    )
    tab.get_by_role("link", name="Traffic").click()
    for title in ("Requests per second", "Latency"):
        chart = tab.locator("figure").filter(has_text=title)
        expect(chart.locator("canvas")).to_be_visible()
        expect(chart).to_contain_text("revision 1")
    tab.get_by_role("link", name="15m").click()
    expect(tab.locator("figure canvas").first).to_be_visible()


def test_opening_to_everyone_warns_and_asks(opened: Opened, tab: Page) -> None:
    opened(IMAGE, "settings/")
    warning = tab.get_by_text("anyone who can reach the address")
    expect(warning).to_be_hidden()
    tab.get_by_label("Everyone who can reach the address").check()
    expect(warning).to_be_visible()
    part = tab.get_by_role("region", name="Access policy")
    part.get_by_role("button", name="Save").click()
    expect(tab.get_by_text("Open it to everyone?")).to_be_visible()
    tab.locator("#confirm-yes").click()
    expect(tab.get_by_text("Saved Access policy.")).to_be_visible()
    assert Service.objects.get().access_policy == "open"
