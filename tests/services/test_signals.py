"""Slow signals from an accepted message to the state that counts them, over crashes, redelivery and restarts."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from threading import Event as Flag
from typing import Any

import numpy as np
import pytest
import zxingcpp
from PIL import Image

from mailwarden.domain.mail.facts import SignalFacts
from mailwarden.domain.mail.message import Envelope
from mailwarden.errors import DataError, NotFound, StoreError, StoreUnavailable
from mailwarden.ingest.found_later import FoundLater, find_later
from mailwarden.settings import Settings
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.lake.event_log import table_to_events
from mailwarden.stores.spool import Spool
from mailwarden.stores.spool_reader import SpoolReader
from mailwarden_services.bootstrap import Platform
from mailwarden_services.embedded import with_redis
from mailwarden_services.replay.live import live_service
from mailwarden_services.signals import handover
from mailwarden_services.signals.found import FoundSignal, decode_found, encode_found
from mailwarden_services.signals.handover import Handover
from mailwarden_services.signals.worker import MAX_STARTS, SignalWorker

Mail = list[SimulatedMessage]
DAY_US = 86_400_000_000


class Crash(BaseException):
    """What a process dies of."""


def scan_me(number: int = 0, domain: str = "evil.example") -> tuple[bytes, Envelope]:
    """A message whose only content is a page with a code, too large to be read at once."""
    barcode = zxingcpp.create_barcode(f"https://login.{domain}/{number}", zxingcpp.BarcodeFormat.QRCode)
    sheet = Image.new("L", (1_100, 1_000), 255)
    sheet.paste(Image.fromarray(np.array(zxingcpp.write_barcode_to_image(barcode, scale=3))), (90, 90))
    out = io.BytesIO()
    sheet.save(out, "PNG")
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "ann@parts.example", "bob@acme.example", f"Invoice {number}"
    message.set_content("Please scan.")
    message.add_attachment(out.getvalue(), maintype="image", subtype="png", filename="scan.png")
    at_us = 1_800_000_000_000_000 + number * DAY_US
    return bytes(message), Envelope(at_us, "ann@parts.example", ("bob@acme.example",))


def work(settings: Settings, find: Callable[[bytes, str | None], FoundLater | None] = find_later) -> None:
    """A worker's life from its start to its stop, or to its crash."""
    with Spool(settings.found_path, fsync=False) as found:
        worker = SignalWorker(settings.spool_path, found, find=find)
        worker.step()
        worker.close()


def found_in(settings: Settings) -> list[FoundSignal]:
    """All that was ever handed over and not retired."""
    return [decode_found(payload) for _, payload in SpoolReader(settings.found_path, "test").poll()]


def taken(warden: Any, seconds: float = 20.0) -> None:
    """Wait until the API has taken in all found signals."""
    deadline = time.monotonic() + seconds
    while SpoolReader(warden.settings.found_path, "intake").lag_bytes():
        assert time.monotonic() < deadline, "found signals were not taken in"
        time.sleep(0.02)


def signals(warden: Any) -> list[tuple[int, str, str, int, int]]:
    warden.drain().close()
    return [
        (event.seq, event.message_id, event.link_domain, event.qr_code_count, event.qr_url_count)
        for event in warden.events()
        if event.kind == "signal"
    ]


def test_a_code_is_found_after_the_answer_and_counts_from_its_own_seq(warden: Any, simulated: Mail) -> None:
    raw, envelope = scan_me()
    with warden.api() as api:
        answer = api.score(raw, envelope).json()
        plain = api.send(simulated[0])
        assert (answer["pending"], plain["pending"]) == (["qr"], [])
        work(warden.settings)
        taken(warden)
        # The next message of the same sender reads what was found.
        api.score(*scan_me(1))
    assert signals(warden) == [(3, answer["message_id"], "evil.example", 1, 1)]
    events = warden.events()
    assert [event.kind for event in events] == ["message", "message", "signal", "message"]
    (found,) = [event for event in events if event.kind == "signal"]
    message = events[0]
    assert (message.pending, message.link_domain, message.qr_code_count) == (("qr",), "", 0)
    assert (found.sender, found.received_at_us, found.pending) == (message.sender, message.received_at_us, ())
    # As late as the newest mail by then, and no machine's clock is asked.
    assert found.known_at_us == max(event.received_at_us for event in events[:2])
    assert warden.states() == warden.folded(events)
    assert warden.folded_up_to() == 4


