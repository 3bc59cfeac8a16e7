"""What the metrics page of a run without charts says, and which files it names."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from runs.metrics.files import EVENTS, holds_metrics
from runs.models import Run, RunFile

HOW_TO_WRITE = (
    "TensorBoard event files under logs/, or one JSON object per line in logs/metrics.jsonl, such"
    ' as {"step": 1, "loss": 0.3}.'
)


@dataclass(frozen=True)
class EmptyMetrics:
    title: str
    text: str


def empty_metrics(run: Run) -> EmptyMetrics:
    """Say where scalars are read from; a file among the outputs that has some is named."""
    title = "No metrics" if run.is_over else "No metrics yet"
    if run.is_tracked:
        return EmptyMetrics(title, "The program that reports this run has sent no metrics.")
    misplaced = _misplaced(run)
    if misplaced:
        return EmptyMetrics(
            title,
            f"{misplaced} may have scalars, but only files under logs/ are read. Write to"
            f" {_under_logs(misplaced)} instead.",
        )
    when = (
        "The run wrote no scalars" if run.is_over else "Scalars appear here while they are written"
    )
    return EmptyMetrics(title, f"{when}: {HOW_TO_WRITE}")


def _misplaced(run: Run) -> str:
    """Return the first output that would be read as metrics if it were below logs/."""
    outputs = RunFile.objects.filter(run=run).order_by("path").values_list("path", flat=True)
    named = outputs.filter(path__contains=EVENTS) | outputs.filter(path__endswith="metrics.jsonl")
    return next((path for path in named if holds_metrics(path)), "")


def _under_logs(path: str) -> str:
    """Return the folder below logs/ that takes the place of a folder below outputs/."""
    return "/".join(["logs", *PurePosixPath(path).parts[1:-1][:1]])
