"""Frames of any size, either way, under the event loop that `serve` runs and under Python's own."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from mailwarden_services.reading.child import Child, TookTooLong

SIZES = (10_000, 20_000, 210_000, 250_000, 300_000, 25_000_000)

LOOPS: list[Any] = [pytest.param(asyncio.run, id="asyncio"), pytest.param(uvloop.run, id="uvloop")]


@pytest.mark.parametrize("run", LOOPS)
def test_frames_of_every_size_come_through_both_ways(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    async def test() -> None:
        one = Child(eval, cpu_seconds=60.0, wall_seconds=60.0)
        try:
            for size in SIZES:
                assert await one.ask(f"len({'x' * size!r})") == size
                assert len(await one.ask(f"b'y' * {size}")) == size
                assert await one.ask(f"{'z' * size!r}") == "z" * size
            assert one.ended == 0
        finally:
            one.stop()

    run(asyncio.wait_for(test(), 120))


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize("size", [1_000, 240_000, 2_000_000])
def test_one_that_stops_before_it_has_read_is_ended_and_stops_nobody_else(
    run: Callable[[Coroutine[Any, Any, None]], None], size: int
) -> None:
    async def test() -> None:
        one = Child(eval, cpu_seconds=60.0, wall_seconds=0.5)
        try:
            pid = await one.ask("__import__('os').getpid()")
            os.kill(pid, signal.SIGSTOP)
            asking = asyncio.create_task(one.ask(f"len({'x' * size!r})"))
            longest = 0.0
            while not asking.done():
                began = time.monotonic()
                await asyncio.sleep(0.01)
                longest = max(longest, time.monotonic() - began)
            assert isinstance(asking.exception(), TookTooLong)
            assert longest < 0.4
            assert await one.ask("6 * 7") == 42
        finally:
            one.stop()

    run(asyncio.wait_for(test(), 60))
