"""The log view in a real browser, against the log store's own answers."""

import random
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from runs.logs.log_file import LogFile
from tests.browser import chromium, tab
from tests.runs.logs.bars import tqdm_bars
from tests.runs.pages.log_pages import LogPage

RECORD_STATES = """() => {
    const light = document.querySelector("[data-log-live]");
    window.states = [];
    new MutationObserver(() => window.states.push(light.dataset.logLive))
        .observe(light, {attributes: true, attributeFilter: ["data-log-live"]});
}"""

__all__ = ["chromium", "tab"]
pytestmark = pytest.mark.browser


@pytest.fixture
def view(tab: Page, tmp_path: Path) -> LogPage:
    return LogPage(tab, LogFile(tmp_path / "worker-0.log"))


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain", "plain"),
        ("10%\r 55%\r100%", "100%"),
        ("longer\rshort", "shortr"),
        ("done\r", "done"),
        ("abc\b\bX", "aXc"),
        ("old text\r\x1b[Knew", "new"),
        ("\x1b[1;32mgreen\x1b[0m", "green"),
        ("\x1b]0;a title\x07text\x1b[2J\x1b[?25l", "text"),
        ("nul\x00 bell\x07 tab\t.", "nul bell tab\t."),
        ("naïve ━━ 🚆", "naïve ━━ 🚆"),
        ("\x1b[38;5;196mcut off \x1b[", "cut off "),
    ],
)
def test_a_line_reads_as_on_a_terminal(view: LogPage, raw: str, shown: str) -> None:
    view.open()
    assert view.run_module("terminal.js", "(m, raw) => m.plainText(raw)", raw) == shown


def test_colours_become_class_names_and_carry_over_to_the_next_line(view: LogPage) -> None:
    view.write("\x1b[1;31mred and bold\nstill red\x1b[0m\nplain\n\x1b[48;2;0;0;200mblue\x1b[m\n")
    view.open()
    view.wait_for_row("plain")
    runs = view.page.evaluate(
        "[...document.querySelectorAll('.log-text span')].map(e => [e.textContent, e.className])"
    )
    assert runs == [["red and bold", "fg-1 bold"], ["still red", "fg-1 bold"], ["blue", "bg-4"]]


def test_markup_in_a_log_is_text(view: LogPage) -> None:
    hostile = "<script>document.title='owned'</script><img src=x onerror=alert(1)>"
    view.write(f"{hostile}\n")
    view.open()
    view.wait_for_row(hostile)
    expect(view.page).to_have_title("Log")


def test_a_million_lines_are_a_few_dozen_elements_wherever_one_looks(view: LogPage) -> None:
    view.write("".join(f"line {number}\n" for number in range(1, 1_000_001)))
    view.open()
    view.wait_for_count(1_000_000)
    view.wait_for_row("line 1000000")
    for share in (0.5, 0.1, 0.9, 0.0):
        view.scroll_to(share)
        view.page.wait_for_function(
            """share => {
                const rows = [...document.querySelectorAll(".log-row")];
                const first = Number(rows[0]?.querySelector(".log-number").textContent);
                const isThere = Math.abs(first / 1_000_000 - share) < 0.01;
                return isThere && !document.querySelector(".log-unknown");
            }""",
            arg=share,
        )
        rows = view.rows()
        assert len(rows) < 100
        assert all(text == f"line {number}" for number, text in rows)


def test_one_notch_of_the_wheel_is_a_few_lines_of_a_million(view: LogPage) -> None:
    view.write("x\n" * 1_000_000)
    view.open()
    view.wait_for_count(1_000_000)
    view.scroll_to(0.5)
    view.page.wait_for_function("document.querySelector('.log-number').textContent < 600000")
    before = view.rows()[0][0]
    view.page.locator("[data-log-scroller]").hover()
    view.page.mouse.wheel(0, 200)
    view.page.wait_for_function(
        "before => Number(document.querySelector('.log-number').textContent) !== before", arg=before
    )
    assert view.rows()[0][0] - before == 10