def test_what_is_handed_over_again_counts_once(warden: Any) -> None:
    with warden.api() as api:
        for number in range(2):
            api.score(*scan_me(number))
        work(warden.settings)
        taken(warden)
        # Found again by a worker that lost its place, while the API remembers.
        (warden.settings.spool_path / "signals.checkpoint").unlink()
        work(warden.settings)
        taken(warden)
    # And after a restart: from the spool, and then from the log.
    for _ in range(2):
        (warden.settings.spool_path / "signals.checkpoint").unlink()
        (warden.settings.found_path / "intake.checkpoint").unlink()
        with warden.api():
            work(warden.settings)
            taken(warden)
        assert [found[0] for found in signals(warden)] == [3, 4]
        work(warden.settings)
    assert [event.seq for event in warden.events()] == [1, 2, 3, 4]


def test_a_crash_anywhere_loses_no_signal(warden: Any) -> None:
    def dies(raw: bytes, mail_from: str | None) -> FoundLater | None:
        raise Crash

    with warden.api() as api:
        ids = [api.score(*scan_me(number)).json()["message_id"] for number in range(3)]
        with pytest.raises(Crash):
            work(warden.settings, dies)
        assert found_in(warden.settings) == []
        # After the hand-over, before the place is kept: found twice, and counted once.
        with Spool(warden.settings.found_path, fsync=False) as found:
            SignalWorker(warden.settings.spool_path, found).step()
        work(warden.settings)
        assert [one.message_id for one in found_in(warden.settings)] == ids * 2
        taken(warden)
    assert [found[1] for found in signals(warden)] == ids


def test_a_message_that_ends_the_worker_each_time_is_passed_over(warden: Any) -> None:
    begun: list[bytes] = []

    def dies_of_the_first(raw: bytes, mail_from: str | None) -> FoundLater | None:
        begun.append(raw)
        if b"Invoice 0" in raw:
            raise Crash
        return find_later(raw, mail_from)

    with warden.api() as api:
        ids = [api.score(*scan_me(number)).json()["message_id"] for number in range(2)]
    for _ in range(MAX_STARTS):
        with pytest.raises(Crash):
            work(warden.settings, dies_of_the_first)
    work(warden.settings, dies_of_the_first)
    assert len(begun) == MAX_STARTS + 1
    assert [one.message_id for one in found_in(warden.settings)] == ids[1:]


def test_a_worker_that_is_told_to_stop_goes_on_where_it_was(warden: Any) -> None:
    with warden.api() as api:
        ids = [api.score(*scan_me(number)).json()["message_id"] for number in range(3)]
    stop = Flag()

    def stops(raw: bytes, mail_from: str | None) -> FoundLater | None:
        stop.set()
        return find_later(raw, mail_from)

    for n in range(1, 4):
        stop.clear()
        with Spool(warden.settings.found_path, fsync=False) as found:
            SignalWorker(warden.settings.spool_path, found, find=stops).run(stop)
        assert [one.message_id for one in found_in(warden.settings)] == ids[:n]


