"""The whole way in a real browser: upload, train, watch, register, deploy, score."""

import json
import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.person import TRAINED_MS, TWO_WORKERS, Person
from tests.product.product import Product

pytestmark = [pytest.mark.browser, pytest.mark.product]


@pytest.fixture
def admin(tab: Page, product: Product) -> Person:
    person = Person(tab, product.url)
    person.log_in()
    return person


@pytest.mark.tensorflow
def test_a_folder_becomes_a_service_that_knows_a_seven(admin: Person, product: Product):
    tab = admin.tab
    admin.choose_folder(TWO_WORKERS)
    expect(tab.locator("#review-title")).to_contain_text("5 files")
    admin.use_the_files()
    expect(tab.locator("#id_mode")).to_have_value("multi_worker")
    expect(tab.locator("#preview")).to_contain_text("worker-1")
    run = admin.submit()

    admin.see_status("Running")
    expect(tab.locator(".log-text").filter(has_text="replicas in sync")).to_be_visible(
        timeout=TRAINED_MS
    )
    admin.link("metrics").click()
    expect(tab.locator("[data-charts] canvas").first).to_be_visible(timeout=TRAINED_MS)
    admin.see_status("Completed")
    admin.link("logs").click()
    admin.button("worker-1").click()
    expect(tab.locator(".log-text").filter(has_text="weights checksum")).to_be_visible()

    admin.link("Register model").click()
    tab.get_by_label("Model name").fill("digits")
    admin.button("Register").click()
    expect(tab.get_by_role("link", name=f"run {run}")).to_be_visible()

    admin.button("Deploy").click()
    expect(tab.get_by_text("Copy them now")).to_be_visible()
    admin.see_service("Healthy")
    admin.button("JSON").click()
    tab.get_by_label("Request").fill((TWO_WORKERS / "score.json").read_text())
    admin.button("Score").click()
    tab.get_by_text("Raw JSON").click()
    answer = tab.locator("#try-answer pre")
    expect(answer).to_contain_text("predictions")
    chances = json.loads(answer.inner_text())["predictions"][0]
    assert chances.index(max(chances)) == 7

    form = tab.locator("#stop-service").element_handle()
    admin.button("Stop").click()
    tab.wait_for_function("form => !form.isConnected", arg=form)  # the live page is drawn anew
    admin.confirm()
    admin.see_service("Stopped")


def test_a_run_is_watched_reloaded_canceled_and_submitted_again(
    admin: Person, product: Product, tmp_path
):
    tab = admin.tab
    (tmp_path / "train.py").write_text(
        "import time\n"
        "for step in range(100_000):\n"
        "    print('step', step, flush=True)\n"
        "    time.sleep(0.5)\n"
    )
    run = admin.run_folder(tmp_path, experiment="patience")
    expect(tab.locator(".log-text").filter(has_text=re.compile("^step 3$"))).to_be_visible(
        timeout=TRAINED_MS
    )
    tab.reload()
    expect(tab.locator(".log-text").filter(has_text=re.compile("^step 0$"))).to_have_count(1)
    before = len(product.log(run).splitlines())
    expect(
        tab.locator(".log-text").filter(has_text=re.compile(f"^step {before + 5}$"))
    ).to_be_visible()

    admin.button("Cancel").click()
    admin.confirm()
    admin.see_status("Canceled")

    admin.link("Submit again").click()
    expect(tab.locator("#id_experiment")).to_have_value("patience")
    again = admin.submit()
    assert again == run + 1
    expect(tab.locator(".log-row").first).to_be_visible(timeout=TRAINED_MS)
    admin.button("Cancel").click()
    admin.confirm()
    admin.see_status("Canceled")


def test_a_million_lines_stay_at_hand(admin: Person, tmp_path):
    tab = admin.tab
    (tmp_path / "train.py").write_text(
        "print('\\n'.join(f'line {n}' for n in range(1, 1_000_000)))\n"
        "print('\\x1b[31mred\\x1b[0m end')\n"
    )
    admin.run_folder(tmp_path, experiment="talkative")
    admin.see_status("Completed")
    expect(tab.locator("[data-log-count]")).to_contain_text("1,000,000 lines")
    expect(tab.locator(".log-text").filter(has_text=re.compile("^red end$"))).to_be_visible()
    tab.get_by_role("searchbox", name="Search the log").fill("line 654321")
    tab.keyboard.press("Enter")
    expect(tab.locator(".log-text").filter(has_text=re.compile("^line 654321$"))).to_be_visible()
    assert tab.locator(".log-row").count() < 300


def test_errors_stand_beside_their_fields(admin: Person, tmp_path):
    (tmp_path / "train.py").write_text("print('hello')\n")
    admin.choose_folder(tmp_path)
    admin.use_the_files()
    admin.fill_in(experiment="", entry_script="missing.py", cpus_per_process="many")
    admin.button("Submit the run").click()
    for name in ("experiment", "entry_script", "cpus_per_process"):
        expect(admin.tab.locator(f"#id_{name}_error")).to_be_visible()
    assert admin.tab.locator("#id_entry_script").input_value() == "missing.py"


def test_a_stranger_finds_nothing(admin: Person, product: Product, chromium: Browser):
    admin.go("/t/default/members/")
    name = "charlie"
    product.manage(
        "shell",
        "-c",
        "from django.contrib.auth.models import User;"
        f"User.objects.create_user({name!r}, password='a-long-password-of-tests')",
    )
    page = chromium.new_context().new_page()
    stranger = Person(page, product.url, name, "a-long-password-of-tests")
    stranger.log_in()
    for path in ("/t/default/runs/", "/t/default/members/", "/t/default/services/"):
        answer = page.goto(f"{product.url}{path}")
        assert answer
        assert answer.status == 404
        expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.context.close()
