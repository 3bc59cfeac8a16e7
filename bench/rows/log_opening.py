"""Opening a log of ten million lines: its end, a place in its middle, memory of the server (G9)."""

from collections.abc import Iterator

from bench import procfs
from bench.bench import Bench
from bench.measure import Line, median_of, seconds

LINES = 10_000_000
SCREEN = 200


def measure(bench: Bench) -> Iterator[Line]:
    site = bench.site
    number = site.submit("flood", "--lines", str(LINES))
    bench.say("writing ten million lines")
    site.wait(number)
    where = f"/runs/{number}/logs/worker-0/lines?count={SCREEN}"

    def last_screen() -> None:
        answer = site.call("GET", f"{where}&first=-{SCREEN}")
        if answer["total"] != LINES or not answer["lines"][-1].startswith(f"{LINES - 1:08d}"):
            raise RuntimeError(f"The last of {answer['total']} lines: {answer['lines'][-1]}")

    def in_the_middle() -> None:
        answer = site.call("GET", f"{where}&first={LINES // 2}")
        if not answer["lines"][0].startswith(f"{LINES // 2:08d}"):
            raise RuntimeError(f"Line {LINES // 2}: {answer['lines'][0]}")

    web = next(pid for pid in procfs.children(site.pid) if procfs.name_of(pid) == "trainyard: web")
    before = procfs.pss_bytes(web)
    first = seconds(last_screen)
    yield Line("first look at a log of 10 million lines", first, "s", 0.3)
    yield Line("the same again, p50", median_of(lambda: seconds(last_screen), 9), "s", 0.3)
    yield Line("a jump to its middle, p50", median_of(lambda: seconds(in_the_middle), 9), "s", 0.2)
    grown = (procfs.pss_bytes(web) - before) / 1e6
    yield Line("what the web process grew by", grown, "MB", 20)
