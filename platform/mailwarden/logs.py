"""Structured logs on standard error, one logger a module; never a body or a whole address."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from typing import Any

import structlog


def configure(level: str = "INFO") -> None:
    """Set up structured logging once, at a process's start; `level` is a name of `logging`."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=_stderr_logger,
        cache_logger_on_first_use=False,
    )


class FailureLog:
    """Counts failures of code that teams own, and logs the 1st, 2nd, 4th, 8th, ... of each: no disk is filled by one
    that fails on every message.

    logger: of the module that calls the code. words: what is said of a failure. kind: what the code is ("detector").
    """

    def __init__(self, logger: Any, words: str, kind: str) -> None:
        self._logger, self._words, self._kind = logger, words, kind
        self.times: Counter[str] = Counter()

    def add(self, name: str, exc: Exception | None, *, without: str = "", **more: str) -> None:
        """Count a failure of `name`. exc: None where nothing was raised; `without` says then what was amiss."""
        self.times[name] += 1
        times = self.times[name]
        if times & (times - 1) == 0:
            # The exception's words may quote mail, so that only its kind and place are told.
            self._logger.error(
                self._words,
                **{self._kind: name},
                **more,
                error=without if exc is None else type(exc).__name__,
                at=None if exc is None else _place(exc),
                times=times,
            )


def _place(exc: Exception) -> str:
    trace = exc.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


def _stderr_logger(*_: object) -> structlog.PrintLogger:
    # Looked up at each call: whoever replaces standard error for a while must not be written to afterwards.
    return structlog.PrintLogger(sys.stderr)
