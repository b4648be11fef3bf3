from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailwarden.errors import ConfigError, DataError, StoreError, StoreUnavailable
from mailwarden.stores.spool import Spool, SpoolReader, retire
from mailwarden.stores.spool_files import pack_mark, segments_of


def everything(folder: Path, name: str = "test") -> list[bytes]:
    reader = SpoolReader(folder, name)
    records: list[bytes] = []
    while batch := reader.poll():
        records += [payload for _, payload in batch]
    reader.close()
    return records


def test_a_record_is_read_once_in_order_and_not_again_after_its_commit(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        positions = [spool.append(b"%d" % i) for i in range(5)]
        reader = SpoolReader(tmp_path, "writer")
        first = reader.poll(limit=2)
        assert [payload for _, payload in first] == [b"0", b"1"]
        assert [position for position, _ in first] == positions[:2]
        reader.commit(first[-1][0])
        again = SpoolReader(tmp_path, "writer")
        assert [payload for _, payload in again.poll()] == [b"2", b"3", b"4"]
        assert again.poll() == []
        assert again.lag_bytes() == positions[4] - positions[1]
        spool.append(b"5")
        assert [payload for _, payload in again.poll()] == [b"5"]
        # Polled, never committed: it comes again.
        assert [payload for _, payload in SpoolReader(tmp_path, "writer").poll()] == [b"2", b"3", b"4", b"5"]


def test_positions_go_on_after_reopening(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        last = spool.append(b"one")
    with Spool(tmp_path) as spool:
        assert spool.position == last
        assert spool.append(b"two") > last
    assert everything(tmp_path) == [b"one", b"two"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=30), st.integers(1, 400), st.integers(1, 7))
def test_any_records_over_any_segments_come_back(payloads: list[bytes], segment_bytes: int, limit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with Spool(Path(folder), fsync=False, segment_bytes=segment_bytes) as spool:
            for payload in payloads:
                spool.append(payload)
        reader = SpoolReader(Path(folder), "r")
        read: list[bytes] = []
        while batch := reader.poll(limit=limit):
            assert len(batch) <= limit
            read += [payload for _, payload in batch]
            reader.commit(batch[-1][0])
            reader.close()
            reader = SpoolReader(Path(folder), "r")
        assert read == payloads
        retire(Path(folder), ["r"])
        assert len(segments_of(Path(folder))) == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=8), st.data())
