"""`bench abuse`: clients that mean no good against a server of the test's own, memory, and the whole, small."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mailwarden.errors import StoreUnavailable
from mailwarden.settings import Settings
from mailwarden_services.bench import abuse, abuse_clients, load_mail
from mailwarden_services.bench.memory import memory_watched
from mailwarden_services.bench.senders import Sender, sending
from mailwarden_services.bench.suite import bench_tables
from mailwarden_services.processes import proportional_bytes

HOLDS = """
import sys
held = bytearray(64 << 20)
print("held", flush=True)
sys.stdin.read()
"""


def test_clients_work_while_the_block_runs_and_are_counted_by_name(tmp_path: Path) -> None:
    nobody = (str(tmp_path / "none"), "key", 1)
    senders = [Sender(name, abuse_clients.label_batches, nobody) for name in ("two", "two", "one")]
    with sending(senders) as found:
        assert found == {"two": Counter(), "one": Counter()}
    assert {name: set(counts) for name, counts in found.items()} == {
        "two": {"FileNotFoundError"}, "one": {"FileNotFoundError"},
    }  # fmt: skip


def test_a_client_that_does_not_begin_is_named() -> None:
    lacking = Sender("lacking", abuse_clients.slow_clients)
    with pytest.raises(StoreUnavailable, match="ended before it began"), sending([lacking]):
        pass


def test_memory_is_what_processes_hold_together() -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdin is not None
        child.stdout.readline()
        assert 64 << 20 < proportional_bytes(child.pid) < 128 << 20
        with memory_watched(child.pid, every=0.05) as watch:
            pass
        child.stdin.close()
    figures = watch.figures()
    assert figures["peak_bytes"] == sum(figures["parts"].values()) > 64 << 20
    assert len(figures["curve"]) == len(watch.samples) >= 1
    assert proportional_bytes(child.pid) == 0


class Listener:
    """A server that takes what comes and says nothing, but for hanging up on the first connection."""

    def __init__(self, path: Path) -> None:
        self.taken: Counter[int] = Counter()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(64)
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        for number in range(1_000):
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            if not number:
                connection.close()
                continue
            self._open.append(connection)
            threading.Thread(target=self._take, args=(number, connection), daemon=True).start()

    def _take(self, number: int, connection: socket.socket) -> None:
        while data := connection.recv(65_536):
            self.taken[number] += len(data)

    def close(self) -> None:
        self._server.close()


class After:
    """A `Stop` that is set after it was waited for so many times."""

    def __init__(self, waits: int) -> None:
        self._left = waits

    def is_set(self) -> bool:
        return self._left <= 0

    def wait(self, timeout: float | None = None) -> bool:
        threading.Event().wait(0.02)
        self._left -= 1
        return self.is_set()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    found = Listener(tmp_path / "s")
    yield found
    found.close()


def test_slow_and_held_connections_come_again_when_hung_up_on(listener: Listener, tmp_path: Path) -> None:
    told: Counter[str] = Counter()
    abuse_clients.slow_clients(str(tmp_path / "s"), "key", 3, After(5), lambda outcome: told.update([outcome]))
    assert told == Counter({"opened": 4, "hung up": 1})
    assert len(listener.taken) == 3 and max(listener.taken.values()) <= 5
    abuse_clients.held_bodies(str(tmp_path / "s"), "key", 2, 100_000, After(20), lambda outcome: None)
    assert (
        sorted(listener.taken.values())[-2:] == [max(listener.taken.values())] * 2
        and 100_000 < max(listener.taken.values()) < 101_000
    )


@pytest.mark.verify
@pytest.mark.verify
def test_every_way_is_measured_beside_another_tenants_mail(
    model_home: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    shutil.copytree(model_home.folder, home)
    monkeypatch.setattr(load_mail, "TREC", home / "none")
    for name, few in (
        ("SLOW_CLIENTS", 3),
        ("HELD_BODIES", 2),
        ("LARGE_MAILS", 2),
        ("LARGE_BYTES", 10**5),
        ("LABELS", 5),
    ):
        monkeypatch.setattr(abuse, name, few)
    options = abuse.AbuseOptions(home=home, seconds=0.5, ways=("alone", "all at once"), small_files=0)
    found = abuse.measure(Settings(), options)
    assert list(found["ways"]) == ["alone", "all at once"] and set(found["ways"]["all at once"]["answers"]) == {
        "slow clients", "held bodies", "label batches", "mail to many", "large mail",
    }  # fmt: skip
    for way, one in found["ways"].items():
        assert one["failed"] == 0 and one["memory"]["peak_bytes"] > 50 << 20, way
    answers = found["ways"]["all at once"]["answers"]
    assert answers["mail to many"]["200"] == abuse.MANY_RECIPIENTS and answers["large mail"]["200"] >= 2
    assert answers["label batches"]["200"] >= 1 and answers["slow clients"]["opened"] == 3
    assert len(bench_tables({"abuse": found})) == 1
    assert os.path.isdir(home) and not (home / "spool").exists()
