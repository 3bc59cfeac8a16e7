"""Keep watchers up to date: one subscription and one read of what is new, however many watch.

The channel layer only says that there is more. The rest is read from storage, from the offset that
each watcher has reached; so a lost nudge, a slow browser or a broker that is down costs time and
loses nothing.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from channels.layers import get_channel_layer

from runs.live.messages import (
    BuildLogMessage,
    LogMessage,
    MetricsMessage,
    RedrawnLines,
    WebsocketMessage,
)
from runs.logs.log_file import Log
from runs.logs.sources import BUILD, LogSource
from workspace.platform.database_threads import run_in_database_thread

POLL_EVERY = 2.0
POLL_BUILD_EVERY = 0.4  # the log of a build sends no nudges
POLL_FINISHED_EVERY = 15.0
SHORTEST_PAUSE = 0.03
PAUSE_PER_WATCHER = 0.0015
LONGEST_PAUSE = 0.12
CHUNK = 256 * 1024
KEPT_CHUNKS = 16
EVERYTHING = frozenset({"event", "process", "log", "metrics", "usage"})
log = logging.getLogger(__name__)


class FeedSource(Protocol):
    """What can be watched: a run or a service. Its methods read the database."""

    channel: str

    def messages(self, kinds: frozenset[str]) -> list[WebsocketMessage]:
        """Return the messages with the current state, of these kinds of news."""
        ...

    def metric_steps(self) -> dict[str, int]:
        """Return the last step of each metric, by name."""
        ...

    def logs(self) -> Mapping[str, LogSource]:
        """Return the logs, by the names under which watchers follow them."""
        ...


class FeedMessage(NamedTuple):
    """The newest message about a subject, the state it shows, and the version it came with."""

    text: str
    state: dict[str, Any]
    version: int


class LogText(NamedTuple):
    """A message with text of a log, the offset of the next one, and whether there is more now."""

    text: str
    next: int
    has_more: bool


class Feed:
    """What all watchers of one source in this process share."""

    def __init__(self, source: FeedSource) -> None:
        self.source = source
        self.watchers: set[FeedSubscriber] = set()
        self.version = 0
        self.messages: dict[str, FeedMessage] = {}
        self.metrics: dict[str, tuple[int, int]] = {}
        self.logs: Mapping[str, LogSource] = {}
        self.is_known = asyncio.Event()
        self._nudged = asyncio.Event()
        self._pending = EVERYTHING
        self._chunks: OrderedDict[tuple[Log, int], LogText] = OrderedDict()
        self._reading: dict[tuple[Log, int], asyncio.Task[LogText | None]] = {}
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._keep_up())]

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def text(self, name: str, offset: int) -> LogText | None:
        """Return the message with a log's text from `offset` on, if there is any.

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
        """Return the message about the metrics that grew after `version`."""
        grown = {name: step for name, (step, at) in self.metrics.items() if at > version}
        return MetricsMessage(sorted(grown), max(grown.values())).encode() if grown else None

    async def _keep_up(self) -> None:
        """Read what changed at each nudge, and periodically without one; wake the watchers."""
        while True:
            kinds, self._pending = self._pending, frozenset()
            try:
                await self._refresh(kinds)
            except Exception:
                log.exception("Reading what is new in %s failed", self.source.channel)
            for watcher in self.watchers:
                watcher.woken.set()
            # Few large messages cost many watchers less than many small ones.
            pause = SHORTEST_PAUSE + PAUSE_PER_WATCHER * len(self.watchers)
            await asyncio.sleep(min(pause, LONGEST_PAUSE))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_interval()):
                    await self._nudged.wait()
            if not self._nudged.is_set():
                self._pending = EVERYTHING
                self._chunks.clear()
            self._nudged.clear()

    async def _refresh(self, kinds: frozenset[str]) -> None:
        wanted = kinds - {"log"}
        if wanted:
            messages, steps = await run_in_database_thread(self._read_source, wanted)
            version = self.version + 1
            for message in messages:
                self._take(message, version)
            for name, step in steps.items():
                if self.metrics.get(name, (None, 0))[0] != step:
                    self.metrics[name] = (step, version)
            self.version = version
        if kinds & {"event", "process"}:
            self.logs = await run_in_database_thread(self.source.logs)
        self.is_known.set()

    def _read_source(self, kinds: frozenset[str]) -> tuple[list[WebsocketMessage], dict[str, int]]:
        steps = self.source.metric_steps() if "metrics" in kinds else {}
        return self.source.messages(kinds), steps

    def _take(self, message: WebsocketMessage, version: int) -> None:
        known, state = self.messages.get(message.subject), message.news()
        if known is None or known.state != state:
            self.messages[message.subject] = FeedMessage(message.encode(), state, version)

    def _poll_interval(self) -> float:
        if BUILD in self.logs and not self.logs[BUILD].is_final:
            return POLL_BUILD_EVERY
        is_over = len(self.logs) > 1 and all(log.is_final for log in self.logs.values())
        return POLL_FINISHED_EVERY if is_over else POLL_EVERY

    async def _listen(self) -> None:
        while True:
            try:
                await self._follow_layer()
            except Exception as error:  # the layer raises what its transport raises
                log.warning("Subscription to %s failed, retrying: %s", self.source.channel, error)
                await asyncio.sleep(POLL_EVERY)

    async def _follow_layer(self) -> None:
        layer = get_channel_layer()
        if layer is None:
            raise RuntimeError("there is no channel layer")
        own = await layer.new_channel()
        await layer.group_add(self.source.channel, own)
        self._nudge(EVERYTHING)  # for what changed before the subscription stood
        try:
            while True:
                nudge = await layer.receive(own)
                self._nudge(frozenset({nudge["what"]}))
        finally:
            with suppress(Exception):
                await layer.group_discard(self.source.channel, own)

    def _nudge(self, kinds: frozenset[str]) -> None:
        self._pending |= kinds
        self._nudged.set()


