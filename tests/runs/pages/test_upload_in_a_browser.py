"""The pages of a new run in a real browser: choose or drop, review, send, fill in, submit."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.test import Client
from playwright.sync_api import Browser, Page, Request, Route, expect
from pytest_django.live_server_helper import LiveServer

from runs.models import Run, Snapshot
from runs.source import snapshots
from tests.browser import chromium
from tests.factories import make_target
from tests.runs.source.archive_builders import tar_gz_of, zip_with
from workspace.models import Team

__all__ = ["chromium"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.usefixtures("broker"),
]

FILES = {
    "train.py": b"print('training')\n",
    "lib/model.py": b"print('model')\n",
    ".gitignore": b"*.log\n",
    "debug.log": b"noise\n",
    ".env": b"KEY=1\n",
    ".git/HEAD": b"ref: refs/heads/main\n",
}


def serve_static(route: Route) -> None:
    """Answer for /static/, which the test's server serves only from collected files."""
    found = finders.find(urlsplit(route.request.url).path.removeprefix("/static/"))
    if found:
        route.fulfill(path=found)
    else:
        route.fulfill(status=404, body="")


class NewRunPage:
    """The pages of a new run, as Bob sees them."""

    def __init__(self, tab: Page, address: str) -> None:
        self.tab = tab
        self.address = address
        self.bodies: list[Request] = []
        tab.on("request", lambda request: self.bodies.append(request))

    def open(self) -> None:
        self.bodies.clear()
        self.tab.goto(self.address)

    def choose_folder(self, folder: Path) -> None:
        self.tab.locator("[data-input=folder]").set_input_files(folder)

    def drop(self, path: Path) -> None:
        """Drop a file or folder as a file manager does, which scripts of a page cannot."""
        box = self.tab.locator("[data-drop]").bounding_box()
        assert box
        session = self.tab.context.new_cdp_session(self.tab)
        for kind in ("dragEnter", "dragOver", "drop"):
            session.send(
                "Input.dispatchDragEvent",
                {
                    "type": kind,
                    "x": box["x"] + 20,
                    "y": box["y"] + 20,
                    "data": {"items": [], "files": [str(path)], "dragOperationsMask": 1},
                },
            )

    def use_files(self) -> None:
        self.tab.get_by_role("button", name="Use these files").click()
        expect(self.tab.get_by_role("button", name="Submit the run")).to_be_visible()

    def asked(self) -> list[str]:
        """Name what was asked of the API of uploads since the page was opened."""
        return [
            request.url.rpartition("/uploads/")[2].partition("?")[0]
            for request in self.bodies
            if "/uploads/" in request.url
        ]


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for path, body in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(body)
    return folder


