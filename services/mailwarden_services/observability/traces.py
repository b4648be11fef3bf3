"""OpenTelemetry traces of messages, sent by OTLP over HTTP; a part that is installed and switched on or never imported.

A span `message` stands for each, in the trace that its request names (`traceparent`, W3C Trace Context), with a child
for each stage. Stages are known by what they took: their spans are laid one after another to the message's end, so that
what was waited before them stands at its begin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mailwarden import __version__
from mailwarden.errors import ConfigError
from mailwarden_services.observability.stages import NO_STAGES, STAGES

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from mailwarden_services.scoring_api.intake import Answer

EXTRA = "MAILWARDEN_OTLP_ENDPOINT is set, and traces need more than is installed: pip install 'mailwarden[otel]'"


def open_traces(endpoint: str, share: float) -> Traces | None:
    """What sends traces to a collector; None where no endpoint is named.

    endpoint: its URL, as http://127.0.0.1:4318; without a path, OTLP's own `/v1/traces`. share: of the messages whose
    request names no trace, 0 to 1; a request that names one says itself whether it is sampled. Raises ConfigError
    where the endpoint is no URL, or the extra `otel` is not installed.
    """
    if not endpoint:
        return None
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigError(f"MAILWARDEN_OTLP_ENDPOINT {endpoint!r} is no URL; write one as http://127.0.0.1:4318")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ImportError as exc:
        raise ConfigError(EXTRA) from exc
    provider = TracerProvider(
        resource=Resource.create({"service.name": "mailwarden", "service.version": __version__}),
        sampler=ParentBased(TraceIdRatioBased(share)),
        shutdown_on_exit=False,
    )
    url = endpoint if parts.path not in ("", "/") else f"{parts.scheme}://{parts.netloc}/v1/traces"
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
    return Traces(provider)


class Traces:
    """Traces over a provider of the SDK."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("mailwarden", __version__)
        self._context_of = TraceContextTextMapPropagator().extract
        self._within = set_span_in_context
        self._server, self._status, self._error = SpanKind.SERVER, Status, StatusCode.ERROR

    def message(
        self,
        headers: Mapping[str, str],
        began_ns: int,
        ended_ns: int,
        answer: Answer | None,
        error: BaseException | None,
    ) -> None:
        """Keep one message's trace, without tenant, address or word of mail; times in nanoseconds since the epoch."""
        parent = self._context_of(headers)
        span = self._tracer.start_span("message", parent, kind=self._server, start_time=began_ns)
        if span.is_recording():
            stages = NO_STAGES if answer is None else answer.seconds
            if answer is not None:
                span.set_attributes(_facts(answer.loaded()))
            if error is not None:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(self._status(self._error, type(error).__name__))
            within, at_ns = self._within(span), max(began_ns, ended_ns - round(sum(stages) * 1e9))
            for stage, seconds in zip(STAGES, stages, strict=True):
                if seconds > 0:
                    child = self._tracer.start_span(stage, within, start_time=at_ns)
                    at_ns += round(seconds * 1e9)
                    child.end(at_ns)
        span.end(ended_ns)

    def close(self) -> None:
        """Send what is left, and end."""
        self._provider.shutdown()


def _facts(answer: Mapping[str, Any]) -> dict[str, str | bool | int | float]:
    """What a trace says of an answer, under names of its own."""
    names = ("decision_id", "verdict", "action", "category", "degraded", "repeated", "score")
    return {f"mailwarden.{name}": answer[name] for name in names if answer.get(name) is not None}