def test_it_follows_the_end_until_the_reader_scrolls_up(view: LogPage) -> None:
    view.write("".join(f"line {number}\n" for number in range(1, 501)))
    view.open()
    view.wait_for_row("line 500")
    view.stream("line 501\n")
    view.wait_for_row("line 501")

    view.scroll_to(0.3)
    view.page.wait_for_function("document.querySelector('.log-number').textContent < 200")
    expect(view.page.locator(".log-unknown")).to_have_count(0)
    held = view.rows()
    view.stream("".join(f"line {number}\n" for number in range(502, 5001)))
    view.wait_for_count(5000)
    assert view.rows() == held

    view.page.get_by_role("button", name="Jump to end").click()
    view.wait_for_row("line 5000")
    view.stream("line 5001\n")
    view.wait_for_row("line 5001")


def test_a_progress_bar_stays_one_line(view: LogPage) -> None:
    view.open()
    view.stream("Epoch 1/2\n")
    for step in range(1, 101):
        view.stream(f"\r{step}/100 {'━' * (step // 5)}")
    view.wait_for_row(f"100/100 {'━' * 20}")
    view.wait_for_count(2)
    view.stream("\n")
    view.stream("Epoch 2/2\n")
    view.wait_for_row("Epoch 2/2")
    assert [text for _, text in view.rows()] == ["Epoch 1/2", f"100/100 {'━' * 20}", "Epoch 2/2"]


def test_bars_on_several_lines_show_their_last_states(view: LogPage) -> None:
    view.write("".join(f"line {number}\n" for number in range(1, 301)))
    view.open()
    view.wait_for_row("line 300")
    written = tqdm_bars(rounds=2, drawings=40).decode()
    for start in range(0, len(written), 500):
        view.stream(written[start : start + 500])
    view.stream("\x1b[3A\x1b[5B\nlast\n")
    view.wait_for_row("last")
    shown = [text.rstrip() for number, text in view.rows() if number > 300]
    expected = [line.rstrip() for line in view.log.lines(300, 10).lines]
    assert shown == expected
    assert shown[:2] == ["epoch 0 is over", "epoch 1 is over"]
    view.wait_for_count(300 + len(shown))

    view.page.reload()
    view.wait_for_row("last")
    assert [text.rstrip() for number, text in view.rows() if number > 300] == expected
    view.page.get_by_label("Search the log").fill("epoch")
    expect(view.page.locator("[data-log-hits]")).to_have_text("1 of 2")


def test_a_bar_is_followed_while_the_cursor_is_above_the_last_line(view: LogPage) -> None:
    view.write("outer 0%\ninner 0%\x1b[A")
    view.open()
    view.wait_for_row("inner 0%")
    view.stream("\router 1%")
    view.wait_for_row("outer 1%")
    assert view.rows() == [(1, "outer 1%"), (2, "inner 0%")]
    view.stream("\n\r\x1b[2K\x1b[A\x1b[2Kdone\n")
    view.wait_for_row("done")
    view.wait_for_count(1)
    view.stream("next\n")
    view.wait_for_count(2)
    assert view.rows() == [(1, "done"), (2, "next")]


def test_a_lost_connection_goes_on_where_it_was_with_nothing_twice(view: LogPage) -> None:
    view.write("one\ntwo\nthr")
    view.open()
    view.wait_for_row("thr")
    assert view.asked_offsets() == {"worker-0": 11}
    view.stream("ee\n")
    view.wait_for_row("three")

    missed = view.write("four\nfive\n")
    view.page.evaluate(RECORD_STATES)
    view.sockets[-1].close(code=1012)
    view.page.wait_for_function("window.states.at(-1) === 'open'")
    assert "waiting" in view.page.evaluate("window.states")
    assert view.asked_offsets() == {"worker-0": 14}
    view.send(0, 14)
    view.send(*missed)
    view.send(*missed)
    view.wait_for_row("five")
    assert [text for _, text in view.rows()] == ["one", "two", "three", "four", "five"]


def test_a_gap_in_the_stream_is_fetched(view: LogPage) -> None:
    view.open()
    view.write("one\n")
    view.stream("two\n")
    view.wait_for_row("two")
    assert [text for _, text in view.rows()] == ["one", "two"]


