"""Runs that go on from what an earlier one left in its outputs."""

from collections.abc import Iterator
from dataclasses import replace

from runs.downloads import tar_of_files
from runs.files import OUTPUTS, outputs_of
from runs.models import Process, Run
from workspace.errors import FieldError, Invalid
from workspace.models import Team

FIELD = "resume_from"


def earlier_run(team: Team, number: int | None) -> Run | None:
    """Give the run that one of the team may resume from. Raises Invalid for one that it may not."""
    if number is None:
        return None
    run = Run.objects.filter(team=team, number=number).first()
    if run is None:
        raise Invalid.of(FieldError(FIELD, f"{team.name} has no run {number}."))
    if not run.is_over:
        raise Invalid.of(
            FieldError(FIELD, f"Run {number} is not over yet: wait for it, or cancel it first.")
        )
    if not outputs_of(run):
        raise Invalid.of(
            FieldError(
                FIELD,
                f"Run {number} left no outputs to resume from: what a script writes to ./outputs"
                " is kept.",
            )
        )
    return run


def outputs_tar(process: Process) -> Iterator[bytes]:
    """Give the outputs of the run that a process resumes from, as a tar of the folder's content."""
    run = process.group.run
    if run is None or run.resumed_from is None:
        raise ValueError("This process resumes from nothing.")
    files = outputs_of(run.resumed_from)
    return tar_of_files(replace(file, path=file.path.removeprefix(f"{OUTPUTS}/")) for file in files)