@pytest.fixture(scope="module", autouse=True)
def rows_beside_a_browser() -> Iterator[None]:
    """Let tests read rows although Playwright keeps an event loop in their thread."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        yield


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "digits", FILES)


@pytest.fixture
def page(
    chromium: Browser,
    live_server: LiveServer,
    bob: User,
    team: Team,
) -> Iterator[NewRunPage]:
    make_target(team)
    client = Client()
    client.force_login(bob)
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.add_cookies(
        [{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}]
    )
    tab = context.new_page()
    troubles: list[str] = []
    tab.route("**/static/**", serve_static)
    tab.on("pageerror", lambda error: troubles.append(str(error)))
    tab.on(
        "console",
        lambda message: (
            troubles.append(message.text) if "Content Security Policy" in message.text else None
        ),
    )
    yield NewRunPage(tab, f"{live_server.url}/t/default/runs/new/")
    context.close()
    assert troubles == []


def source_of(snapshot: Snapshot) -> dict[str, bytes]:
    return {path: reader() for path, reader in snapshots.read(snapshot).items()}


def test_a_folder_is_reviewed_sent_and_submitted(page: NewRunPage, source: Path):
    page.open()
    page.choose_folder(source)
    review = page.tab.locator("[data-review]")
    expect(review.get_by_role("heading")).to_have_text(re.compile("4 files"))
    expect(review).to_contain_text("These look like secrets")
    review.locator("[data-group=ignored] summary").click()
    expect(review).to_contain_text(".gitignore line 1: *.log")
    expect(review).to_contain_text("always: .git")
    assert page.asked() == ["plan"]

    review.get_by_role("button", name="Exclude").first.click()
    expect(review.get_by_role("heading")).to_have_text(re.compile("3 files"))
    page.use_files()

    assert source_of(Snapshot.objects.get()) == {
        path: FILES[path] for path in ("train.py", "lib/model.py", ".gitignore")
    }
    expect(page.tab.get_by_label("Experiment")).to_have_value("digits")
    expect(page.tab.get_by_label("Entry script")).to_have_value("train.py")
    expect(page.tab.locator("#preview")).to_contain_text("worker-0")

    page.tab.get_by_label("Distribution mode").select_option("multi_worker")
    expect(page.tab.locator("#preview")).to_contain_text("worker-1")
    page.tab.get_by_label("Parameter", exact=True).fill("--epochs")
    page.tab.get_by_label("Value").first.fill("3")
    page.tab.get_by_role("button", name="Submit the run").dblclick()
    page.tab.wait_for_url("**/t/default/runs/1/")

    run = Run.objects.get()
    assert dict(run.config["script_params"]) == {"--epochs": "3"}
    assert run.config["distributed_training"]["worker_count"] == 2


def test_an_unchanged_folder_sends_no_file_again(page: NewRunPage, source: Path):
    for expected in (["plan", "missing", "blobs", "snapshots"], ["plan", "missing", "snapshots"]):
        page.open()
        page.choose_folder(source)
        page.use_files()
        assert page.asked() == expected
    assert Snapshot.objects.count() == 1

    (source / "train.py").write_bytes(b"print('changed')\n")
    page.open()
    page.choose_folder(source)
    page.use_files()

    sent = [request for request in page.bodies if request.url.endswith("/uploads/blobs")]
    assert len(sent) == 1
    assert source_of(Snapshot.objects.latest("pk"))["train.py"] == b"print('changed')\n"


def test_a_dropped_folder_is_the_same_as_a_chosen_one(page: NewRunPage, source: Path):
    page.open()
    page.drop(source)
    expect(page.tab.locator("[data-review]").get_by_role("heading")).to_have_text(
        re.compile("4 files")
    )
    page.use_files()

    assert set(source_of(Snapshot.objects.get())) == {
        "train.py",
        "lib/model.py",
        ".gitignore",
        ".env",
    }


def test_a_dropped_archive_is_sent_and_reviewed(page: NewRunPage, tmp_path: Path):
    archive = tmp_path / "digits.tar.gz"
    archive.write_bytes(tar_gz_of({f"app/{path}": body for path, body in FILES.items()}))
    page.open()
    page.drop(archive)
    review = page.tab.locator("[data-review]")
    expect(review).to_contain_text("The top-level folder app/ was removed")
    review.get_by_role("button", name="Exclude").first.click()
    page.use_files()

    assert set(source_of(Snapshot.objects.get())) == {"train.py", "lib/model.py", ".gitignore"}


def test_a_bad_archive_is_refused_in_words_and_another_may_be_chosen(
    page: NewRunPage, tmp_path: Path, source: Path
):
    archive = tmp_path / "bad.zip"
    archive.write_bytes(zip_with((b"../up.py", b"x")))
    page.open()
    page.tab.locator("[data-input=archive]").set_input_files(archive)
    expect(page.tab.get_by_role("alert").last).to_contain_text("../up.py: it has .. in it")

    page.choose_folder(source)
    page.use_files()


def test_a_folder_over_the_limit_cannot_be_sent_until_something_is_left_out(
    page: NewRunPage, source: Path, team: Team
):
    team.snapshot_max_bytes = 1000
    team.save()
    write(source, {"big.bin": b"x" * 2000})
    page.open()
    page.choose_folder(source)
    review = page.tab.locator("[data-review]")
    expect(review).to_contain_text("big.bin (2.00 kB)")
    expect(review.get_by_role("button", name="Use these files")).to_be_disabled()

    review.locator("[data-group=largest] summary").click()
    review.locator("[data-group=largest] [data-exclude='big.bin']").click()
    page.use_files()

    assert "big.bin" not in source_of(Snapshot.objects.get())


def test_a_browser_that_cannot_hash_sends_everything(page: NewRunPage, source: Path):
    page.tab.add_init_script("Object.defineProperty(crypto, 'subtle', {value: undefined})")
    page.open()
    page.choose_folder(source)
    page.use_files()

    assert page.asked() == ["plan", "blobs", "snapshots"]
    assert source_of(Snapshot.objects.get())["train.py"] == FILES["train.py"]


def test_a_lost_connection_is_tried_again(page: NewRunPage, source: Path):
    failures = threading.Semaphore(2)
    page.open()
    page.tab.route(
        "**/uploads/blobs",
        lambda route: route.abort() if failures.acquire(blocking=False) else route.continue_(),
    )
    page.choose_folder(source)
    page.use_files()

    assert page.asked().count("blobs") == 3
    assert Snapshot.objects.count() == 1


def test_an_upload_may_be_cancelled(page: NewRunPage, source: Path):
    page.open()
    page.tab.route("**/uploads/blobs", lambda route: None)
    page.choose_folder(source)
    page.tab.get_by_role("button", name="Use these files").click()
    page.tab.get_by_role("button", name="Cancel").click()

    expect(page.tab.get_by_role("alert").last).to_contain_text("Upload canceled")
    expect(page.tab.locator("[data-progress]")).to_be_hidden()
    assert not Snapshot.objects.exists()