def test_mail_that_waits_for_its_signal_stays_in_the_spool(warden: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Spool
    monkeypatch.setattr(
        "mailwarden_services.scoring_service.Spool", lambda path, fsync: made(path, fsync=fsync, segment_bytes=1)
    )
    with warden.api() as api:
        api.score(*scan_me(0))
    work(warden.settings)
    with warden.api() as api:
        for number in range(1, 4):
            api.score(*scan_me(number))
        warden.drain().close()
        work(warden.settings)
        taken(warden)
        work(warden.settings)
        api.score(*scan_me(9))
        warden.drain().close()
        assert len(list(warden.settings.spool_path.glob("*.seg"))) <= 2
    assert len(signals(warden)) == 4


@pytest.fixture
def short_home(model_home: Any) -> Iterator[Settings]:
    """A home whose path leaves room for sockets, without a Redis named."""
    folder = Path(tempfile.mkdtemp(prefix="mw-signals-"))
    shutil.copytree(model_home.folder, folder / "h")
    yield Settings(home=folder / "h", spool_fsync=False)
    shutil.rmtree(folder)


def worker_of(pid: int) -> int:
    """The signal worker that a `serve` started."""
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"mailwarden_services.signals" in (folder / "cmdline").read_bytes():
                return int(folder.name)
    return 0


def test_serve_finds_signals_beside_the_mail_and_its_worker_may_be_killed(
    short_home: Settings, model_home: Any
) -> None:
    with (
        with_redis(short_home, keep=False) as settings,
        live_service(settings, model_home.keys["acme"], settings.run_path) as service,
    ):
        answer, _ = service.score(*scan_me(0))
        assert answer["pending"] == ["qr"]
        service.wait_folded("acme", 2)
        pid = worker_of(service.process.pid)
        assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0) + 10
        os.kill(pid, signal.SIGKILL)
        service.score(*scan_me(1))
        service.wait_folded("acme", 4)
        assert worker_of(service.process.pid) not in (0, pid)
    events = sorted(table_to_events(Platform(short_home).events.scan().read_all()), key=lambda e: e.seq)
    assert [event.kind for event in events] == ["message", "signal"] * 2
    assert [event.link_domain for event in events] == ["", "evil.example"] * 2


def test_what_no_version_wrote_is_refused() -> None:
    for payload in (b"", b"{}", b"[1]", b'{"tenant":1,"facts":{}}'):
        with pytest.raises(StoreError, match="one version"):
            decode_found(payload)
    odd = FoundSignal("t", "m", 1, SignalFacts("palm", 1, 1, ""))  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="palm"):
        decode_found(encode_found(odd))


def test_the_hand_over_drops_what_is_unknown_and_keeps_what_fails(tmp_path: Path) -> None:
    answers: list[Exception | None] = [NotFound("none"), StoreUnavailable("away"), None]
    seen: list[str] = []

    async def take(found: FoundSignal) -> None:
        seen.append(found.message_id)
        error = answers.pop(0)
        if error is not None:
            raise error

    with Spool(tmp_path, fsync=False) as spool:
        for name in ("a", "b"):
            spool.append(encode_found(FoundSignal("t", name, 1, SignalFacts("qr", 1, 1, ""))))
    with pytest.raises(StoreUnavailable):
        asyncio.run(Handover(tmp_path, take).step())
    assert asyncio.run(Handover(tmp_path, take).step())
    assert not asyncio.run(Handover(tmp_path, take).step())
    assert seen == ["a", "b", "b"]


def test_the_hand_over_goes_on_after_whatever_stood_in_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "RETRY_SECONDS", 0.0)
    answers: list[Exception | None] = [StoreUnavailable("away"), DataError("fact sets cannot be read"), None]
    taken = asyncio.Event()

    async def take(found: FoundSignal) -> None:
        error = answers.pop(0)
        if error is not None:
            raise error
        taken.set()

    with Spool(tmp_path, fsync=False) as spool:
        spool.append(encode_found(FoundSignal("t", "a", 1, SignalFacts("qr", 1, 1, ""))))

    async def until_taken() -> None:
        run = asyncio.create_task(Handover(tmp_path, take).run())
        await asyncio.wait(
            {run, asyncio.create_task(asyncio.wait_for(taken.wait(), 30))}, return_when="FIRST_COMPLETED"
        )
        assert taken.is_set() and not run.done()
        run.cancel()

    asyncio.run(until_taken())
