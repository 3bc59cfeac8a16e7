"""A page with nothing but a log view, whose server is played by the test."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.contrib.staticfiles import finders
from django.template.loader import render_to_string
from playwright.sync_api import Page, Route, WebSocketRoute

from runs.logs.log_file import Lines, LogFile

SITE = "http://trainyard.test"
ROWS = """[...document.querySelectorAll(".log-row")].map(row => [
    Number(row.querySelector(".log-number").textContent), row.querySelector(".log-text").textContent
])"""
STYLES = "".join(
    f'<link rel="stylesheet" href="/static/css/{name}.css">'
    for name in ("tokens", "base", "components", "buttons", "forms", "log")
)
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def serve_static(route: Route) -> None:
    path = urlsplit(route.request.url).path.removeprefix("/static/")
    found = finders.find(path)
    assert found, f"There is no static file {path}."
    route.fulfill(path=found, content_type=TYPES[Path(found).suffix])


@dataclass
class LogPage:
    """A log view of worker-0 in a browser, and the log that it shows."""

    page: Page
    log: LogFile
    sources: tuple[str, ...] = ("worker-0",)
    sockets: list[WebSocketRoute] = field(default_factory=list)

    def open(self, fragment: str = "") -> None:
        self.page.route(f"{SITE}/**", self._answer)
        self.page.route_web_socket(
            lambda url: "/stream/" in url, lambda socket: self.sockets.append(socket)
        )
        self.page.goto(f"{SITE}/page{fragment}")
        self.page.wait_for_function("document.querySelector('[data-log-live=open]')")

    def write(self, text: str) -> tuple[int, int]:
        """Add to the log on the server, and say nothing of it."""
        size = self.log.size()
        return size, self.log.append(size, text.encode())

    def send(self, offset: int, end: int) -> None:
        """Stream a part of the log to the browser."""
        text = self.log.read(offset, end - offset).decode()
        lines = self.log.redrawn(offset, end)
        redrawn = lines and _as_json(lines)
        self.tell("log", process="worker-0", offset=offset, next=end, text=text, redrawn=redrawn)

    def tell(self, type: str, **facts: object) -> None:
        self.sockets[-1].send(json.dumps({"type": type, **facts}))

    def stream(self, text: str) -> None:
        self.send(*self.write(text))

    def asked_offsets(self) -> dict[str, int]:
        """Return the offsets that the newest connection asked for."""
        query = parse_qs(urlsplit(self.sockets[-1].url).query)
        offsets: dict[str, int] = json.loads(query["offsets"][0])
        return offsets

    def rows(self) -> list[tuple[int, str]]:
        """Return number and text of every line that is an element now."""
        return [(number, text) for number, text in self.page.evaluate(ROWS)]

    def wait_for_count(self, lines: int) -> None:
        words = f"{lines:,} line" + ("" if lines == 1 else "s")
        self.page.wait_for_function(
            "words => document.querySelector('[data-log-count]').textContent === words", arg=words
        )

    def wait_for_row(self, text: str) -> None:
        self.page.wait_for_function(
            "text => [...document.querySelectorAll('.log-text')].some(e => e.textContent === text)",
            arg=text,
        )

    def scroll_to(self, share: float) -> None:
        self.page.evaluate(
            "share => { const box = document.querySelector('[data-log-scroller]');"
            " box.scrollTop = (box.scrollHeight - box.clientHeight) * share; }",
            share,
        )

    def run_module(self, name: str, code: str, arg: object = None) -> Any:
        """Run a function of the module and `arg` in the page."""
        return self.page.evaluate(
            f"arg => import('/static/js/{name}').then(m => ({code})(m, arg))", arg
        )

    def _answer(self, route: Route) -> None:
        address = urlsplit(route.request.url)
        if address.path == "/page":
            route.fulfill(body=self._page(), content_type="text/html")
        elif address.path.startswith("/static/"):
            serve_static(route)
        elif address.path.startswith("/logs/worker-0/"):
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            route.fulfill(json=self._data(address.path.rpartition("/")[2], query))
        else:
            route.fulfill(status=404, body="")

    def _page(self) -> str:
        view = render_to_string(
            "components/_log_view.html",
            {
                "log_base": "/logs/",
                "stream": "/stream/",
                "sources": self.sources,
                "selected": self.sources[0],
            },
        )
        return (
            f'<!doctype html><html lang="en"><head><title>Log</title>{STYLES}</head>'
            f'<body data-icons="/static/img/icons.svg">{view}'
            '<script type="module" src="/static/js/log-page.js"></script></body></html>'
        )

    def _data(self, what: str, query: Mapping[str, str]) -> dict[str, Any]:
        if what == "search":
            return asdict(self.log.search(query["q"], int(query["from"]), int(query["limit"])))
        return _as_json(self.log.lines(int(query["first"]), int(query["count"])))


def _as_json(lines: Lines) -> dict[str, Any]:
    fields = asdict(lines)
    return {**fields, "complete": fields.pop("is_complete")}
