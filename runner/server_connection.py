"""Calls to the web process that are repeated until they are answered."""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from runner.http_client import HttpClient, ProcessFenced, RequestRefused, ServerUnreachable
from runner.tar_stream import UnpackFailed, unpack

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
LONGEST_WANTED_PAUSE_SECONDS = 60.0
KEEP_TRYING_SECONDS = 24 * 3600.0
SERVER_TIMEOUT_SECONDS = 7 * 24 * 3600.0  # until the server says for how long
Result = TypeVar("Result")


class ServerTimeout(Exception):
    """The web process did not answer for as long as there was reason to wait."""


class ServerConnection:
    """The way to the web process, through its restarts; every thread opens a wire of its own.

    No call is given up while the program runs, nor for a day after it, unless nobody waits for the
    process any more: its `directory` is removed, or the web process was away for longer than
    `server_timeout_seconds`.
    """

    def __init__(self, url: str, token: str, ca_bundle: str, directory: str) -> None:
        self._place = (url, token, ca_bundle)
        self._directory = directory
        self._identity = identity_of(directory)
        self._answered_at = time.monotonic()
        self.server_timeout_seconds = SERVER_TIMEOUT_SECONDS
        self._give_up_at = float("inf")
        self.is_fenced = threading.Event()

    def open(self) -> HttpClient:
        return HttpClient(*self._place)

    def notice_removal(self) -> None:
        """End all calls when the directory of the process is gone, or another is in its place."""
        try:
            is_gone = identity_of(self._directory) != self._identity
        except OSError:
            return
        if is_gone:
            self.is_fenced.set()

    def is_abandoned(self) -> bool:
        """Return whether the web process was away for longer than anybody waits for it."""
        return time.monotonic() - self._answered_at > self.server_timeout_seconds

    def check(self) -> None:
        """Raise ProcessFenced when nobody waits for this process any more."""
        self.notice_removal()
        if self.is_fenced.is_set():
            raise ProcessFenced("this process was replaced, or its directory was removed")

    def set_deadline(self) -> None:
        """Say that the program has ended, so that waiting gets an end too."""
        self._give_up_at = time.monotonic() + KEEP_TRYING_SECONDS

    def call(self, wire: HttpClient, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Make a call. Raises RequestRefused for one that would be refused again."""
        return self.call_until_answered(lambda: wire.call(method, path, body))

    def fetch(self, http: HttpClient, what: str, folder: str) -> None:
        """Download a tar stream and unpack it below a folder. Raises UnpackFailed."""

        def attempt() -> None:
            tar = http.download(what)
            try:
                unpack(tar.read, folder)
            except OSError as error:
                http.close()
                raise ServerUnreachable(f"GET {what}", error) from error
            except UnpackFailed:
                http.close()
                raise

        self.call_until_answered(attempt)

    def call_until_answered(self, attempt: Callable[[], Result]) -> Result:
        """Repeat `attempt` with growing pauses while it raises ServerUnreachable."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            self.check()
            try:
                result = attempt()
            except ProcessFenced:
                self.is_fenced.set()
                raise
            except RequestRefused:
                self._answered_at = time.monotonic()
                raise
            except ServerUnreachable as trouble:
                gives_up = time.monotonic() > self._give_up_at or self.is_abandoned()
                if pause == FIRST_PAUSE_SECONDS or gives_up:
                    sys.stderr.write(f"{trouble}\n")
                if gives_up:
                    raise ServerTimeout(str(trouble)) from trouble
                wanted = min(trouble.retry_after, LONGEST_WANTED_PAUSE_SECONDS)
            else:
                self._answered_at = time.monotonic()
                return result
            time.sleep(max(pause, wanted))
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def identity_of(directory: str) -> tuple[int, int] | None:
    """Return what tells a directory from others, None if it is gone.

    One that was removed may still be found where it is mounted: nothing links to it any more.
    """
    try:
        found = os.stat(directory)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE):
            return None
        raise
    return (found.st_dev, found.st_ino) if found.st_nlink else None
