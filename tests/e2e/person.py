"""A person at the dashboard: what they click and fill in, in the words that stand on the pages."""

import re
from collections.abc import Mapping
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.browser import PATIENCE_MS
from tests.config.server.launched import ROOT
from tests.product.product import PASSWORD

EXAMPLES = ROOT / "examples"
TWO_WORKERS = EXAMPLES / "keras-multi-worker"
# The first run of a TensorFlow version builds its environment.
TRAINED_MS = 240_000


class Person:
    def __init__(self, tab: Page, url: str, user: str = "admin", password: str = PASSWORD) -> None:
        tab.set_default_timeout(PATIENCE_MS)
        self.tab = tab
        self.url = url
        self._user, self._password = user, password

    def go(self, path: str) -> None:
        self.tab.goto(f"{self.url}{path}")

    def button(self, name: str | re.Pattern[str]) -> Locator:
        return self.tab.get_by_role("button", name=name)

    def link(self, name: str | re.Pattern[str]) -> Locator:
        return self.tab.get_by_role("link", name=name)

    def log_in(self) -> None:
        self.go("/login/")
        self.tab.get_by_label("User name").fill(self._user)
        self.tab.get_by_label("Password").fill(self._password)
        self.button("Log in").click()
        expect(self.tab).not_to_have_url(re.compile("/login/"))

    def choose_folder(self, folder: Path) -> None:
        self.go("/t/default/runs/new/")
        self.tab.locator("[data-input=folder]").set_input_files(folder)
        expect(self.button("Use these files")).to_be_visible()

    def use_the_files(self) -> None:
        self.button("Use these files").click()
        expect(self.button("Submit the run")).to_be_visible()

    def fill_in(self, **fields: str) -> None:
        for name, value in fields.items():
            self.tab.locator(f"#id_{name}").fill(value)

    def add_pairs(self, title: str, pairs: Mapping[str, str]) -> None:
        """Fill in rows of names and values, below those that are there."""
        group = self.tab.get_by_role("group", name=title)
        for name, value in pairs.items():
            group.get_by_role("button", name="Add a row").click()
            row = group.locator("[data-pair]").last
            row.locator("input").nth(0).fill(name)
            row.locator("input").nth(1).fill(value)

    def submit(self) -> int:
        self.button("Submit the run").click()
        self.tab.wait_for_url(re.compile(r"/runs/\d+/$"))
        return int(self.tab.url.rstrip("/").rpartition("/")[2])

    def run_folder(self, folder: Path, **fields: str) -> int:
        self.choose_folder(folder)
        self.use_the_files()
        self.fill_in(**fields)
        return self.submit()

    def see_status(self, status: str, timeout: float = TRAINED_MS) -> None:
        expect(self.tab.locator("#run-head h1")).to_contain_text(status, timeout=timeout)

    def see_service(self, state: str, timeout: float = 120_000) -> None:
        expect(self.tab.locator("#service-head h1")).to_contain_text(state, timeout=timeout)

    def confirm(self) -> None:
        """Say yes to the question that the page asks."""
        self.tab.locator("#confirm-yes").click()