def test_a_search_finds_marks_and_steps_through_lines(view: LogPage) -> None:
    view.write("".join(f"step {number}\n" for number in range(1, 10_001)))
    view.open("#worker-0:L1")
    view.wait_for_row("step 1")
    view.page.get_by_label("Search the log").fill("STEP 99")
    hits = view.page.locator("[data-log-hits]")
    expect(hits).to_have_text("1 of 111")
    expect(view.page.locator(".log-target .log-text")).to_have_text("step 99")
    assert view.page.locator("mark").first.text_content() == "step 99"
    view.page.get_by_role("button", name="Next match").click()
    expect(hits).to_have_text("2 of 111")
    expect(view.page.locator(".log-target .log-text")).to_have_text("step 990")
    view.page.get_by_role("button", name="Previous match").click()
    view.page.get_by_role("button", name="Previous match").click()
    expect(hits).to_have_text("111 of 111")
    expect(view.page.locator(".log-target .log-text")).to_have_text("step 9999")
    view.page.get_by_label("Search the log").fill("not there")
    expect(hits).to_have_text("Not found")


def test_a_link_opens_the_log_at_its_line(view: LogPage) -> None:
    view.write("".join(f"step {number}\n" for number in range(1, 10_001)))
    view.open("#worker-0:L4321")
    expect(view.page.locator(".log-target .log-text")).to_have_text("step 4321")
    view.page.get_by_role("link", name="4323").click()
    expect(view.page.locator(".log-target .log-text")).to_have_text("step 4323")
    assert view.page.url.endswith("#worker-0:L4323")


def test_a_line_of_ten_megabytes_is_cut_and_the_next_one_is_whole(view: LogPage) -> None:
    view.open()
    for _ in range(100):
        view.stream("x" * 100_000)
    view.stream("\nafter\n")
    view.wait_for_row("after")
    (_, first), (number, _) = view.rows()
    assert len(first) < 20_000
    assert "the line is longer" in first
    assert number == 2


@pytest.mark.parametrize("seed", range(5))
def test_however_a_log_is_cut_into_chunks_its_last_lines_are_right(
    view: LogPage, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311
    lines = [
        f"{number} {'y' * chance.randrange(30)}" for number in range(chance.randrange(1, 6000))
    ]
    text = "\n".join(lines) + chance.choice(["", "\n"])
    cuts = sorted(chance.randrange(len(text)) for _ in range(chance.randrange(60)))
    chunks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    view.open()
    known = view.run_module(
        "log-lines.js",
        """(m, chunks) => {
            const lines = new m.LogLines();
            let offset = 0;
            for (const text of chunks) {
                lines.append(offset, offset + text.length, text);
                offset += text.length;
                lines.keepNear(lines.total - 50, lines.total);
            }
            const last = [];
            for (let i = Math.max(0, lines.total - 200); i < lines.total; i += 1)
                last.push(lines.line(i));
            return { total: lines.total, isOpen: lines.isOpen, last, pages: lines.pages.size };
        }""",
        chunks,
    )
    assert known["total"] == len(lines)
    assert known["last"] == lines[-200:]
    assert known["isOpen"] is not text.endswith("\n")
    assert known["pages"] <= 17


def test_messages_for_other_processes_are_ignored(view: LogPage) -> None:
    view.open()
    view.tell("log", process="ps-0", offset=0, next=4, text="ps!\n")
    view.stream("mine\n")
    view.wait_for_row("mine")
    assert [text for _, text in view.rows()] == ["mine"]


def test_processes_that_come_up_are_offered_and_the_first_one_shown(view: LogPage) -> None:
    view.sources = ("build",)
    view.write("training\n")
    view.open()
    sources = view.page.locator("[data-log-source]")
    view.tell("process.status", process="worker-0", state="created")
    view.wait_for_row("training")
    expect(sources).to_have_text(["build", "worker-0"])
    view.tell("process.status", process="worker-1", state="created")
    view.tell("process.status", process="worker-0", state="running")
    expect(sources).to_have_text(["build", "worker-0", "worker-1", "merged"])


def test_the_foot_says_whether_more_may_come(view: LogPage) -> None:
    view.open()
    foot = view.page.get_by_role("status")
    expect(foot).to_have_text("Live")
    view.tell("run.status", status="Completed")
    expect(foot).to_have_text("Complete")
