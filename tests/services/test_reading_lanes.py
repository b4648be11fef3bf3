"""Processes that read mail: what takes too long is ended, and nobody waits for another tenant's flood.

The work here is `eval`, so that a test says in words what the child does.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mailwarden_services.reading.child import Child, Died, TookTooLong
from mailwarden_services.reading.lanes import Lane, Lanes

LARGE_FRAME = 256 * 1024

SPIN = "sum(1 for _ in iter(int, 1))"
SLEEP = "__import__('time').sleep(600)"


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 120))


@asynccontextmanager
async def child(cpu_seconds: float = 30.0, wall_seconds: float = 90.0) -> AsyncIterator[Child]:
    one = Child(eval, cpu_seconds=cpu_seconds, wall_seconds=wall_seconds)
    try:
        yield one
    finally:
        one.stop()


def test_an_answer_of_any_size_comes_back_and_so_does_an_error() -> None:
    async def test() -> None:
        async with child() as one:
            assert await one.ask("6 * 7") == 42
            assert len(await one.ask("b'x' * 5_000_000")) == 5_000_000
            assert await one.ask(f"len({'x' * (4 * LARGE_FRAME)!r})") == 4 * LARGE_FRAME
            pid = await one.ask("__import__('os').getpid()")
            with pytest.raises(ZeroDivisionError):
                await one.ask("1 / 0")
            assert await one.ask("__import__('os').getpid()") == pid != os.getpid()
            assert one.ended == 0

    run(test())


@pytest.mark.parametrize(
    ("work", "limits", "error"),
    [
        (SPIN, {"cpu_seconds": 0.3}, TookTooLong),
        (SLEEP, {"wall_seconds": 0.5}, TookTooLong),
        ("__import__('os')._exit(3)", {}, Died),
        ("__import__('os').kill(__import__('os').getpid(), 9)", {}, Died),
    ],
)
def test_what_takes_too_long_or_dies_is_told_and_the_next_is_read(
    work: str, limits: dict[str, float], error: type[Exception]
) -> None:
    async def test() -> None:
        async with child(**limits) as one:
            before = await one.ask("__import__('os').getpid()")
            with pytest.raises(error):
                await one.ask(work)
            assert await one.ask("__import__('os').getpid()") != before
            assert one.ended == 1

    run(test())


def test_an_answer_that_cannot_be_read_is_told_and_the_next_is_read() -> None:
    async def test() -> None:
        async with child() as one:
            with pytest.raises(ValueError, match="no number"):
                await one.ask("type('Odd', (), {'__reduce__': lambda self: (int, ('no number',))})()")
            assert await one.ask("6 * 7") == 42

    run(test())


def test_a_machine_that_is_slow_cuts_nothing_off() -> None:
    """A process that hardly computes is not over its CPU time, however long it takes by the clock."""

    async def test() -> None:
        async with child(cpu_seconds=0.2) as one:
            assert await one.ask("__import__('time').sleep(1.0)") is None
            assert one.ended == 0

    run(test())


def test_a_caller_that_goes_away_leaves_a_lane_that_works() -> None:
    async def test() -> None:
        lanes = Lanes(eval, cpu_seconds=30.0, wall_seconds=90.0, lanes=(Lane(None, 1, 0),))
        try:
            first = asyncio.create_task(lanes.ask(SLEEP, tenant="a", size=1))
            second = asyncio.create_task(lanes.ask("2", tenant="a", size=1))
            third = asyncio.create_task(lanes.ask("3", tenant="a", size=1))
            await asyncio.sleep(0.1)
            second.cancel()
            first.cancel()
            assert await third == 3
            assert await lanes.ask("4", tenant="b", size=1) == 4
        finally:
            lanes.stop()

    run(test())


def test_forking_and_reaping_stop_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loaded machine takes half a second for either: here it always does."""
    for name in ("start", "stop"):
        real = getattr(Child, name)
        monkeypatch.setattr(Child, name, lambda self, real=real: (time.sleep(0.6), real(self))[1])

    async def test() -> None:
        async with child(cpu_seconds=0.1) as one:
            asking = asyncio.create_task(one.ask(SPIN))
            longest = 0.0
            while not asking.done():
                began = time.monotonic()
                await asyncio.sleep(0.01)
                longest = max(longest, time.monotonic() - began)
            assert isinstance(asking.exception(), TookTooLong)
            assert longest < 0.55
            assert await one.ask("6 * 7") == 42

    run(test())


