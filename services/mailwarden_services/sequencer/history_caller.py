"""History handed over to the sequencer of a process that serves, by one that does not."""

from __future__ import annotations

import pickle
import socket
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mailwarden.errors import StoreError, StoreUnavailable
from mailwarden.stores.history import HistoryItem, Numbered
from mailwarden_services.sequencer.history import HistoryTook
from mailwarden_services.sequencer.remote import at_short_path

ANSWER_SECONDS = 120.0
"""In which a batch is taken: more than a full disk, an index that is made again and live mail hold it up."""

LATER_SECONDS = 0.5

_LENGTH = struct.Struct("<I")


class HistoryCaller:
    """A `TakesHistory` over a sequencer's socket; blocks. say: told in words what it waits for, "" once it goes on.

    Raises StoreUnavailable where nobody answers there.
    """

    def __init__(self, path: Path, say: Callable[[str], None] = lambda _: None) -> None:
        self.say = say
        self._number = 0
        self._asked = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(ANSWER_SECONDS)
        try:
            with at_short_path(path) as short:
                self._socket.connect(short)
            self._call("ping")
        except OSError as exc:
            self._socket.close()
            raise StoreUnavailable(f"the sequencer at {path} does not answer ({exc})") from exc

    def take(self, tenant: str, items: Sequence[HistoryItem]) -> Sequence[Numbered]:
        """See `TakesHistory`; waits for as long as the sequencer says "later"."""
        waited, self._asked = False, True
        while True:
            try:
                took: HistoryTook = self._call("history", tenant, list(items))
            except OSError as exc:
                raise StoreUnavailable(f"the API that numbers tenant {tenant} went away ({exc})") from exc
            if not took.later:
                if waited:
                    self.say("")
                return took.numbered
            if not waited:
                self.say(took.later)
            waited = True
            time.sleep(LATER_SECONDS)

    def holds(self, tenant: str) -> bool:
        """Whether the tenant has events; True where batches were sent and nobody answers any more."""
        if not self._asked:
            return False
        try:
            return bool(self._call("last_seq", tenant))
        except (OSError, StoreError):
            return True

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: str, *arguments: Any) -> Any:
        self._number += 1
        frame = pickle.dumps((self._number, method, arguments, {}), protocol=5)
        self._socket.sendall(_LENGTH.pack(len(frame)) + frame)
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        _, worked, value = pickle.loads(self._read(length))
        if not worked:
            raise value
        return value

    def _read(self, length: int) -> bytes:
        data = bytearray(length)
        view, got = memoryview(data), 0
        while got < length:
            count = self._socket.recv_into(view[got:])
            if not count:
                raise OSError("it closed the connection")
            got += count
        return bytes(data)
