"""A scored message as monitors see it: metrics always, a trace where traces are kept."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mailwarden_services.observability.traces import Traces
from mailwarden_services.scoring_api.intake import Answer
from mailwarden_services.scoring_api.metrics import Metrics

NO_HEADERS: Mapping[str, str] = {}


class Seen:
    """What became of a message; answer: to be set, stays None where it was refused."""

    __slots__ = ("answer",)

    def __init__(self) -> None:
        self.answer: Answer | None = None


class Observer:
    """Tells monitors of every message. traces: None where none are kept."""

    def __init__(self, metrics: Metrics, traces: Traces | None = None) -> None:
        self._metrics, self._traces = metrics, traces

    @contextmanager
    def message(self, tenant: str, headers: Mapping[str, str] = NO_HEADERS) -> Iterator[Seen]:
        """Time the block as one message's; headers: of its request, names in lower case, for a `traceparent`."""
        seen, error = Seen(), None
        began_ns, started = time.time_ns(), time.perf_counter()
        try:
            yield seen
        except BaseException as exc:
            error = exc
            raise
        finally:
            seconds = time.perf_counter() - started
            if seen.answer is not None:
                self._metrics.scored(seen.answer, seconds, tenant)
            if self._traces is not None:
                self._traces.message(headers, began_ns, began_ns + round(seconds * 1e9), seen.answer, error)

    def close(self) -> None:
        """Send what is left of the traces; blocks."""
        if self._traces is not None:
            self._traces.close()
