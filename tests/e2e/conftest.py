"""Simulated mail on disk, and Spark stopped again after the tests that take the whole loop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from mailwarden.simulation.corpus import write_corpus
from mailwarden.simulation.simulate import simulate

SEED = 11


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Index of twelve days of a small company's mail, 40 messages a day."""
    return write_corpus(tmp_path_factory.mktemp("corpus") / "mail", simulate(SEED, days=12, messages_per_day=40))


@pytest.fixture
def spark_stopped() -> Iterator[None]:
    """Ends the Spark session that a test started in this process; what comes after starts its own."""
    yield
    session = SparkSession.getActiveSession()
    if session is not None:
        session.stop()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine's own reaches the test."""
    for name in [name for name in os.environ if name.startswith("MAILWARDEN_")]:
        monkeypatch.delenv(name)
