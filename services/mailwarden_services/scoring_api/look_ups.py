"""Threads of their own for what every message waits for: whose key it bears, whose domains there are, and what was
decided before.

The event loop's own threads are shared by all that reads files and tables for callers; a caller who keeps these busy
must not hold up the mail of others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Found = TypeVar("_Found")

_threads = ThreadPoolExecutor(2, thread_name_prefix="look-ups")


async def look_up(ask: Callable[[], _Found]) -> _Found:
    """What a short question to the database gives, asked off the event loop."""
    return await asyncio.get_running_loop().run_in_executor(_threads, ask)
