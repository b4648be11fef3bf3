"""A breaker before a store that hangs: after some timeouts running nobody asks it, until a probe is answered again.

Closed, every call asks, and a timeout costs its caller the whole of it. After `FAILURES` of these running the breaker
opens: calls fail at once. One probe at a time, in a thread of its own, asks meanwhile, so that no message waits for
what it finds; the first that is answered closes the breaker. A store that refuses connections says so at once: that
costs nobody anything, and opens nothing.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from mailwarden.errors import StoreTimeout, StoreUnavailable

FAILURES = 3
"""Timeouts running that open it."""

PROBE_SECONDS = 0.5
"""Between two probes."""

_log = structlog.get_logger(__name__)


class Breaker:
    """One process's, before one store. what: the store, for people. probe: asks it anything, raising where it is away.

    probe_seconds: between two probes.
    """

    def __init__(self, what: str, probe: Callable[[], object], *, probe_seconds: float = PROBE_SECONDS) -> None:
        self._what, self._probe, self._probe_seconds = what, probe, probe_seconds
        self._failures = 0
        self._open = False

    @property
    def words(self) -> str:
        """What is wrong, "" while calls ask."""
        return f"{self._what} hangs, and is not asked until it answers again" if self._open else ""

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask the store inside; raises StoreUnavailable, with nothing asked, while it is open."""
        if self._open:
            raise StoreUnavailable(self.words)
        try:
            yield
        except StoreTimeout:
            self._failures += 1
            if self._failures >= FAILURES and not self._open:
                self._trip()
            raise
        self._failures = 0

    def _trip(self) -> None:
        self._open = True
        _log.error("a store hangs and is not asked any more", store=self._what)
        threading.Thread(target=_probe, args=(weakref.ref(self), self._probe_seconds), daemon=True).start()

    def _answered(self) -> bool:
        try:
            self._probe()
        except Exception:
            return False
        self._failures, self._open = 0, False
        _log.warning("a store answers again", store=self._what)
        return True


def _probe(of: weakref.ref[Breaker], seconds: float) -> None:
    while True:
        time.sleep(seconds)
        # A breaker that nobody has any more is not probed for ever.
        breaker = of()
        if breaker is None or breaker._answered():
            return
        del breaker
