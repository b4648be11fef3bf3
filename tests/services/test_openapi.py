"""The API's description holds: whatever is generated from it is answered as it says, with keys of every role."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema

from mailwarden.stores.sql.keys import TENANT_ROLES


@schemathesis.serializer("message/rfc822", "message/global", "application/octet-stream")
def as_it_is(_: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


def failures_of(address: str, key: str, **config: Any) -> tuple[int, list[str]]:
    """How many cases were tried with a key, and what did not hold."""
    settings: dict[str, Any] = {
        "continue-on-failure": True,
        "headers": {"Authorization": f"Bearer {key}"},
        # A schema cannot say which bytes are mail, or which message is known: 422 and 404 say so to good form too.
        "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", 401, 403, 404, 422]}},
    }
    schema = schemathesis.openapi.from_url(
        f"{address}/openapi.json", config=SchemathesisConfig.from_dict(settings | config)
    )
    tried, found = 0, Counter[str]()
    for event in from_schema(schema).execute():
        if isinstance(event, (events.NonFatalError, events.FatalError)):
            found[repr(event)] += 1
        if isinstance(event, events.ScenarioFinished):
            tried += len(event.recorder.cases)
            for case_id, checks in event.recorder.checks.items():
                case = event.recorder.cases[case_id].value
                for check in checks:
                    if check.status == Status.FAILURE:
                        why = check.failure_info.failure if check.failure_info else ""
                        found[f"{check.name}: {why}\n{case.as_curl_command()}"] += 1
    return tried, [f"{words} ({times} times)" for words, times in found.items()]


@pytest.fixture
def keys(warden: Any) -> dict[str, str]:
    """A key of each role, one of all, and those above tenants."""
    tenants, above = warden.platform.tenants, warden.platform.platform_keys
    made = {role: tenants.issue_key("acme", role, 1, [role]) for role in TENANT_ROLES}
    made |= {role: above.issue(role, 1, [role]) for role in ("operator", "gateway")}
    return {"all": warden.keys["acme"], "none": "", **made}


@contextlib.contextmanager
def logged(warden: Any) -> Iterator[None]:
    """What is accepted inside the block is logged, as beside a served API: a message must be to be forgotten."""
    done = threading.Event()

    def run() -> None:
        writer = warden.writer()
        while not done.wait(0.05):
            warden.drain(writer)
        writer.close()

    running = threading.Thread(target=run)
    running.start()
    try:
        yield
    finally:
        done.set()
        running.join()


def test_what_is_generated_from_the_description_is_answered_as_it_says(warden: Any, keys: dict[str, str]) -> None:
    examples = {"generation": {"max-examples": 2, "database": "none"}, "seed": 11}
    fuzzing = {
        "phases": {"examples": {"enabled": False}, "coverage": {"enabled": False}, "stateful": {"enabled": False}}
    }
    with warden.served() as address:
        for role, key in keys.items():
            more = {"generation": {"max-examples": 5, "database": "none"}} if role == "all" else {}
            tried, found = failures_of(address, key, **(examples | fuzzing | more))
            assert not found, "\n\n".join([role, *found])
            assert tried >= 10


@pytest.mark.verify
def test_thousands_of_cases_of_every_phase_and_key(warden: Any, keys: dict[str, str]) -> None:
    tried = 0
    with warden.served() as address, logged(warden):
        for number, (role, key) in enumerate(keys.items()):
            generation = {"max-examples": 60 if role == "all" else 10, "database": "none"}
            cases, found = failures_of(address, key, generation=generation, seed=number)
            assert not found, "\n\n".join([role, *found])
            tried += cases
    assert tried >= 2_000
