"""Keep watchers up to date: one subscription and one reading of new text, however many watch.

The channel layer only says that there is more. What there is, is read from storage, from where each
watcher is; so a lost nudge, a slow browser or a broker that is down costs time and loses nothing.
"""

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

from channels.layers import get_channel_layer

from runs.logs import Log
from runs.processes import in_database

LOOK_EVERY_SECONDS = 2.0
CHUNK = 256 * 1024
KEPT_CHUNKS = 32
CLOCKS = {"at", "phases"}  # they move on by themselves, which is no news
EVERYTHING = frozenset({"event", "process", "log", "metrics", "usage"})
log = logging.getLogger(__name__)

Message = dict[str, Any]


class Subject(Protocol):
    """What can be watched: a run or a service. Its methods read the database."""

    channel: str

    def facts(self, kinds: frozenset[str]) -> list[Message]:
        """Give the messages that say how things stand, of these kinds."""
        ...

    def logs(self) -> dict[str, Log]:
        """Give the logs there are, by the name that watchers follow them under."""
        ...


class Feed:
    """What all watchers of one subject in this process share."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.watchers: set[Watcher] = set()
        self._chunks: OrderedDict[tuple[str, int], tuple[int, bool, str]] = OrderedDict()
        self._reading: dict[tuple[str, int], asyncio.Task[tuple[int, bool, str] | None]] = {}
        self._logs: dict[str, Log] = {}
        self._task = asyncio.create_task(self._listen())

    def close(self) -> None:
        self._task.cancel()

    async def facts(self, kinds: frozenset[str]) -> list[str]:
        messages = await in_database(self.subject.facts, kinds)
        return [json.dumps(message) for message in messages]

    async def logs(self, *, anew: bool) -> dict[str, Log]:
        if anew or not self._logs:
            self._logs = await in_database(self.subject.logs)
        return self._logs

    async def chunk(self, name: str, source: Log, offset: int) -> tuple[int, bool, str] | None:
        """Give the next offset, whether there is more, and the message with the text from `offset`.

        Text is only ever added, so what was read once holds for every watcher at that offset.
        """
        key = (name, offset)
        if key in self._chunks:
            return self._chunks[key]
        task = self._reading.get(key)
        if task is None:
            task = asyncio.create_task(asyncio.to_thread(_read, name, source, offset))
            self._reading[key] = task
            task.add_done_callback(lambda _: self._reading.pop(key, None))
        found = await asyncio.shield(task)
        if found is not None:
            self._chunks[key] = found
            while len(self._chunks) > KEPT_CHUNKS:
                self._chunks.popitem(last=False)
        return found

    async def _listen(self) -> None:
        """Wake the watchers at each nudge, and every so often without one."""
        while True:
            try:
                await self._follow_layer()
            except asyncio.CancelledError:
                raise
            except Exception as error:  # the layer raises what its transport raises
                log.warning("Nudges of %s do not come through: %s", self.subject.channel, error)
                self._wake(EVERYTHING)
                await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def _follow_layer(self) -> None:
        layer = get_channel_layer()
        if layer is None:
            raise RuntimeError("there is no channel layer")
        own = await layer.new_channel()
        await layer.group_add(self.subject.channel, own)
        try:
            while True:
                nudge: Message | None = None
                with suppress(TimeoutError):
                    nudge = await asyncio.wait_for(layer.receive(own), LOOK_EVERY_SECONDS)
                self._wake(EVERYTHING if nudge is None else frozenset({nudge["what"]}))
        finally:
            with suppress(Exception):
                await layer.group_discard(self.subject.channel, own)

    def _wake(self, kinds: frozenset[str]) -> None:
        for watcher in self.watchers:
            watcher.wake(kinds)


class Hub:
    """The feeds of this process, each for as long as somebody watches."""

    def __init__(self) -> None:
        self._feeds: dict[str, Feed] = {}

    def join(self, subject: Subject, watcher: "Watcher") -> Feed:
        feed = self._feeds.get(subject.channel)
        if feed is None:
            feed = self._feeds[subject.channel] = Feed(subject)
        feed.watchers.add(watcher)
        return feed

    def leave(self, feed: Feed, watcher: "Watcher") -> None:
        feed.watchers.discard(watcher)
        if not feed.watchers:
            feed.close()
            self._feeds.pop(feed.subject.channel, None)


hub = Hub()


class Watcher:
    """One browser: what it follows and how far it has come. It is served at its own pace."""

    def __init__(self, offsets: dict[str, int], send: Callable[[str], Awaitable[None]]) -> None:
        self._offsets = {name: start for name, start in offsets.items() if name != "*"}
        self._follows_all = "*" in offsets
        self._send = send
        self._pending: frozenset[str] = EVERYTHING
        self._woken = asyncio.Event()
        self._woken.set()
        self._told: dict[str, str] = {}

    def wake(self, kinds: frozenset[str]) -> None:
        self._pending |= kinds
        self._woken.set()

    async def serve(self, subject: Subject) -> None:
        """Send what is new until cancelled: first how things stand, then as it comes."""
        feed = hub.join(subject, self)
        try:
            while True:
                await self._woken.wait()
                self._woken.clear()
                kinds, self._pending = self._pending, frozenset()
                await self._tell_facts(feed, kinds - {"log"})
                if kinds & {"log", "event", "process"}:
                    await self._tell_logs(feed, anew=bool(kinds & {"event", "process"}))
        finally:
            hub.leave(feed, self)

    async def _tell_facts(self, feed: Feed, kinds: frozenset[str]) -> None:
        for text in await feed.facts(kinds) if kinds else []:
            message = json.loads(text)
            subject = f"{message['type']} {message.get('process', '')}"
            state = json.dumps({k: v for k, v in message.items() if k not in CLOCKS})
            if self._told.get(subject) != state:
                self._told[subject] = state
                await self._send(text)

    async def _tell_logs(self, feed: Feed, *, anew: bool) -> None:
        if not self._offsets and not self._follows_all:
            return
        for name, source in (await feed.logs(anew=anew)).items():
            if self._follows_all and name not in {"merged", "build"}:
                self._offsets.setdefault(name, 0)
            has_more = name in self._offsets
            while has_more:
                found = await feed.chunk(name, source, self._offsets[name])
                if found is None:
                    break
                self._offsets[name], has_more, text = found
                await self._send(text)


def _read(name: str, source: Log, offset: int) -> tuple[int, bool, str] | None:
    chunk = source.chunk(offset, CHUNK)
    if chunk is None:
        return None
    message = {"offset": chunk.offset, "next": chunk.next, "text": chunk.text}
    kind = {"type": "build"} if name == "build" else {"type": "log", "process": name}
    return chunk.next, chunk.has_more, json.dumps({**kind, **message})
