"""What monitors ask: does it answer, can it decide, and what has it done."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mailwarden.errors import StoreUnavailable
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden.stores.online.breaker import FAILURES
from mailwarden.stores.online.server import RedisServer
from mailwarden_services import bootstrap, scoring_service

Mail = list[SimulatedMessage]


def test_a_whole_platform_is_ready(warden: Any) -> None:
    with warden.api() as api:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert api.client.get(path, headers={"Authorization": ""}).status_code == 200
        assert api.client.get("/healthz").json() == {"status": "ok"}
        assert api.client.get("/readyz").json() == {"status": "ready", "model_version": 1, "down": {}}


def test_without_a_model_it_is_not_ready_and_says_what_to_do(warden: Any, simulated: Mail) -> None:
    (warden.settings.root / "mailwarden.db").unlink()
    tenants = bootstrap.Platform(warden.settings).tenants
    tenants.create("acme", domains=(), created_us=1)
    warden.keys = {"acme": tenants.issue_key("acme", "tests", 1, ["score", "admin"])}
    with warden.api() as api:
        assert api.client.get("/healthz").status_code == 200
        ready = api.client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json() == {"status": "not ready", "model_version": None, "down": {"models": "NotFound"}}
        refused = api.score(simulated[0].raw, simulated[0].envelope)
        assert "mailwarden train" in refused.json()["detail"]
        assert refused.headers["content-type"] == "application/problem+json"
    assert warden.writer().step() is False


def test_without_redis_it_is_degraded_yet_decides(own_redis: tuple[Any, RedisServer], simulated: Mail) -> None:
    warden, server = own_redis
    server.stop()
    with warden.api() as api:
        ready = api.client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert ready.json()["down"] == {"online store": "StoreUnavailable"}
        assert api.send(simulated[0])["degraded"] is True
        exposed = api.client.get("/metrics").text
    assert "mailwarden_degraded_decisions_total 1.0" in exposed


def test_a_redis_that_hangs_costs_a_few_messages_its_timeout_and_the_rest_nothing(
    own_redis: tuple[Any, RedisServer], simulated: Mail
) -> None:
    warden, server = own_redis
    warden.settings = warden.settings.model_copy(update={"redis_timeout_seconds": 1.0})
    with warden.api() as api:
        assert api.send(simulated[0])["degraded"] is False
        os.kill(server.pid, signal.SIGSTOP)
        try:
            took = []
            for message in simulated[1:9]:
                began = time.monotonic()
                answer = api.send(message)
                took.append(time.monotonic() - began)
                assert any(flag.startswith("history unavailable") for flag in answer["flags"]), answer["flags"]
            assert min(took[:FAILURES]) >= 1.0 and sorted(took[FAILURES:])[2] < 0.9
            ready = api.client.get("/readyz").json()
            assert ready["status"] == "degraded" and any("Redis hangs" in w for w in ready["feature_writer"]["words"])
            assert "mailwarden_online_store_not_asked 1.0" in api.client.get("/metrics").text
        finally:
            os.kill(server.pid, signal.SIGCONT)
        deadline = time.monotonic() + 30
        for message in simulated[9:200]:
            if not api.send(message)["degraded"]:
                break
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert api.client.get("/readyz").json()["status"] == "ready"
        assert "mailwarden_online_store_not_asked 0.0" in api.client.get("/metrics").text


def test_without_a_database_it_is_not_ready(warden: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise StoreUnavailable("the database is away")

    with warden.api() as api:
        monkeypatch.setattr(warden.platform.tenants, "list", away)
        ready = api.client.get("/readyz")
        assert ready.status_code == 503 and ready.json()["down"] == {"database": "StoreUnavailable"}


def test_metrics_count_decisions_repeats_and_labels(warden: Any, simulated: Mail) -> None:
    with warden.api() as api:
        answers = [api.send(m) for m in simulated[-40:]]
        api.send(simulated[-1])
        api.label(message_id=answers[0]["message_id"], label="SP", known_at="2026-03-30T10:00:00Z")
        api.label(message_id="f" * 32, label="SP", known_at="2026-03-30T10:00:00Z")
        response = api.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    counted: dict[str, float] = {}
    for name, value in re.findall(r"^mailwarden_decisions_total\{(.*)\} (.*)$", response.text, re.MULTILINE):
        counted[name] = float(value)
    assert sum(counted.values()) == 40
    for action in {a["verdict"] for a in answers}:
        of_action = sum(v for name, v in counted.items() if f'verdict="{action}"' in name)
        assert of_action == sum(a["verdict"] == action for a in answers)
    assert "mailwarden_repeated_messages_total 1.0" in response.text
    assert 'mailwarden_labels_total{label="SP"} 1.0' in response.text
    assert "mailwarden_score_seconds_count 41.0" in response.text
    assert not re.search(r"[\w.]+@[\w.]+", response.text)


def test_what_feast_sets_for_its_own_servers_has_no_applications_count_together(tmp_path: Path) -> None:
    code = """
from mailwarden_services.scoring_api.metrics import Metrics
one, other = Metrics(), Metrics()
one.degraded.inc()
print(*(m.registry.get_sample_value("mailwarden_degraded_decisions_total") for m in (one, other)))
"""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["1.0", "0.0"], done.stderr


def test_a_new_champion_takes_over_without_a_restart(
    warden: Any, simulated: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring_service, "MODEL_POLL_SECONDS", 0.01)
    with warden.api() as api:
        assert api.send(simulated[0])["model_version"] == 1
        registry = warden.platform.registry
        old = registry.champion("bundle")
        data = warden.platform.artefacts.get(old.artefact_uri, old.artefact_sha256)
        uri, digest = warden.platform.artefacts.put(data + b"\n")
        registry.add(
            model_id="m2", name="bundle", artefact_uri=uri, artefact_sha256=digest, created_us=9, record=old.record
        )
        registry.promote("bundle", 2, at_us=10, reason="tests")
        for _ in range(500):
            if api.client.get("/readyz").json()["model_version"] == 2:
                break
        assert api.send(simulated[1])["model_version"] == 2
        # A damaged successor is not taken over; what serves goes on serving.
        registry.add(
            model_id="m3", name="bundle", artefact_uri=old.artefact_uri, artefact_sha256="0" * 64, created_us=11,
            record=old.record,
        )  # fmt: skip
        registry.promote("bundle", 3, at_us=12, reason="tests")
        for number in range(2, 6):
            assert api.send(simulated[number])["model_version"] == 2


def test_the_interface_describes_itself(warden: Any) -> None:
    with warden.api() as api:
        paths = api.client.get("/openapi.json").json()["paths"]
    assert {"/v1/score", "/v1/score/batch", "/v1/labels", "/v1/labels/batch", "/healthz", "/readyz"} <= set(paths)
