"""Measure what the program and its descendants use: cores, memory, GPUs."""

from __future__ import annotations

import os
import shutil
import time

from runner import procfs

MEBIBYTE = 1024 * 1024
NVIDIA_SECONDS = 5.0

Usage = dict[str, "float | int | None"]


class UsageSampler:
    """Measures what descends from this runner; cores are the mean since the measure before."""

    def __init__(self) -> None:
        self._processes: list[procfs.ProcessStat] = []
        self._at = time.monotonic()
        self._cpu_seconds = 0.0
        self.usage: Usage = {"cpus": 0.0, "memory_bytes": 0}

    def sample(self) -> None:
        """Look for all processes and take down what they use."""
        now = time.monotonic()
        self._processes = _alive(procfs.descendants(os.getpid()))
        cpu_seconds = sum(process.cpu_seconds for process in self._processes)
        spent = max(cpu_seconds - self._cpu_seconds, 0.0)
        self.usage = {
            "cpus": round(spent / max(now - self._at, 0.001), 3),
            "memory_bytes": procfs.memory_of(self._processes),
        }
        self._at, self._cpu_seconds = now, cpu_seconds

    def memory(self) -> int:
        """Return the memory that the processes found last use now, which is quick to say."""
        still = [procfs.status_of(process.pid) for process in self._processes]
        return procfs.memory_of(_alive([status for status in still if status is not None]))


def _alive(processes: list[procfs.ProcessStat]) -> list[procfs.ProcessStat]:
    return [process for process in processes if not process.is_zombie]


class GpuUsageSampler:
    """Asks NVIDIA's tool about the GPUs that this process was given."""

    def __init__(self, gpus: list[str]) -> None:
        self._gpus = gpus
        self._tool = shutil.which("nvidia-smi") if gpus else None
        self._asked_at = float("-inf")
        self._usage: Usage = {"gpu": None, "gpu_memory_bytes": None}

    def usage(self) -> Usage:
        """Return the mean share (0 to 1) and the memory in use of all of them."""
        if self._tool and time.monotonic() - self._asked_at >= NVIDIA_SECONDS:
            self._asked_at = time.monotonic()
            self._usage = self._ask(self._tool)
        return self._usage

    def _ask(self, tool: str) -> Usage:
        import subprocess

        query = ["--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
        try:
            answer = subprocess.run(  # noqa: S603 - a fixed command
                [tool, *query, f"--id={','.join(self._gpus)}"],
                capture_output=True,
                text=True,
                timeout=NVIDIA_SECONDS,
                check=True,
            ).stdout
            rows = [line.split(",") for line in answer.splitlines() if line]
            shares = [float(row[0]) / 100 for row in rows]
            memory = sum(int(row[1]) for row in rows) * MEBIBYTE
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            return {"gpu": None, "gpu_memory_bytes": None}
        mean = round(sum(shares) / len(shares), 3) if shares else None
        return {"gpu": mean, "gpu_memory_bytes": memory}
