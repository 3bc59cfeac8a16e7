"""What processes use, sampled every few seconds and kept ever more sparsely with age."""

import math
from dataclasses import dataclass
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery
from django.utils import timezone

from runs.models import Process, UsageSample

MAX_SAMPLES = 2000
LARGEST = 2**62


@dataclass(frozen=True)
class UsageReading:
    """Cores, bytes, and the share of the GPU (0 to 1) that a process and its children use."""

    cpus: float
    memory_bytes: int
    gpu: float | None
    gpu_memory_bytes: int | None


def read(data: object) -> UsageReading | None:
    """Read a sample that a runner sent; one that makes no sense is none."""
    if not isinstance(data, dict):
        return None
    cpus, memory = _number(data.get("cpus")), _number(data.get("memory_bytes"))
    if cpus is None or memory is None:
        return None
    gpu_memory = _number(data.get("gpu_memory_bytes"))
    return UsageReading(
        cpus=cpus,
        memory_bytes=int(memory),
        gpu=_number(data.get("gpu")),
        gpu_memory_bytes=None if gpu_memory is None else int(gpu_memory),
    )


def store_sample(process_id: int, sample: UsageReading) -> None:
    UsageSample.objects.create(
        process_id=process_id,
        at=timezone.now(),
        cpus=sample.cpus,
        memory_bytes=sample.memory_bytes,
        gpu=sample.gpu,
        gpu_memory_bytes=sample.gpu_memory_bytes,
    )
    if UsageSample.objects.filter(process_id=process_id).count() > MAX_SAMPLES:
        thin(process_id)


def thin(process_id: int) -> None:
    """Drop every second sample of the older half when there are too many."""
    samples = UsageSample.objects.filter(process_id=process_id).order_by("at", "pk")
    ids = list(samples.values_list("pk", flat=True))
    if len(ids) > MAX_SAMPLES:
        UsageSample.objects.filter(pk__in=ids[1 : len(ids) // 2 : 2]).delete()


def series(process: Process, max_points: int) -> list[UsageSample]:
    """Return the samples of a process, evenly thinned to `max_points` with the last one kept."""
    samples = list(UsageSample.objects.filter(process=process).order_by("at", "pk"))
    step = max(math.ceil(len(samples) / max_points), 1)
    return samples[::-1][::step][::-1]


def newest(processes: QuerySet[Process]) -> list[tuple[Process, UsageSample]]:
    """Return the last sample of each process that has any."""
    latest = UsageSample.objects.filter(process=OuterRef("pk")).order_by("-at", "-pk").values("pk")
    sampled = {
        process: process.newest
        for process in processes.annotate(newest=Subquery(latest[:1]))
        if process.newest is not None
    }
    samples = UsageSample.objects.in_bulk(list(sampled.values()))
    return [(process, samples[pk]) for process, pk in sampled.items() if pk in samples]


def sample_json(sample: UsageSample) -> dict[str, Any]:
    return {
        "at": sample.at.isoformat(),
        "cpus": sample.cpus,
        "memory_bytes": sample.memory_bytes,
        "gpu": sample.gpu,
        "gpu_memory_bytes": sample.gpu_memory_bytes,
    }


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < LARGEST else None
