"""Keep watchers up to date: one subscription and one reading of what is new, however many watch.

The channel layer only says that there is more. What there is, is read from storage, from where each
watcher is; so a lost nudge, a slow browser or a broker that is down costs time and loses nothing.
"""

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from channels.layers import get_channel_layer

from runs.logs import Log
from runs.logs_watched import BUILD, WatchedLog
from runs.processes import in_database

LOOK_EVERY = 2.0
LOOK_AT_BUILD_EVERY = 0.4  # nobody nudges for the log of a build
LOOK_AT_WHAT_IS_OVER_EVERY = 15.0
SHORTEST_PAUSE = 0.03
PAUSE_PER_WATCHER = 0.0015
LONGEST_PAUSE = 0.12
CHUNK = 256 * 1024
KEPT_CHUNKS = 16
CLOCKS = {"at", "phases"}  # they move on by themselves, which is no news
EVERYTHING = frozenset({"event", "process", "log", "metrics", "usage"})
log = logging.getLogger(__name__)

Message = dict[str, Any]


class Subject(Protocol):
    """What can be watched: a run or a service. Its methods read the database."""

    channel: str

    def facts(self, kinds: frozenset[str]) -> list[Message]:
        """Give the messages that say how things stand, of these kinds.

        One message `metrics` may hold `steps`: the last step of each metric by name.
        """
        ...

    def logs(self) -> Mapping[str, WatchedLog]:
        """Give the logs there are, by the name that watchers follow them under."""
        ...


class Fact(NamedTuple):
    """How one thing stands: the message, what of it is news, and the version it came with."""

    text: str
    state: str
    version: int


class Text(NamedTuple):
    """A message with text of a log, where the next one starts, and whether there is more by now."""

    text: str
    next: int
    has_more: bool


