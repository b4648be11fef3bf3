"""What a detector costs: CPU, not time by the clock, so that a loaded machine changes little."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence

import numpy as np

from mailwarden.domain.detection.detector import Detector
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.testing.detector_trial import Fault, Trial

_ROUNDS = 7
_CALLS = 60
_BATCH = 512
_ROUND_NS = 20_000_000
_LONG = 200_000
_WORDS = " please send the payment for the invoice of last month to our new account today,"
_SHARE = 0.25
_SLACK_NS = 3_000_000
"""CPU of other threads that is taken for none of the detector's."""


def cost(trial: Trial) -> Iterator[Fault]:
    """Score and reasons of one message take no more CPU than `cpu_budget_us`: median over its cases, best of rounds."""
    detector = trial.kind.from_bytes(trial.detector.to_bytes())
    budget = float(trial.kind.cpu_budget_us)
    least = float("inf")
    for number in range(_ROUNDS + 1):
        tables = _messages(trial, f" {number}")
        took = [_cpu_us(detector, table) for _ in range(-(-_CALLS // len(tables))) for table in tables]
        # The first round is for what is compiled or looked up once.
        least = min(least, statistics.median(took)) if number else least
        if least <= budget:
            return
    yield (
        f"one message takes {least:,.0f} us of CPU where cpu_budget_us is {budget:,.0f}",
        "make it cheaper, or state what it takes",
    )


def bounded(trial: Trial) -> Iterator[Fault]:
    """A costly detector keeps to its budget however long the texts are that it reads."""
    table = trial.table()
    texts = [name for name, column in table.columns.items() if column.dtype == object]
    if trial.kind.stage != "costly" or not texts:
        return
    detector = trial.kind.from_bytes(trial.detector.to_bytes())
    budget = float(trial.kind.cpu_budget_us)
    least = float("inf")
    for number in range(_ROUNDS):
        one = trial.served(np.array([0]), f" {number}" + _WORDS * (_LONG // len(_WORDS)))
        least = min(least, _cpu_us(detector, one))
        if least <= budget:
            return
    yield (
        f"a message of {_LONG:,} characters takes {least:,.0f} us of CPU where cpu_budget_us is {budget:,.0f}",
        "look at a part of the text that is no longer than it must be",
    )


def threads(trial: Trial) -> Iterator[Fault]:
    """It scores in the thread that calls it: the CPU of a process is shared out by the platform."""
    detector = trial.kind.from_bytes(trial.detector.to_bytes())
    tables = [*_messages(trial, ""), trial.table().take(np.arange(_BATCH) % len(trial.cases))]
    for _ in range(_ROUNDS):
        own, whole = _both_ns(detector, tables)
        if whole - own <= max(_SHARE * own, _SLACK_NS):
            return
    yield (
        f"scoring took {whole / 1e6:,.1f} ms of CPU in the process and {own / 1e6:,.1f} ms in the thread that asked",
        "start no threads to score, and set a library's threads to one",
    )


def _messages(trial: Trial, note: str) -> list[FeatureTable]:
    return [trial.served(np.array([row]), note) for row in range(len(trial.cases))]


def _cpu_us(detector: Detector, table: FeatureTable) -> float:
    began = time.thread_time_ns()
    detector.score(table)
    detector.explain(table, 0)
    return (time.thread_time_ns() - began) / 1e3


def _both_ns(detector: Detector, tables: Sequence[FeatureTable]) -> tuple[int, int]:
    """CPU of this thread and of the process while these are scored, once or until it can be measured."""
    whole, own = time.process_time_ns(), time.thread_time_ns()
    while True:
        for table in tables:
            detector.score(table)
        spent = time.process_time_ns() - whole
        if spent >= _ROUND_NS:
            return time.thread_time_ns() - own, spent
