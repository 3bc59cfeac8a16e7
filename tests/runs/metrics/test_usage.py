"""How many usage samples are kept of each process."""

import pytest

from runs.metrics import usage
from tests.factories import make_group, make_run
from workspace.models import Team

pytestmark = pytest.mark.slow

SAMPLE = usage.UsageReading(cpus=1.0, memory_bytes=10**9, gpu=None, gpu_memory_bytes=None)


@pytest.mark.django_db
@pytest.mark.parametrize("processes", [1, 2, 3, 100])
def test_processes_that_report_in_step_are_all_thinned(
    team: Team, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "MAX_SAMPLES", 20)
    group = make_group(make_run(team), *(f"worker-{index}" for index in range(processes)))
    members = list(group.processes.all())
    for _ in range(2 * usage.MAX_SAMPLES):
        for process in members:
            usage.store_sample(process.pk, SAMPLE)
    kept = {process.usage.count() for process in members}
    assert max(kept) <= usage.MAX_SAMPLES
    assert min(kept) >= usage.MAX_SAMPLES // 2


@pytest.mark.django_db
def test_a_long_run_never_keeps_more_samples_than_its_limit(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "MAX_SAMPLES", 20)
    process = make_group(make_run(team)).processes.get()
    for _ in range(100):
        usage.store_sample(process.pk, SAMPLE)
        assert process.usage.count() <= 20
    newest = process.usage.order_by("-at", "-pk").values_list("pk", flat=True)
    assert newest[0] - newest[4] == 4  # the newest are kept as they came
