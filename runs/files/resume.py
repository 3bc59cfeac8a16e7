"""Runs that go on from what an earlier one left in its outputs."""

import re
from collections.abc import Iterator

from runs.files.store import outputs_of
from runs.models import Run
from runs.preflight.findings import PreflightFinding
from workspace.models import Team
from workspace.platform.errors import FieldError, Invalid

FIELD = "resume_from"
CHECKPOINT_STATE = "checkpoint"
STATE_BYTES = 64 * 1024
ABSOLUTE_PATH = re.compile(rb'model_checkpoint_path: "(/[^"\n]*)"')


def resumable_run(team: Team, number: int | None) -> Run | None:
    """Return the run that one of the team may resume from. Raises Invalid for any other."""
    if number is None:
        return None
    run = Run.objects.filter(team=team, number=number, deleted_at=None).first()
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


def checkpoint_warnings(run: Run | None) -> Iterator[PreflightFinding]:
    """Warn of checkpoints that their file names by a path of the machine on which `run` ran.

    `tf.train.latest_checkpoint` finds nothing then, and a script that is content with nothing
    trains from the start.
    """
    if run is None:
        return
    for file in outputs_of(run):
        if file.path.rpartition("/")[2] != CHECKPOINT_STATE:
            continue
        with file.location.open("rb") as state:
            found = ABSOLUTE_PATH.search(state.read(STATE_BYTES))
        if found:
            named = found[1].decode("utf-8", "replace")
            yield PreflightFinding(
                "warn",
                "absolute-checkpoint",
                FIELD,
                f"{file.path} of run {run.number} names {named}, which is gone:"
                " tf.train.latest_checkpoint finds no checkpoint.",
                "Restore the checkpoint by its own name in the folder of --resume-from. Save with a"
                " relative path or Saver(save_relative_paths=True) from now on.",
                file.path,
            )
