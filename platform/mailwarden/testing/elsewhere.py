"""Runs a function in another world: another clock, zone, hash seed and environment, and no network.

Started by `other_process` as a process of its own: what it patches must be in place before a view's function is
imported.
"""

from __future__ import annotations

import datetime
import importlib
import pickle
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

LATER_SECONDS = 400 * 86_400 + 40_380
"""How much later it is there: more than a year, and another hour of the day and day of the week."""


def main() -> None:
    """Read (module, name of the function, messages, lists, module to import first) from stdin; write a value or an
    error's words for each."""
    module, name, messages, lists, first = pickle.load(sys.stdin.buffer)
    answer = sys.stdout.buffer
    # What the function prints must not be taken for its answer.
    sys.stdout = sys.stderr
    if first:
        importlib.import_module(first)
    else:
        # Compiled libraries, which come with a detector, hold on to the classes that they were built with.
        _set_the_calendar()
    _set_the_clock()
    _cut_the_network()
    compute: Any = importlib.import_module(module)
    for part in name.split("."):
        compute = getattr(compute, part)
    pickle.dump([_call(compute, message, lists) for message in messages], answer)


def _call(compute: Callable[[Any, Any], Any], message: Any, lists: Any) -> tuple[Any, str]:
    try:
        return dict(compute(message, lists)), ""
    except Exception as error:
        return None, repr(error)


def _set_the_clock() -> None:
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + LATER_SECONDS
    time.time_ns = lambda: real_ns() + LATER_SECONDS * 1_000_000_000


def _set_the_calendar() -> None:
    real = time.time

    class Date(datetime.date):
        @classmethod
        def today(cls) -> Any:
            return cls.fromtimestamp(real() + LATER_SECONDS)

    class Moment(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return cls.fromtimestamp(real() + LATER_SECONDS, tz)

        @classmethod
        def utcnow(cls) -> Any:
            return cls.fromtimestamp(real() + LATER_SECONDS, datetime.UTC).replace(tzinfo=None)

        @classmethod
        def today(cls) -> Any:
            return cls.now()

    datetime.date = Date  # type: ignore[misc]
    datetime.datetime = Moment  # type: ignore[misc]


def _cut_the_network() -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("nothing here may ask the network")

    socket.socket.connect = refuse  # type: ignore[method-assign]
    socket.create_connection = refuse
    socket.getaddrinfo = refuse


if __name__ == "__main__":
    main()
