"""A run that counts, and the one check that it came through whatever happened to the product."""

import hashlib
from pathlib import Path
from typing import Any

from tests.product.product import OVER, Product
from tests.product.sources import program
from tests.waiting import wait_for

WORKERS = ("worker-0", "worker-1")


class SteadyRun:
    """Two workers that print lines; each keeps a record of what it printed outside of the run."""

    def __init__(self, product: Product, folder: Path, *, lines: int, per_second: int) -> None:
        self.product = product
        self.lines = lines
        self._records = folder / "records"
        self._records.mkdir()
        self.number = product.submit(
            program("steady"),
            distributed_training={"type": "multi_worker", "worker_count": 2},
            script_params={
                "--record": str(self._records),
                "--lines": lines,
                "--per-second": per_second,
            },
        )

    def record(self, worker: str) -> bytes:
        path = self._records / worker
        return path.read_bytes() if path.exists() else b""

    def printed(self) -> int:
        """Return how many lines the slower worker printed."""
        return min(self.record(worker).count(b"\n") for worker in WORKERS)

    def wait_until_printed(self, lines: int) -> None:
        wait_for(lambda: self.printed() >= lines, f"{lines} lines in run {self.number}", 120)

    def wait_for_more(self, lines: int) -> None:
        """Wait until both workers printed so much more: they do not notice what happened."""
        self.wait_until_printed(min(self.printed() + lines, self.lines))

    def check(self) -> dict[str, Any]:
        """Wait for the end; the run must have ended as if nothing had happened."""
        run = self.product.wait_for_end(self.number)
        assert run["status"] == "Completed", run["end_detail"]
        check_end(self.product, self.number, run)
        assert {p["name"]: p["exit_code"] for p in run["processes"]} == dict.fromkeys(WORKERS, 0)
        for worker in WORKERS:
            self._check_log(worker)
            answer = self.product.call("GET", f"/runs/{self.number}/files/outputs/{worker}.txt")
            assert answer.text == f"{worker} counted to {self.lines}\n"
        return run

    def _check_log(self, worker: str) -> None:
        lines = self.product.log(self.number, worker).decode().splitlines()
        assert lines[0].startswith("started as ")
        expected = [
            f"{n} {hashlib.sha256(f'{worker} {n}'.encode()).hexdigest()}"
            for n in range(1, self.lines + 1)
        ]
        assert lines[1:] == expected
        assert "\n".join([*lines, ""]).encode() == self.record(worker)


def check_end(product: Product, number: int, run: dict[str, Any]) -> None:
    """Check what holds for every run that is over."""
    assert run["status"] in OVER
    assert run["phases"][-1]["name"] == "Finalizing"
    assert not any(phase["open"] for phase in run["phases"])
    ends = {"exited", "created"} if run["status"] == "Canceled" else {"exited"}
    assert {process["state"] for process in run["processes"]} <= ends, run["processes"]
    wait_for(lambda: not product.living(number), f"run {number} to leave no process behind")
    assert product.run(number)["status"] == run["status"]
