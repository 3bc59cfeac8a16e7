"""Measure what a tree of processes uses: cores, memory, GPUs."""

import os
import shutil
import subprocess
import time
from collections.abc import Sequence

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Meter:
    """Measures a tree; cores are averaged over the time since the last measure."""

    def __init__(self) -> None:
        self._at = time.monotonic()
        self._ticks: dict[int, int] = {}
        self._nvidia_smi = shutil.which("nvidia-smi")

    def measure(self, pids: Sequence[int]) -> dict[str, float | int | None]:
        now = time.monotonic()
        ticks, memory = {}, 0
        for pid in pids:
            stat = _stat(pid)
            if stat:
                ticks[pid] = int(stat[11]) + int(stat[12])
                memory += int(stat[21]) * PAGE
        spent = sum(count - self._ticks.get(pid, 0) for pid, count in ticks.items())
        elapsed = max(now - self._at, 1e-3)
        self._at, self._ticks = now, ticks
        gpu, gpu_memory = self._gpu(set(pids))
        return {
            "cpus": round(max(spent, 0) / TICKS / elapsed, 3),
            "memory_bytes": memory,
            "gpu": gpu,
            "gpu_memory_bytes": gpu_memory,
        }

    def _gpu(self, pids: set[int]) -> tuple[float | None, int | None]:
        """Give the busiest visible GPU's share (0 to 1) and the memory that `pids` hold on GPUs."""
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if not self._nvidia_smi or not visible:
            return None, None
        busy = self._query("--query-gpu=utilization.gpu", f"--id={visible}")
        held = self._query("--query-compute-apps=pid,used_memory")
        memory = [int(row[1]) for row in held if int(row[0]) in pids and row[1].isdigit()]
        shares = [int(row[0]) / 100 for row in busy if row[0].isdigit()]
        return max(shares, default=None), sum(memory) * 1024 * 1024

    def _query(self, *what: str) -> list[list[str]]:
        try:
            answer = subprocess.run(  # noqa: S603
                [str(self._nvidia_smi), *what, "--format=csv,noheader,nounits"],
                capture_output=True,
                text=True,
                timeout=5,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return []
        return [line.split(", ") for line in answer.stdout.splitlines() if line]


def _stat(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []
