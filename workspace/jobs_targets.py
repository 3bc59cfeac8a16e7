"""Work on compute targets for the queue's workers."""

from workspace.models import ComputeTarget
from workspace.trials import make_trial


def try_target(target_id: int) -> None:
    """Try a target, unless it was removed since."""
    target = ComputeTarget.objects.filter(pk=target_id).first()
    if target is not None:
        make_trial(target)
