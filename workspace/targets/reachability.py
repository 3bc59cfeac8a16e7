"""Which targets answer. One that does not is asked again, ever more seldom, by a thread of its own.

So a dead engine costs the supervisor one timeout and then none, whatever runs on other targets.
"""

import logging
import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

from django.utils import timezone

from workspace.compute.abilities import ListsGroups
from workspace.compute.base import Backend, BackendError, TargetUnreachable
from workspace.models import ComputeTarget
from workspace.platform import leases
from workspace.targets.backends import backend_for

FIRST_RETRY_SECONDS = 1.0
MAX_RETRY_SECONDS = 30.0
CHANGES = {"start", "stop", "kill", "recover_outputs", "remove", "remove_checkpoints"}
log = logging.getLogger(__name__)


@dataclass
class _UnreachableTarget:
    """A target that does not answer: when it is asked next, and who is asking it now."""

    because: str
    pause: float = FIRST_RETRY_SECONDS
    next_at: float = field(default_factory=time.monotonic)
    question: "_Probe | None" = None
    silent_since: float | None = None
    silent_until: float = 0.0

    def failed_at(self, asked_at: float) -> None:
        """Note that what was asked at a time was not answered."""
        if self.silent_since is None:
            self.silent_since = asked_at
        self.silent_until = asked_at


class _Probe(threading.Thread):
    """Asks a target how it is; `error` is None when it answered."""

    def __init__(self, target: ComputeTarget) -> None:
        super().__init__(name="reach", daemon=True)
        self._target = target
        self.asked_at = time.monotonic()
        self.error: BackendError | None = None

    def run(self) -> None:
        try:
            backend_for(self._target).check()
        except BackendError as error:
            self.error = error
        except Exception as error:
            log.exception("Polling a target failed")
            self.error = TargetUnreachable(str(error))


class _FencedBackend:
    """A backend that is asked to change something only while the duty to do so is ours."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._backend, name)

        def confirmed(*arguments: Any) -> Any:
            leases.confirm()
            return call(*arguments)

        return confirmed if name in CHANGES else call


class Reachability:
    """The only way of a supervisor to the backends of targets."""

    def __init__(self) -> None:
        self._unreachable: dict[int, _UnreachableTarget] = {}

    def poll(self) -> None:
        """Learn which targets are silent, hear the answers of those that were asked, ask anew."""
        targets = {t.pk: t for t in ComputeTarget.objects.exclude(unreachable_since=None)}
        for pk in self._unreachable.keys() - targets.keys():
            del self._unreachable[pk]
        for target in targets.values():
            silence = self._unreachable.setdefault(
                target.pk, _UnreachableTarget(target.unreachable_reason)
            )
            self._probe_when_due(target, silence)

    def backend(self, target: ComputeTarget) -> Backend:
        """Return the backend of a target. Raises TargetUnreachable at once where it is silent."""
        silence = self._unreachable.get(target.pk)
        if silence is not None:
            raise TargetUnreachable(silence.because)
        return cast(Backend, _FencedBackend(backend_for(target)))

    def group_ids(self, target: ComputeTarget) -> set[str]:
        """Return the groups of which a target has anything; none where its kind cannot list them.

        Raises TargetUnreachable and BackendError.
        """
        if target.pk in self._unreachable:
            return set()
        backend = backend_for(target)
        return backend.group_ids() if isinstance(backend, ListsGroups) else set()

    def silent_for(self, target: ComputeTarget) -> timedelta:
        """Return how long a target has answered no question of this supervisor.

        It counts from the first question to the last one: while nobody asked, nobody was silent.
        """
        silence = self._unreachable.get(target.pk)
        if silence is None or silence.silent_since is None:
            return timedelta(0)
        return timedelta(seconds=silence.silent_until - silence.silent_since)

    def mark_unreachable(self, target: ComputeTarget, error: TargetUnreachable) -> None:
        """Note that a target did not answer."""
        if target.pk in self._unreachable:
            return
        log.warning("Target %s is unreachable: %s", target.name, error)
        now = time.monotonic()
        silence = _UnreachableTarget(str(error), next_at=now + FIRST_RETRY_SECONDS)
        silence.failed_at(now)
        self._unreachable[target.pk] = silence
        ComputeTarget.objects.filter(pk=target.pk, unreachable_since=None).update(
            unreachable_since=timezone.now(), unreachable_reason=str(error)[:500]
        )

    def _probe_when_due(self, target: ComputeTarget, silence: _UnreachableTarget) -> None:
        question = silence.question
        if question is None:
            if time.monotonic() >= silence.next_at:
                silence.question = _Probe(target)
                silence.question.start()
        elif not question.is_alive():
            silence.question = None
            if isinstance(question.error, TargetUnreachable):
                silence.failed_at(question.asked_at)
                self._still_unreachable(target, silence, question.error)
            else:
                self._recovered(target)

    def _still_unreachable(
        self, target: ComputeTarget, silence: _UnreachableTarget, trouble: TargetUnreachable
    ) -> None:
        silence.pause = min(silence.pause * 2, MAX_RETRY_SECONDS)
        silence.next_at = time.monotonic() + silence.pause
        if str(trouble) != silence.because:
            silence.because = str(trouble)
            ComputeTarget.objects.filter(pk=target.pk).update(
                unreachable_reason=silence.because[:500]
            )

    def _recovered(self, target: ComputeTarget) -> None:
        log.info("Target %s is reachable again.", target.name)
        ComputeTarget.objects.filter(pk=target.pk).update(
            unreachable_since=None, unreachable_reason=""
        )
        self._unreachable.pop(target.pk, None)