class FeedRegistry:
    """The feeds of this process; each is kept while it has watchers."""

    def __init__(self) -> None:
        self._feeds: dict[str, Feed] = {}

    def join(self, source: FeedSource, watcher: "FeedSubscriber") -> Feed:
        feed = self._feeds.get(source.channel)
        if feed is None:
            feed = self._feeds[source.channel] = Feed(source)
        feed.watchers.add(watcher)
        return feed

    def leave(self, feed: Feed, watcher: "FeedSubscriber") -> None:
        feed.watchers.discard(watcher)
        if not feed.watchers:
            feed.close()
            self._feeds.pop(feed.source.channel, None)


_registries: WeakKeyDictionary[asyncio.AbstractEventLoop, FeedRegistry] = WeakKeyDictionary()


def feeds() -> FeedRegistry:
    return _registries.setdefault(asyncio.get_running_loop(), FeedRegistry())


class FeedSubscriber:
    """One browser: the logs that it follows and how far it has read, at its own pace.

    `offsets` holds the offset from which each log is followed; "*" stands for all processes.
    """

    def __init__(self, offsets: dict[str, int], send: Callable[[str], Awaitable[None]]) -> None:
        self.woken = asyncio.Event()
        self._offsets = {name: start for name, start in offsets.items() if name != "*"}
        self._start_of_others = offsets.get("*")
        self._send = send
        self._version = 0

    async def serve(self, source: FeedSource) -> None:
        """Send the current state, then what is new, until cancelled."""
        here = feeds()
        feed = here.join(source, self)
        try:
            await feed.is_known.wait()
            while True:
                self.woken.clear()
                await self._send_messages(feed)
                await self._send_logs(feed)
                await self.woken.wait()
        finally:
            here.leave(feed, self)

    async def _send_messages(self, feed: Feed) -> None:
        known, self._version = self._version, feed.version
        if known == feed.version:
            return
        metrics = feed.news_of_metrics(known)
        for message in list(feed.messages.values()):
            if message.version > known:
                await self._send(message.text)
        if metrics:
            await self._send(metrics)

    async def _send_logs(self, feed: Feed) -> None:
        """Send the new text of each log, in turns."""
        if self._start_of_others is not None:
            for name, watched in feed.logs.items():
                if watched.is_of_process:
                    self._offsets.setdefault(name, self._start_of_others)
        unsent = set(self._offsets)
        while unsent:
            for name in sorted(unsent):
                if name not in feed.logs or not await self._send_log_text(feed, name):
                    unsent.discard(name)
            await self._send_messages(feed)

    async def _send_log_text(self, feed: Feed, name: str) -> bool:
        found = await feed.text(name, self._offsets[name])
        if found is None:
            return False
        await self._send(found.text)
        self._offsets[name] = found.next
        return found.has_more


def _read(name: str, watched: LogSource, offset: int) -> LogText | None:
    chunk = watched.log.chunk(offset, CHUNK, is_final=watched.is_final)
    if chunk is None:
        return None
    redrawn = None
    if last := watched.log.redrawn(chunk.offset, chunk.next):
        redrawn = RedrawnLines(last.first, last.total, last.lines, last.is_complete)
    message: WebsocketMessage
    if name == BUILD:
        message = BuildLogMessage(chunk.offset, chunk.next, chunk.text, redrawn)
    else:
        message = LogMessage(name, chunk.offset, chunk.next, chunk.text, redrawn)
    return LogText(message.encode(), chunk.next, chunk.has_more)
