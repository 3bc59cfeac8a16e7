"""Django behind ASGI, where bodies go to the home and downloads hold nothing that others need."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from tempfile import SpooledTemporaryFile
from typing import Any

import django
from asgiref.sync import SyncToAsync, sync_to_async
from django.conf import settings
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler
from django.db import connections
from django.http.response import HttpResponse, HttpResponseBase

Send = Callable[[Mapping[str, Any]], Awaitable[None]]
SENT_AT_ONCE_BYTES = 64 * 1024  # a larger answer waits for who reads it
Receive = Callable[[], Awaitable[Mapping[str, Any]]]


class DjangoHandler(ASGIHandler):
    """Answers requests, each by a thread of its own until its bytes flow."""

    async def read_body(self, receive: Receive) -> SpooledTemporaryFile[bytes]:
        """Keep a large body in the home's folder: the system's temporary one may be in memory."""
        in_memory = settings.FILE_UPLOAD_MAX_MEMORY_SIZE
        body = SpooledTemporaryFile[bytes](
            max_size=in_memory, mode="w+b", dir=str(settings.FILE_UPLOAD_TEMP_DIR)
        )
        has_more = True
        while has_more:
            message = await receive()
            if message["type"] == "http.disconnect":
                body.close()
                raise RequestAborted
            piece = message.get("body", b"")
            if body.tell() + len(piece) > in_memory:
                await asyncio.to_thread(body.write, piece)
            else:
                body.write(piece)
            has_more = message.get("more_body", False)
        body.seek(0)
        return body

    async def send_response(self, response: HttpResponseBase, send: Send) -> None:
        """Release the database and the thread before bytes flow: who reads them may be slow."""
        is_large = isinstance(response, HttpResponse) and len(response.content) > SENT_AT_ONCE_BYTES
        if response.streaming or is_large:
            await sync_to_async(connections.close_all)()
            _release_thread()
        await super().send_response(response, send)


def _release_thread() -> None:
    """End the thread of this request; whoever needs one later in it gets a new one."""
    context = SyncToAsync.thread_sensitive_context.get(None)
    executor = SyncToAsync.context_to_thread_executor.pop(context, None) if context else None
    if executor is not None:
        executor.shutdown(wait=False)


def get_application() -> DjangoHandler:
    """Set Django up and return it as an ASGI application."""
    django.setup(set_prefix=False)
    return DjangoHandler()