def test_a_tail_that_breaks_off_anywhere_is_cut_and_what_was_whole_stays(
    payloads: list[bytes], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Spool(folder, fsync=False) as spool:
            safe = spool.append(payloads[0])
            ends = [safe] + [spool.append(payload) for payload in payloads[1:]]
        # As a power cut leaves it: the first record was acknowledged, what follows is there in part.
        cut = data.draw(st.integers(safe, ends[-1]))
        segment = folder / f"{0:020d}.seg"
        os.truncate(segment, cut)
        (folder / "committed").unlink()
        with Spool(folder, fsync=False) as spool:
            whole = [payload for payload, end in zip(payloads, ends, strict=True) if end <= cut]
            assert spool.position == max(end for end in ends if end <= cut)
            spool.append(b"after")
        assert everything(folder) == [*whole, b"after"]


def test_a_damaged_record_that_was_acknowledged_is_an_error_that_names_file_and_byte(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        ends = [spool.append(payload * 20) for payload in (b"a", b"b", b"c")]
    segment = tmp_path / f"{0:020d}.seg"
    data = bytearray(segment.read_bytes())
    data[ends[0] + 12] ^= 1
    segment.write_bytes(data)
    with pytest.raises(StoreError, match=rf"{segment.name}.*byte {ends[0]} "):
        Spool(tmp_path)
    reader = SpoolReader(tmp_path, "r")
    with pytest.raises(StoreError, match=rf"{segment.name}.*byte {ends[0]} "):
        reader.poll()


def test_readers_see_nothing_beyond_the_committed_mark(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        spool.append(b"safe")
        segment = tmp_path / f"{0:020d}.seg"
        whole = segment.read_bytes()
        with segment.open("ab") as file:
            file.write(whole)  # a whole record that nobody has synced
        reader = SpoolReader(tmp_path, "r")
        assert [payload for _, payload in reader.poll()] == [b"safe"]
        assert reader.poll() == []


def test_many_threads_share_an_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = 0
    real = os.fdatasync

    def counted(handle: int) -> None:
        nonlocal syncs
        syncs += 1
        time.sleep(0.002)
        real(handle)

    monkeypatch.setattr(os, "fdatasync", counted)
    with Spool(tmp_path) as spool:
        positions: list[int] = []

        def work(number: int) -> None:
            for i in range(10):
                positions.append(spool.append(b"%d-%d" % (number, i)))

        threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(positions)) == 160
    assert syncs < 80
    read = everything(tmp_path)
    for number in range(16):
        mine = [r for r in read if r.startswith(b"%d-" % number)]
        assert mine == [b"%d-%d" % (number, i) for i in range(10)]


def test_asyncio_callers_are_answered_on_their_loop(tmp_path: Path) -> None:
    async def main() -> list[int]:
        with Spool(tmp_path) as spool:
            return await asyncio.gather(*(spool.append_async(b"%d" % i) for i in range(200)))

    positions = asyncio.run(main())
    assert positions == sorted(positions)
    assert everything(tmp_path) == [b"%d" % i for i in range(200)]


def test_a_full_disk_is_told_to_the_caller_and_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Spool(tmp_path) as spool:
        spool.append(b"before")
        real = os.pwrite

        def full(handle: int, data: bytes, offset: int) -> int:
            if offset:
                real(handle, bytes(data)[:3], offset)
                raise OSError(28, "No space left on device")
            return real(handle, data, offset)

        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(StoreUnavailable, match=r"disk at .* is full"):
            spool.append(b"lost")
        monkeypatch.undo()
        spool.append(b"after")
    assert everything(tmp_path) == [b"before", b"after"]


class Held:
    """A disk that takes what is written only once it is let, and refuses it where it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.let = threading.Event(), threading.Event()
        self.refuses = False
        self.writes: list[bytes] = []
        real = os.pwrite

        def write(handle: int, data: bytes, offset: int) -> int:
            if offset or len(data) != len(pack_mark(0)):
                self.writes.append(bytes(data))
                self.reached.set()
                assert self.let.wait(20)
                if self.refuses:
                    raise OSError(28, "No space left on device")
            return real(handle, data, offset)

        monkeypatch.setattr(os, "pwrite", write)


def settled(into: dict[str, tuple[int | None, StoreError | None]], name: str, done: threading.Event | None = None):  # type: ignore[no-untyped-def]
    def settle(position: int | None, error: StoreError | None) -> None:
        into[name] = position, error
        if done is not None:
            done.set()

    return settle


def test_records_are_made_in_the_order_of_the_calls_by_one_thread_and_share_a_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Held(monkeypatch)
    told: dict[str, tuple[int | None, StoreError | None]] = {}
    makers: list[tuple[str, str]] = []
    done = threading.Event()

    def make(name: str, payload: bytes | None) -> Callable[[], bytes | None]:
        return lambda: (makers.append((name, threading.current_thread().name)), payload)[1]

    with Spool(tmp_path, fsync=False) as spool:
        spool.append_made(make("first", b"first"), settled(told, "first"), size=5)
        assert disk.reached.wait(20)
        for number in range(20):
            name = f"r{number}"
            payload = None if number % 3 == 2 else name.encode()
            spool.append_made(make(name, payload), settled(told, name), size=3)
        spool.append_made(make("last", b"last"), settled(told, "last", done), size=4)
        # While the disk is busy nothing more is made.
        assert [name for name, _ in makers] == ["first"] and told == {}
        disk.let.set()
        assert done.wait(20)
        assert len(disk.writes) == 2
        end = spool.position
    assert [name for name, _ in makers] == ["first", *(f"r{number}" for number in range(20)), "last"]
    assert {thread for _, thread in makers} == {"spool"}
    written = [name for name, (position, _) in told.items() if position is not None]
    assert [payload.decode() for payload in everything(tmp_path)] == sorted(
        written, key=lambda name: told[name][0] or 0
    )
    assert [name for name in told if name not in written] == [f"r{number}" for number in range(2, 20, 3)]
    assert all(error is None for _, error in told.values()) and told["last"][0] == end


def test_a_record_that_cannot_be_made_is_its_callers_matter_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Held(monkeypatch)
    told: dict[str, tuple[int | None, StoreError | None]] = {}
    taken_back: list[str] = []
    done = threading.Event()

    def fails(error: Exception) -> Callable[[], bytes]:
        def make() -> bytes:
            raise error

        return make

    def undo(name: str) -> Callable[[], None]:
        return lambda: taken_back.append(name)

    monkeypatch.setattr("mailwarden.stores.spool_files.MAX_PAYLOAD", 1_000)
    with Spool(tmp_path, fsync=False) as spool:
        spool.append_made(lambda: b"first", settled(told, "first"), size=1, undo=undo("first"))
        assert disk.reached.wait(20)
        spool.append_made(fails(StoreUnavailable("asked in vain")), settled(told, "store"), size=1, undo=undo("store"))
        spool.append_made(lambda: b"good", settled(told, "good"), size=1, undo=undo("good"))
        spool.append_made(fails(ZeroDivisionError("1/0")), settled(told, "bug"), size=1, undo=undo("bug"))
        spool.append_made(lambda: b"x" * 1_001, settled(told, "long"), size=1, undo=undo("long"))
        spool.append_made(lambda: b"last", settled(told, "last", done), size=1, undo=undo("last"))
        disk.let.set()
        assert done.wait(20)
    assert everything(tmp_path) == [b"first", b"good", b"last"]
    assert isinstance(told["store"][1], StoreUnavailable) and "1/0" in str(told["bug"][1])
    assert "too long" in str(told["long"][1])
    assert {name for name, (_, error) in told.items() if error is None} == {"first", "good", "last"}
    # What was made and never written is taken back: nobody else would.
    assert taken_back == ["long"]


def test_what_the_disk_refuses_is_taken_back_last_first_and_every_caller_of_the_group_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Held(monkeypatch)
    told: dict[str, tuple[int | None, StoreError | None]] = {}
    taken_back: list[int] = []
    done = threading.Event()
    numbers = iter(range(1, 100))

    def make() -> bytes:
        return b"%d" % next(numbers)

    def undo(number: int) -> Callable[[], None]:
        def back() -> None:
            taken_back.append(number)
            if number == 3:
                raise RuntimeError("it cannot be taken back")

        return back

    with Spool(tmp_path, fsync=False) as spool:
        spool.append_made(make, settled(told, "1"), size=1, undo=undo(1))
        assert disk.reached.wait(20)
        for number in (2, 3, 4):
            spool.append_made(make, settled(told, str(number)), size=1, undo=undo(number))
        # Nothing to write, for what stands in that group: told with it.
        spool.append_made(lambda: None, settled(told, "repeat", done), size=1, undo=undo(9))
        disk.refuses = True
        disk.let.set()
        assert done.wait(20)
        disk.refuses = False
        assert taken_back == [1, 4, 3, 2]
        assert list(told) == ["1", "2", "3", "4", "repeat"]
        assert all(isinstance(error, StoreUnavailable) for _, error in told.values())
        assert spool.append(b"after") == spool.position
    assert everything(tmp_path) == [b"after"]


def test_what_may_wait_is_overtaken_by_what_may_not_and_advances_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Held(monkeypatch)
    monkeypatch.setattr("mailwarden.stores.spool.LATER_WAITS_SECONDS", 3_600.0)
    monkeypatch.setattr("mailwarden.stores.spool.LATER_SECONDS", 3_600.0)
    monkeypatch.setattr("mailwarden.stores.spool.LATER_BYTES", 2)
    told: dict[str, tuple[int | None, StoreError | None]] = {}
    done = threading.Event()

    def add(spool: Spool, name: str, *, later: bool, then: threading.Event | None = None) -> None:
        spool.append_made(lambda: name.encode(), settled(told, name, then), size=1, later=later)

    with Spool(tmp_path, fsync=False) as spool:
        add(spool, "first", later=False)
        assert disk.reached.wait(20)
        for number in range(5):
            add(spool, f"old{number}", later=True, then=done if number == 4 else None)
        for number in range(3):
            add(spool, f"live{number}", later=False)
        assert 0 <= spool.quiet_seconds < 60
        disk.let.set()
        assert done.wait(20)
        # Two at a time, once nothing else waits; in their own order.
        assert everything(tmp_path) == [
            b"first", b"live0", b"live1", b"live2", b"old0", b"old1", b"old2", b"old3", b"old4"
        ]  # fmt: skip
        assert len(disk.writes) == 1 + 1 + 3
    assert list(told)[-5:] == [f"old{number}" for number in range(5)]


def test_what_may_wait_goes_with_what_may_not_once_it_has_waited_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Held(monkeypatch)
    monkeypatch.setattr("mailwarden.stores.spool.LATER_WAITS_SECONDS", 0.0)
    monkeypatch.setattr("mailwarden.stores.spool.LATER_BYTES", 1)
    told: dict[str, tuple[int | None, StoreError | None]] = {}
    with Spool(tmp_path, fsync=False) as spool:
        spool.append_made(lambda: b"first", settled(told, "first"), size=1)
        assert disk.reached.wait(20)
        for name in (b"old0", b"old1"):
            spool.append_made(lambda name=name: name, settled(told, name.decode()), size=1, later=True)  # type: ignore[misc]
        for name in (b"live0", b"live1"):
            spool.append_made(lambda name=name: name, settled(told, name.decode()), size=1)  # type: ignore[misc]
        disk.let.set()
    assert everything(tmp_path) == [b"first", b"live0", b"live1", b"old0", b"old1"]
    assert [len(write) > 30 for write in disk.writes] == [False, True, False]


def test_what_may_wait_hears_of_a_spool_that_broke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Held(monkeypatch)
    told: dict[str, tuple[int | None, StoreError | None]] = {}
    done = threading.Event()

    def fails(handle: int) -> None:
        raise OSError(5, "Input/output error")

    with Spool(tmp_path) as spool:
        monkeypatch.setattr(os, "fdatasync", fails)
        spool.append_made(lambda: b"first", settled(told, "first"), size=1)
        assert disk.reached.wait(20)
        for number in range(3):
            then = done if number == 2 else None
            spool.append_made(lambda: b"old", settled(told, f"old{number}", then), size=300_000, later=True)
        disk.let.set()
        assert done.wait(20)
    assert all(isinstance(error, StoreUnavailable) for _, error in told.values()) and len(told) == 4


def test_a_group_is_told_on_its_loop_in_one_call_and_a_closed_loop_harms_nobody(tmp_path: Path) -> None:
    gone = asyncio.new_event_loop()
    gone.close()

    async def test(spool: Spool) -> tuple[list[int | None], set[str]]:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        positions: list[int | None] = []
        threads: set[str] = set()

        def settle(position: int | None, error: StoreError | None) -> None:
            positions.append(position)
            threads.add(threading.current_thread().name)
            if len(positions) == 5:
                done.set()

        spool.append_made(lambda: b"for nobody", settle, size=1, loop=gone)
        for number in range(5):
            spool.append_made(lambda number=number: b"%d" % number, settle, size=1, loop=loop)
        await asyncio.wait_for(done.wait(), 60)
        return positions, threads

    with Spool(tmp_path, fsync=False) as spool:
        positions, threads = asyncio.run(test(spool))
        assert positions == sorted(positions, key=lambda at: at or 0) and positions[-1] == spool.position
    assert threads == {threading.current_thread().name}
    assert everything(tmp_path) == [b"for nobody", *(b"%d" % number for number in range(5))]


def test_after_a_failed_fsync_nothing_is_acknowledged_until_reopened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Spool(tmp_path) as spool:
        spool.append(b"before")

        def fails(handle: int) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "fdatasync", fails)
        with pytest.raises(StoreUnavailable):
            spool.append(b"unknown")
        monkeypatch.undo()
        with pytest.raises(StoreUnavailable, match="open the spool again"):
            spool.append(b"refused")
        assert everything(tmp_path) == [b"before"]
    with Spool(tmp_path) as spool:
        spool.append(b"after")


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with Spool(tmp_path), pytest.raises(StoreError, match="another process writes"):
        Spool(tmp_path)
    Spool(tmp_path).close()


def test_retire_keeps_what_any_reader_needs(tmp_path: Path) -> None:
    with Spool(tmp_path, segment_bytes=1) as spool:
        positions = [spool.append(b"%d" % i) for i in range(6)]
    fast, slow = SpoolReader(tmp_path, "fast"), SpoolReader(tmp_path, "slow")
    fast.poll()
    fast.commit(positions[5])
    assert retire(tmp_path, ["fast", "slow"]) == 0
    slow.poll()
    slow.commit(positions[2])
    assert retire(tmp_path, ["fast", "slow"]) == 3
    assert [p for _, p in SpoolReader(tmp_path, "slow").poll()] == [b"3", b"4", b"5"]
    assert everything(tmp_path, "new") == [b"3", b"4", b"5"]
    with pytest.raises(ConfigError):
        retire(tmp_path, [])
    retire(tmp_path, ["fast"])
    with pytest.raises(StoreError, match="has not read it"):
        SpoolReader(tmp_path, "slow").poll()


def test_a_commit_must_be_of_what_was_read(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        position = spool.append(b"x")
    reader = SpoolReader(tmp_path, "r")
    with pytest.raises(StoreError, match="outside what was read"):
        reader.commit(position)
    with pytest.raises(ConfigError):
        SpoolReader(tmp_path, "../r")


def test_closed_and_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path)
    monkeypatch.setattr("mailwarden.stores.spool_files.MAX_PAYLOAD", 3)
    with pytest.raises(DataError, match="too long"):
        spool.append(b"four")
    spool.close()
    with pytest.raises(StoreError, match="closed"):
        spool.append(b"x")


_WRITER = """
import sys, threading
from pathlib import Path
from mailwarden.stores.spool import Spool
spool = Spool(Path(sys.argv[1]), segment_bytes=4000)
run = sys.argv[2].encode()
lock = threading.Lock()
def work(number):
    i = 0
    while True:
        payload = b"%s:%d:%d:" % (run, number, i) + b"x" * (i % 97)
        spool.append(payload)
        with lock:
            sys.stdout.buffer.write(b"%s:%d:%d\\n" % (run, number, i))
            sys.stdout.buffer.flush()
        i += 1
for number in range(3):
    threading.Thread(target=work, args=(number,), daemon=True).start()
threading.Event().wait()
"""


def test_kill_9_at_any_moment_loses_no_acknowledged_record_and_repeats_none(tmp_path: Path) -> None:
    chance = random.Random(7)
    acknowledged: list[str] = []
    reader = SpoolReader(tmp_path, "r")
    read: list[str] = []

    def drain() -> None:
        while batch := reader.poll(limit=100):
            read.extend(":".join(payload.decode().split(":")[:3]) for _, payload in batch)
            reader.commit(batch[-1][0])

    for run in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path), str(run)], stdout=subprocess.PIPE, text=False
        )
        assert child.stdout is not None
        acknowledged.append(child.stdout.readline().decode().strip())
        deadline = time.monotonic() + chance.uniform(0, 0.15)
        while time.monotonic() < deadline:
            drain()  # another process reads while it is written
        os.kill(child.pid, signal.SIGKILL)
        acknowledged += [line.decode().strip() for line in child.stdout.read().split(b"\n")[:-1]]
        child.wait()
        child.stdout.close()
    Spool(tmp_path).close()
    drain()
    assert len(acknowledged) > 20
    assert len(read) == len(set(read))
    assert set(acknowledged) <= set(read)
    # Beyond what was acknowledged: at most one record a thread and run that was on its way.
    assert len(set(read) - set(acknowledged)) <= 6 * 3
    for run in range(6):
        for number in range(3):
            mine = [int(r.split(":")[2]) for r in read if r.startswith(f"{run}:{number}:")]
            assert mine == list(range(len(mine)))


def _hold(folder: str, ready: object, done: object) -> None:
    with Spool(Path(folder)):
        ready.set()  # type: ignore[attr-defined]
        done.wait(20)  # type: ignore[attr-defined]


def test_a_writer_in_another_process_is_told_of(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    child = context.Process(target=_hold, args=(str(tmp_path), ready, done))
    child.start()
    try:
        assert ready.wait(20)
        with pytest.raises(StoreError, match="another process"):
            Spool(tmp_path)
    finally:
        done.set()
        child.join()