def test_tenants_take_turns_and_short_mail_never_waits_for_long() -> None:
    async def test() -> None:
        lanes = Lanes(eval, cpu_seconds=30.0, wall_seconds=90.0, lanes=(Lane(10, 1, 0), Lane(None, 1, 5)))
        order: list[str] = []

        async def ask(work: str, tenant: str, size: int) -> None:
            await lanes.ask(work, tenant=tenant, size=size)
            order.append(tenant)

        try:
            long = asyncio.create_task(ask(SLEEP, "large", 11))
            flood = [asyncio.create_task(ask("__import__('time').sleep(0.05)", "flood", 10)) for _ in range(8)]
            await asyncio.sleep(0)
            other = asyncio.create_task(ask("0", "other", 10))
            await asyncio.gather(*flood, other)
            assert order.index("other") <= 2 and order.count("flood") == 8 and not long.done()
            long.cancel()
            await asyncio.gather(long, return_exceptions=True)
        finally:
            lanes.stop()

    run(test())


TWICE = "(lambda: [(yield 'a'), (yield 'b'), __import__('os').getpid()])()"


def test_work_may_ask_back_and_goes_on_with_what_it_is_told() -> None:
    async def test() -> None:
        async with child() as one:

            async def later(what: str) -> bytes:
                await asyncio.sleep(0)
                return what.encode() * LARGE_FRAME

            told = await one.ask(TWICE, str.upper)
            assert told == ["A", "B", one.pid]
            assert await one.ask(TWICE, later) == [b"a" * LARGE_FRAME, b"b" * LARGE_FRAME, one.pid]
            with pytest.raises(ZeroDivisionError):
                await one.ask("(1 / number for number in (1, 0))", lambda _: None)
            assert one.ended == 0

    run(test())


def test_work_whose_question_cannot_be_answered_is_ended_and_the_next_is_done() -> None:
    async def test() -> None:
        async with child() as one:

            def fails(_: str) -> None:
                raise LookupError("nobody knows")

            def killed(_: str) -> None:
                assert one.pid is not None
                os.kill(one.pid, signal.SIGKILL)

            with pytest.raises(LookupError, match="nobody knows"):
                await one.ask(TWICE, fails)
            assert await one.ask("6 * 7") == 42 and one.ended == 1
            with pytest.raises(Died):
                await one.ask(TWICE, killed)
            assert await one.ask("6 * 7") == 42 and one.ended == 2

    run(test())


def test_a_process_may_be_made_ready_before_there_is_work() -> None:
    async def test() -> None:
        async with child() as one:
            await one.ready()
            pid = one.pid
            await one.ready()
            assert pid == one.pid == await one.ask("__import__('os').getpid()")
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            while _runs(pid):
                await asyncio.sleep(0.005)
            await one.ready()
            assert one.pid != pid and await one.ask("6 * 7") == 42 and one.ended == 0

    run(test())