class Feed:
    """What all watchers of one subject in this process share."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.watchers: set[Watcher] = set()
        self.version = 0
        self.facts: dict[str, Fact] = {}
        self.metrics: dict[str, tuple[int, int]] = {}
        self.logs: Mapping[str, WatchedLog] = {}
        self.is_known = asyncio.Event()
        self._nudged = asyncio.Event()
        self._pending = EVERYTHING
        self._chunks: OrderedDict[tuple[Log, int], Text] = OrderedDict()
        self._reading: dict[tuple[Log, int], asyncio.Task[Text | None]] = {}
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._keep_up())]

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def text(self, name: str, offset: int) -> Text | None:
        """Give the message with a log's text from `offset` on, if there is any.

        Text is only ever added, so what was read once holds for every watcher at that offset.
        """
        watched = self.logs[name]
        key = (watched.log, offset)
        if key in self._chunks:
            return self._chunks[key]
        task = self._reading.get(key)
        if task is None:
            task = asyncio.create_task(asyncio.to_thread(_read, name, watched, offset))
            self._reading[key] = task
            task.add_done_callback(lambda _: self._reading.pop(key, None))
        found = await asyncio.shield(task)
        if found is not None:
            self._chunks[key] = found
            if len(self._chunks) > KEPT_CHUNKS:
                self._chunks.popitem(last=False)
        return found

    def news_of_metrics(self, version: int) -> str | None:
        """Give the message that names the metrics that grew after `version`."""
        grown = {name: step for name, (step, at) in self.metrics.items() if at > version}
        if not grown:
            return None
        return json.dumps({"type": "metrics", "names": sorted(grown), "step": max(grown.values())})

    async def _keep_up(self) -> None:
        """Read what changed at each nudge, and every so often without one; wake the watchers."""
        while True:
            kinds, self._pending = self._pending, frozenset()
            try:
                await self._refresh(kinds)
            except Exception:
                log.exception("What is new of %s could not be read", self.subject.channel)
            for watcher in self.watchers:
                watcher.woken.set()
            # Few large messages cost many watchers less than many small ones.
            pause = SHORTEST_PAUSE + PAUSE_PER_WATCHER * len(self.watchers)
            await asyncio.sleep(min(pause, LONGEST_PAUSE))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience()):
                    await self._nudged.wait()
            if not self._nudged.is_set():
                self._pending = EVERYTHING
                self._chunks.clear()
            self._nudged.clear()

    async def _refresh(self, kinds: frozenset[str]) -> None:
        wanted = kinds - {"log"}
        if wanted:
            messages = await in_database(self.subject.facts, wanted)
            version = self.version + 1
            for message in messages:
                self._take(message, version)
            self.version = version
        if kinds & {"event", "process"}:
            self.logs = await in_database(self.subject.logs)
        self.is_known.set()

    def _take(self, message: Message, version: int) -> None:
        if message["type"] == "metrics":
            for name, step in message["steps"].items():
                if self.metrics.get(name, (None, 0))[0] != step:
                    self.metrics[name] = (step, version)
            return
        key = f"{message['type']} {message.get('process', '')}"
        state = json.dumps({name: part for name, part in message.items() if name not in CLOCKS})
        if key not in self.facts or self.facts[key].state != state:
            self.facts[key] = Fact(json.dumps(message), state, version)

    def _patience(self) -> float:
        if BUILD in self.logs and not self.logs[BUILD].is_final:
            return LOOK_AT_BUILD_EVERY
        is_over = len(self.logs) > 1 and all(log.is_final for log in self.logs.values())
        return LOOK_AT_WHAT_IS_OVER_EVERY if is_over else LOOK_EVERY

    async def _listen(self) -> None:
        while True:
            try:
                await self._follow_layer()
            except Exception as error:  # the layer raises what its transport raises
                log.warning("Nudges of %s do not come through: %s", self.subject.channel, error)
                await asyncio.sleep(LOOK_EVERY)

    async def _follow_layer(self) -> None:
        layer = get_channel_layer()
        if layer is None:
            raise RuntimeError("there is no channel layer")
        own = await layer.new_channel()
        await layer.group_add(self.subject.channel, own)
        self._nudge(EVERYTHING)  # for what changed before the subscription stood
        try:
            while True:
                nudge = await layer.receive(own)
                self._nudge(frozenset({nudge["what"]}))
        finally:
            with suppress(Exception):
                await layer.group_discard(self.subject.channel, own)

    def _nudge(self, kinds: frozenset[str]) -> None:
        self._pending |= kinds
        self._nudged.set()


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


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    return _hubs.setdefault(asyncio.get_running_loop(), Hub())


class Watcher:
    """One browser: what it follows and how far it has come. It is served at its own pace.

    `offsets` says from where each log is followed; "*" stands for those of all processes.
    """

    def __init__(self, offsets: dict[str, int], send: Callable[[str], Awaitable[None]]) -> None:
        self.woken = asyncio.Event()
        self._offsets = {name: start for name, start in offsets.items() if name != "*"}
        self._start_of_others = offsets.get("*")
        self._send = send
        self._version = 0

    async def serve(self, subject: Subject) -> None:
        """Send what is new until cancelled: first how things stand, then as it comes."""
        here = hub()
        feed = here.join(subject, self)
        try:
            await feed.is_known.wait()
            while True:
                self.woken.clear()
                await self._tell_facts(feed)
                await self._tell_logs(feed)
                await self.woken.wait()
        finally:
            here.leave(feed, self)

    async def _tell_facts(self, feed: Feed) -> None:
        known, self._version = self._version, feed.version
        if known == feed.version:
            return
        metrics = feed.news_of_metrics(known)
        for fact in list(feed.facts.values()):
            if fact.version > known:
                await self._send(fact.text)
        if metrics:
            await self._send(metrics)

    async def _tell_logs(self, feed: Feed) -> None:
        """Send the text there is, of each log in turn."""
        if self._start_of_others is not None:
            for name, watched in feed.logs.items():
                if watched.is_of_process:
                    self._offsets.setdefault(name, self._start_of_others)
        unsent = set(self._offsets)
        while unsent:
            for name in sorted(unsent):
                if name not in feed.logs or not await self._tell_text(feed, name):
                    unsent.discard(name)
            await self._tell_facts(feed)

    async def _tell_text(self, feed: Feed, name: str) -> bool:
        found = await feed.text(name, self._offsets[name])
        if found is None:
            return False
        await self._send(found.text)
        self._offsets[name] = found.next
        return found.has_more


def _read(name: str, watched: WatchedLog, offset: int) -> Text | None:
    chunk = watched.log.chunk(offset, CHUNK, is_final=watched.is_final)
    if chunk is None:
        return None
    kind = {"type": "build"} if name == BUILD else {"type": "log", "process": name}
    message = {**kind, "offset": chunk.offset, "next": chunk.next, "text": chunk.text}
    return Text(json.dumps(message, ensure_ascii=False), chunk.next, chunk.has_more)
