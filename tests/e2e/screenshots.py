"""Make the pictures in docs/images: `make screenshots`, or with a folder, every page into it."""

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser import FLAGS
from tests.config.server.launched import ROOT
from tests.e2e.person import TWO_WORKERS, Person
from tests.product.product import Product

IMAGES = ROOT / "docs" / "images"
WIDTHS = {"wide": (1440, 810), "narrow": (390, 844)}
THEMES = ("light", "dark")
IN_DOCS = {"runs", "run-log", "run-metrics", "new-run", "service"}
BROKEN = """\
import json
from pathlib import Path

print("reading the settings")
settings = json.loads(Path("settings.json").read_text())
print("learning rate", settings["learning_rate"])
"""
PATIENT = """\
import time

for step in range(100_000):
    print(f"step {step}: still counting", flush=True)
    time.sleep(0.5)
"""


def main(folder: Path, *, everything: bool) -> None:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        sys.exit("There is no Chromium: install Debian's package chromium.")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        product = Product(Path(home))
        try:
            product.start()
            pages = _furnish(browser, product, Path(home))
            for name, path in pages.items():
                if everything or name in IN_DOCS:
                    _shoot(browser, product, folder, name, path)
        finally:
            product.stop()
            product.end()
            browser.close()


def _furnish(browser: Browser, product: Product, home: Path) -> dict[str, str]:
    """Use the product until its pages have something to show; give their addresses."""
    context = browser.new_context()
    person = Person(context.new_page(), product.url)
    person.log_in()
    context.storage_state(path=home / "state.json")
    person.choose_folder(TWO_WORKERS)
    person.use_the_files()
    configuration = person.tab.url.removeprefix(product.url)
    run = person.submit()
    person.see_status("Completed")
    person.link("Register model").click()
    person.tab.get_by_label("Model name").fill("digits")
    person.button("Register").click()
    person.button("Deploy").click()
    person.see_service("Healthy")
    broken = _run_of(person, home, "broken", BROKEN)
    person.see_status("Failed")
    patient = _run_of(person, home, "patient", PATIENT)
    expect(person.tab.locator(".log-row").first).to_be_visible()
    context.close()
    at = "/t/default"
    return {
        "login": "/login/",
        "runs": f"{at}/runs/",
        "new-files": f"{at}/runs/new/",
        "new-run": configuration,
        "run-log": f"{at}/runs/{run}/",
        "run-metrics": f"{at}/runs/{run}/metrics/",
        "run-usage": f"{at}/runs/{run}/usage/",
        "run-outputs": f"{at}/runs/{run}/outputs/",
        "run-configuration": f"{at}/runs/{run}/configuration/",
        "run-code": f"{at}/runs/{run}/code/",
        "run-timeline": f"{at}/runs/{run}/timeline/",
        "run-failed": f"{at}/runs/{broken}/",
        "run-running": f"{at}/runs/{patient}/",
        "models": f"{at}/models/",
        "model": f"{at}/models/digits/",
        "model-version": f"{at}/models/digits/versions/1/",
        "register": f"{at}/models/register/?run={run}",
        "services": f"{at}/services/",
        "service": f"{at}/services/digits/",
        "service-logs": f"{at}/services/digits/logs/",
        "service-requests": f"{at}/services/digits/requests/",
        "service-drift": f"{at}/services/digits/drift/",
        "service-history": f"{at}/services/digits/history/",
        "service-settings": f"{at}/services/digits/settings/",
        "targets": f"{at}/targets/",
        "target": f"{at}/targets/local/",
        "environments": f"{at}/environments/",
        "environment": f"{at}/environments/1/",
        "members": f"{at}/members/",
        "secrets": f"{at}/secrets/",
        "settings": f"{at}/settings/",
        "audit": f"{at}/audit/",
        "account": "/account/",
        "not-found": f"{at}/runs/999/",
    }


def _run_of(person: Person, home: Path, name: str, script: str) -> int:
    folder = home / name
    folder.mkdir()
    (folder / "train.py").write_text(script)
    return person.run_folder(folder, experiment=name)


def _shoot(browser: Browser, product: Product, folder: Path, name: str, path: str) -> None:
    state = None if name == "login" else product.home.parent / "state.json"
    for theme in THEMES:
        for width, (across, down) in WIDTHS.items():
            context = browser.new_context(
                viewport={"width": across, "height": down},
                color_scheme="dark" if theme == "dark" else "light",
                storage_state=state,
            )
            page = context.new_page()
            page.goto(f"{product.url}{path}")
            _settle(page)
            page.screenshot(path=folder / f"{name}-{theme}-{width}.png", animations="disabled")
            context.close()


def _settle(page: Page) -> None:
    """Wait for what a page fetches after it has loaded."""
    page.wait_for_load_state("networkidle")
    if page.locator("[data-charts]").count():
        expect(page.locator("[data-charts] canvas").first).to_be_visible()
    if page.locator("[data-log]").count():
        expect(page.locator(".log-row").first).to_be_visible()
    page.evaluate("document.fonts.ready")


if __name__ == "__main__":
    chosen = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    main(chosen, everything=len(sys.argv) > 1)