def test_every_process_does_something_once_it_is_free_and_mail_goes_on_meanwhile() -> None:
    async def test() -> None:
        lanes = Lanes(eval, cpu_seconds=30.0, wall_seconds=90.0, lanes=(Lane(10, 2, 0), Lane(None, 1, 5)))
        pids = "__import__('builtins').__dict__.setdefault('loaded', []).append(1)"
        loaded = "(__import__('os').getpid(), len(__import__('builtins').__dict__.get('loaded', [])))"
        gate = asyncio.Event()
        begun: list[str] = []

        async def held(what: str) -> None:
            begun.append(what)
            await gate.wait()

        try:
            busy = [
                asyncio.create_task(lanes.ask(TWICE, tenant=str(size), size=size, consult=held)) for size in (1, 1, 11)
            ]
            while len(begun) < 3:
                await asyncio.sleep(0.005)
            waiting = [asyncio.create_task(lanes.ask("6 * 7", tenant="w", size=1)) for _ in range(4)]
            each = asyncio.create_task(lanes.each(pids))
            await asyncio.sleep(0.05)
            assert not each.done()
            gate.set()
            await each
            assert [task.result() for task in waiting if task.done()] == [42] * sum(task.done() for task in waiting)
            await asyncio.gather(*busy, *waiting)
            # Of the two of one lane, each has it once.
            spin = loaded.replace(
                "(__import__('os').getpid()", "(__import__('time').sleep(0.2), __import__('os').getpid()"
            )
            found = await asyncio.gather(
                *(lanes.ask(spin, tenant="t", size=1) for _ in range(2)), lanes.ask(spin, tenant="t", size=11)
            )
            assert len({pid for _, pid, _ in found}) == 3 and {count for *_, count in found} == {1}
            with pytest.raises(ZeroDivisionError):
                await lanes.each("1 / 0")
            assert await lanes.ask("6 * 7", tenant="t", size=1) == 42 and lanes.ended == 0
        finally:
            lanes.stop()

    run(test())


def test_whoever_waits_for_a_process_and_goes_away_leaves_it_to_the_next() -> None:
    async def test() -> None:
        lanes = Lanes(eval, cpu_seconds=30.0, wall_seconds=90.0, lanes=(Lane(None, 1, 0),))
        gate = asyncio.Event()
        try:
            busy = asyncio.create_task(lanes.ask(TWICE, tenant="t", size=1, consult=lambda _: gate.wait()))
            await asyncio.sleep(0)
            each = asyncio.create_task(lanes.each("0"))
            await asyncio.sleep(0)
            (_, queue) = lanes._lanes[0]
            hand_on = queue._hand_on

            def at_once(free: Child) -> None:
                # It has its turn, and goes away before it takes it.
                hand_on(free)
                each.cancel()

            queue._hand_on = at_once  # type: ignore[method-assign]
            gate.set()
            await busy
            await asyncio.gather(each, return_exceptions=True)
            assert await asyncio.wait_for(lanes.ask("6 * 7", tenant="t", size=1), 60) == 42
        finally:
            lanes.stop()

    run(test())


def test_a_child_that_hangs_ends_with_its_parent() -> None:
    program = (
        "import asyncio\n"
        "from mailwarden_services.reading.child import Child\n"
        "async def main():\n"
        "    one = Child(eval, cpu_seconds=600.0, wall_seconds=600.0)\n"
        "    print(await one.ask(\"__import__('os').getpid()\"), flush=True)\n"
        f"    await one.ask({SPIN!r})\n"
        "if __name__ == '__main__':\n"
        "    asyncio.run(main())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
    finally:
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 60
    while _runs(pid):
        assert time.monotonic() < deadline, "the child outlives its parent"
        time.sleep(0.02)


def test_the_script_that_reads_mail_is_not_run_again_in_its_children(tmp_path: Path) -> None:
    script = tmp_path / "serves.py"
    script.write_text(
        "import asyncio\n"
        "from mailwarden_services.reading.child import Child\n"
        "print('serving', flush=True)\n"
        "async def main():\n"
        "    one = Child(eval, cpu_seconds=60.0, wall_seconds=60.0)\n"
        "    print(await one.ask('6 * 7'), flush=True)\n"
        "    one.stop()\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("serving\n42\n", 0), done.stderr


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
