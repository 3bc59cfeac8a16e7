"""Which targets answer. One that does not is asked again, ever more seldom, by a thread of its own.

So a dead engine costs the supervisor one timeout and then none, whatever runs on other targets.
"""

import logging
import threading
import time
from dataclasses import dataclass, field

from django.utils import timezone

from workspace.compute.base import Backend, BackendError, Unreachable
from workspace.compute.registry import backend_for
from workspace.models import ComputeTarget

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
log = logging.getLogger(__name__)


@dataclass
class _Silence:
    """A target that does not answer: when it is asked next, and who is asking it now."""

    because: str
    pause: float = FIRST_PAUSE_SECONDS
    next_at: float = field(default_factory=time.monotonic)
    question: "_Question | None" = None


class _Question(threading.Thread):
    """Asks a target how it is; `trouble` is None when it answered."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(name="reach", daemon=True)
        self._backend = backend
        self.trouble: BackendError | None = None

    def run(self) -> None:
        try:
            self._backend.check()
        except BackendError as error:
            self.trouble = error
        except Exception as error:
            log.exception("A target could not be asked")
            self.trouble = Unreachable(str(error))


class Reach:
    """The one door of a supervisor to the backends of targets."""

    def __init__(self) -> None:
        self._silent: dict[int, _Silence] = {}

    def look(self) -> None:
        """Learn which targets are silent, hear the answers of those that were asked, ask anew."""
        targets = {t.pk: t for t in ComputeTarget.objects.exclude(unreachable_since=None)}
        for pk in self._silent.keys() - targets.keys():
            del self._silent[pk]
        for target in targets.values():
            silence = self._silent.setdefault(target.pk, _Silence(target.unreachable_because))
            self._ask(target, silence)

    def backend(self, target: ComputeTarget) -> Backend:
        """Give the backend of a target. Raises Unreachable at once for one that is silent."""
        silence = self._silent.get(target.pk)
        if silence is not None:
            raise Unreachable(silence.because)
        return backend_for(target)

    def lost(self, target: ComputeTarget, error: Unreachable) -> None:
        """Note that a target did not answer."""
        if target.pk in self._silent:
            return
        log.warning("Target %s does not answer: %s", target.name, error)
        later = time.monotonic() + FIRST_PAUSE_SECONDS
        self._silent[target.pk] = _Silence(str(error), next_at=later)
        ComputeTarget.objects.filter(pk=target.pk, unreachable_since=None).update(
            unreachable_since=timezone.now(), unreachable_because=str(error)[:500]
        )

    def _ask(self, target: ComputeTarget, silence: _Silence) -> None:
        question = silence.question
        if question is None:
            if time.monotonic() >= silence.next_at:
                silence.question = _Question(backend_for(target))
                silence.question.start()
        elif not question.is_alive():
            silence.question = None
            if isinstance(question.trouble, Unreachable):
                self._still_silent(target, silence, question.trouble)
            else:
                self._answered(target)

    def _still_silent(self, target: ComputeTarget, silence: _Silence, trouble: Unreachable) -> None:
        silence.pause = min(silence.pause * 2, LONGEST_PAUSE_SECONDS)
        silence.next_at = time.monotonic() + silence.pause
        if str(trouble) != silence.because:
            silence.because = str(trouble)
            ComputeTarget.objects.filter(pk=target.pk).update(
                unreachable_because=silence.because[:500]
            )

    def _answered(self, target: ComputeTarget) -> None:
        log.info("Target %s answers again.", target.name)
        ComputeTarget.objects.filter(pk=target.pk).update(
            unreachable_since=None, unreachable_because=""
        )
        self._silent.pop(target.pk, None)
