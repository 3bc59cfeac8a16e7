"""Starts the parts, shows what they say, starts again those that die, and stops them all.

The parts are forks of this process, which has everything imported and no thread, connection or
event loop of its own: so they share most of their memory and start in an instant.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import FrameType

from config.server.processes import ServerPart, start
from config.server.terminal import Terminal

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
HEALTHY_AFTER_SECONDS = 30.0
SECOND_TERM_SECONDS = 2.0
KILL_AFTER_SECONDS = 8.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class SupervisedPart:
    """A part that is to run: its process, or when the next one starts."""

    part: ServerPart
    stops_last: bool
    pid: int = 0
    started_at: float = 0.0
    start_at: float = 0.0
    pause: float = FIRST_PAUSE_SECONDS

    def signal(self, number: signal.Signals) -> None:
        """Signal the process; a kill is for all that is in its group."""
        if number == signal.SIGKILL:
            os.killpg(self.pid, number)
        else:
            os.kill(self.pid, number)


class Launcher:
    def __init__(self, terminal: Terminal, close_in_parts: Iterable[Callable[[], object]]) -> None:
        self._terminal = terminal
        self._stops_asked = 0
        self._kept: list[SupervisedPart] = []
        self._awake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._not_for_parts = [
            *close_in_parts,
            lambda: os.close(self._awake),
            lambda: os.close(wake),
        ]
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_stop_signal)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def _on_stop_signal(self, number: int, frame: FrameType | None) -> None:
        self._stops_asked += 1

    @property
    def is_stopping(self) -> bool:
        return self._stops_asked > 0

    def log(self, text: str) -> None:
        self._terminal.log("trainyard", text)

    def run_to_completion(self, part: ServerPart) -> bool:
        """Run a part once, to its end; return whether it completed."""
        pid = self._start(part)
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._wait(0)
                return status == 0
            if self.is_stopping:
                os.killpg(pid, signal.SIGKILL)
            self._wait(None)

    def supervise(self, part: ServerPart, *, stops_last: bool = False) -> None:
        """Start a part, and start it again whenever it ends; stop it last if others need it."""
        self._kept.append(SupervisedPart(part, stops_last))
        self._start_due()

    def wait_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not (is_met := condition()) and time.monotonic() < deadline and not self.is_stopping:
            self._turn(0.02)
        return is_met

    def watch(self) -> None:
        """Keep all parts running until somebody asks to stop."""
        while not self.is_stopping:
            self._turn(None)

    def stop(self) -> None:
        """End all parts: ask, ask again (a worker then drops its job), and at last kill."""
        began = time.monotonic()
        self._stops_asked = max(self._stops_asked, 1)
        if self._alive():
            self.log("Stopping. Press Ctrl-C again to kill all processes.")
        steps = [
            (0.0, signal.SIGTERM),
            (SECOND_TERM_SECONDS, signal.SIGTERM),
            (KILL_AFTER_SECONDS, signal.SIGKILL),
        ]
        asked_last = False
        while alive := self._alive():
            first = [one for one in alive if not one.stops_last]
            if not first and not asked_last:
                self._wait(0)  # for the last words of those that are gone
                _signal(alive, signal.SIGTERM)
                asked_last = True
            if self._stops_asked > 1:
                _signal(alive, signal.SIGKILL)
            elif steps and time.monotonic() - began >= steps[0][0]:
                _, number = steps.pop(0)
                _signal(alive if number == signal.SIGKILL else first, number)
            self._turn(0.1)
        self._wait(0)  # for last words
        self.log("Stopped.")

    def _alive(self) -> list[SupervisedPart]:
        return [one for one in self._kept if one.pid]

    def _start(self, part: ServerPart) -> int:
        pid, output = start(part, self._not_for_parts)
        self._terminal.attach(part.name, output)
        return pid

    def _start_due(self) -> None:
        now = time.monotonic()
        for one in self._kept:
            if not one.pid and one.start_at <= now:
                one.pid = self._start(one.part)
                one.started_at = now

    def _turn(self, seconds: float | None) -> None:
        """Wait for something to do, for at most so long, and do it."""
        due = [one.start_at - time.monotonic() for one in self._kept if not one.pid]
        if not self.is_stopping:
            seconds = min([*due, *([] if seconds is None else [seconds])], default=None)
        self._wait(seconds)
        for one in self._alive():
            pid, status = os.waitpid(one.pid, os.WNOHANG)
            if pid:
                self._on_end(one, os.waitstatus_to_exitcode(status))
        if not self.is_stopping:
            self._start_due()

    def _wait(self, seconds: float | None) -> None:
        """Wait for output, a signal or the end of a process, and show what was said."""
        poll = select.poll()
        poll.register(self._awake, select.POLLIN)
        self._terminal.register(poll)
        ready = [fd for fd, _ in poll.poll(None if seconds is None else max(seconds, 0) * 1000)]
        if self._awake in ready:
            os.read(self._awake, 4096)
        self._terminal.handle_ready(ready)

    def _on_end(self, one: SupervisedPart, code: int) -> None:
        now = time.monotonic()
        if now - one.started_at >= HEALTHY_AFTER_SECONDS:
            one.pause = FIRST_PAUSE_SECONDS
        one.pid = 0
        one.start_at = now + one.pause
        if not self.is_stopping:
            how = (
                f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
            )
            self.log(f"{one.part.name} {how}; it starts again in {one.pause:g} s.")
        one.pause = min(one.pause * 2, LONGEST_PAUSE_SECONDS)


def _signal(parts: Iterable[SupervisedPart], number: signal.Signals) -> None:
    for one in parts:
        one.signal(number)
