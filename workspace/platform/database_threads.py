"""Queries and file work from asynchronous code, in threads so that the event loop never waits.

They have threads of their own: a query is never behind a file that is read whole, and neither is
behind a disk that takes its time to write down all it has.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from django.db import close_old_connections

T = TypeVar("T")

_query_threads = ThreadPoolExecutor(4, thread_name_prefix="database")
_file_threads = ThreadPoolExecutor(8, thread_name_prefix="files")
_sync_threads = ThreadPoolExecutor(2, thread_name_prefix="sync")


async def run_in_database_thread(ask: Callable[..., T], *args: Any) -> T:
    """Run a query in a thread, off the event loop."""
    return await _run_in(_query_threads, ask, *args)


async def run_in_file_thread(work: Callable[..., T], *args: Any) -> T:
    """Run in a thread what reads or writes files, however large, and may query as well."""
    return await _run_in(_file_threads, work, *args)


async def run_in_sync_thread(work: Callable[..., T], *args: Any) -> T:
    """Run in a thread what waits for a disk to have written all that it was given."""
    return await _run_in(_sync_threads, work, *args)


async def _run_in(threads: ThreadPoolExecutor, work: Callable[..., T], *args: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(
        threads, partial(_with_connection, work, *args)
    )


def _with_connection(work: Callable[..., T], *args: Any) -> T:
    close_old_connections()
    try:
        return work(*args)
    finally:
        close_old_connections()
