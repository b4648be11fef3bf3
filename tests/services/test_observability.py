"""Stages, metrics and traces of a message, from the request to what monitors get."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from mailwarden.errors import ConfigError
from mailwarden.simulation.draft import SimulatedMessage
from mailwarden_services.observability.observer import Observer
from mailwarden_services.observability.stages import NO_STAGES, STAGES, StageClock, added
from mailwarden_services.observability.traces import open_traces
from mailwarden_services.scoring_api.intake import Answer
from mailwarden_services.scoring_api.metrics import Metrics

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
ANSWER = Answer(b"{}", "deliver", None, False, seconds=(0.01, 0.0, 0.001, 0.002, 0.003))

without_otel = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "import opentelemetry.sdk, opentelemetry.exporter.otlp.proto.http"],
                   capture_output=True, check=False).returncode != 0,
    reason="the extra `otel` is not installed",
)  # fmt: skip


def test_a_clock_counts_each_lap_to_the_stage_that_it_ends() -> None:
    clock = StageClock()
    clock.end("read")
    time.sleep(0.01)
    clock.skip()
    clock.end("store")
    clock.end("store")
    read, features, store, score, accept = clock.seconds
    assert 0 < read < 0.01 and 0 < store < 0.01 and features == score == accept == 0.0
    assert added((1.0, 2.0, 3.0, 4.0, 5.0), (0.0, 0.0, 0.0, 0.0, 0.5)) == (1.0, 2.0, 3.0, 4.0, 5.5)


def test_a_tenants_name_is_in_no_series_unless_it_is_asked_for() -> None:
    for by_tenant in (False, True):
        metrics = Metrics(by_tenant=by_tenant)
        metrics.scored(ANSWER, 0.02, "acme")
        metrics.scored(replace(ANSWER, repeated=True, seconds=NO_STAGES), 0.02, "acme")
        text = metrics.render().decode()
        assert ('tenant="acme"' in text) is by_tenant
        assert 'mailwarden_stage_seconds_count{stage="read"} 1.0' in text
        # A stage that no message passed has no time of 0 either.
        assert 'mailwarden_stage_seconds_count{stage="features"} 0.0' in text
        assert "mailwarden_score_seconds_count 2.0" in text


def test_a_refused_message_is_not_counted_as_an_answer() -> None:
    metrics = Metrics()
    observer = Observer(metrics)
    with pytest.raises(KeyError), observer.message("acme"):
        raise KeyError
    assert "mailwarden_score_seconds_count 0.0" in metrics.render().decode()


def test_every_stage_of_a_scored_message_is_told(warden: Any, simulated: list[SimulatedMessage]) -> None:
    with warden.api() as api:
        for message in simulated[:3]:
            api.send(message)
        text = api.client.get("/metrics").text
    for stage in STAGES:
        assert f'mailwarden_stage_seconds_count{{stage="{stage}"}} 3.0' in text
    sums = {
        stage: float(text.split(f'mailwarden_stage_seconds_sum{{stage="{stage}"}} ')[1].split()[0]) for stage in STAGES
    }
    whole = float(text.split("mailwarden_score_seconds_sum ")[1].split()[0])
    assert all(seconds > 0 for seconds in sums.values()) and sum(sums.values()) <= whole


def test_nothing_is_imported_for_traces_that_nobody_keeps() -> None:
    asked = (
        "import sys; from mailwarden_services.observability.traces import open_traces; "
        "assert open_traces('', 1.0) is None; "
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", asked], check=True)


def test_an_endpoint_that_is_no_url_is_refused() -> None:
    with pytest.raises(ConfigError, match="collector:4318"):
        open_traces("collector:4318", 1.0)


def test_traces_without_the_extra_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match=r"mailwarden\[otel\]"):
        open_traces("http://127.0.0.1:4318", 1.0)


class Collector:
    """An OTLP collector over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        self.paths: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector.take(
                    self.path,
                    self.headers.get("Content-Encoding"),
                    self.rfile.read(int(self.headers["Content-Length"])),
                )
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def take(self, path: str, encoding: str | None, body: bytes) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        assert encoding is None
        self.paths.add(path)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.services |= {a.value.string_value for a in resource.resource.attributes if a.key == "service.name"}
            for scope in resource.scope_spans:
                self.spans += scope.spans


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    thread = threading.Thread(target=found.server.serve_forever, daemon=True)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join(5)


@without_otel
def test_a_message_is_a_span_of_its_callers_trace_with_a_child_a_stage(
    warden: Any, warden_type: Any, simulated: list[SimulatedMessage], collector: Collector
) -> None:
    settings = warden.settings.model_copy(update={"otlp_endpoint": collector.url})
    with warden_type(settings, warden.keys).api() as api:
        sent = api.send(simulated[0], traceparent=f"00-{TRACE}-{PARENT}-01")
        api.send(simulated[1], traceparent=f"00-{TRACE}-{PARENT}-00")
        other = api.send(simulated[2])
        assert api.score(b"no mail at all", None).status_code == 422
    assert collector.paths == {"/v1/traces"} and collector.services == {"mailwarden"}
    named = [span for span in collector.spans if span.trace_id.hex() == TRACE]
    (root,) = [span for span in named if span.name == "message"]
    assert root.parent_span_id.hex() == PARENT
    facts = {a.key: a.value for a in root.attributes}
    assert facts["mailwarden.decision_id"].string_value == sent["decision_id"]
    children = [span for span in named if span.parent_span_id == root.span_id]
    assert [span.name for span in children] == list(STAGES)
    ends = [root.start_time_unix_nano, *(at for s in children for at in (s.start_time_unix_nano, s.end_time_unix_nano))]
    assert ends == sorted(ends) and abs(ends[-1] - root.end_time_unix_nano) < 10_000
    # One that its caller did not sample is not kept; one without a caller is in a trace of its own.
    roots = [span for span in collector.spans if span.name == "message"]
    assert len(roots) == 3 and {span.trace_id.hex() for span in roots} - {TRACE}
    (refused,) = [span for span in roots if span.status.code == 2]
    assert refused.status.message == "Problem"
    assert other["decision_id"] in str(collector.spans)
    # Neither a tenant nor an address is anywhere in them.
    assert "acme" not in str(collector.spans) and ".example" not in str(collector.spans)


@without_otel
def test_a_collector_that_is_away_holds_no_answer_up(
    warden: Any, warden_type: Any, simulated: list[SimulatedMessage]
) -> None:
    settings = warden.settings.model_copy(update={"otlp_endpoint": "http://127.0.0.1:9", "trace_share": 0.0})
    with warden_type(settings, warden.keys).api() as api:
        assert api.send(simulated[0])["decision_id"]
