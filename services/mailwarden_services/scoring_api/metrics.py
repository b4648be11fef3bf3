"""What the scoring API tells Prometheus."""

from __future__ import annotations

from collections.abc import Container

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    values,
)
from prometheus_client import generate_latest as render

from mailwarden_services.feature_writer.status import WriterLag
from mailwarden_services.observability.stages import STAGES
from mailwarden_services.scoring_api.intake import Answer

# Importing Feast's metrics sets environment variables, which child processes inherit, that have every counter live in a
# file of its name: all applications of a process would count together. Here one process counts for itself.
values.ValueClass = values.MutexValue

_STAGE_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_SECONDS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0)


class Metrics:
    """Counters and histograms of one application, in a registry of its own.

    by_tenant: count decisions by tenant too. A tenant's name says whose mail is filtered here, and each adds series.
    """

    media_type = CONTENT_TYPE_LATEST

    def __init__(self, *, by_tenant: bool = False) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.seconds = Histogram(
            "mailwarden_score_seconds",
            "From the whole request read to the answer, spool included",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.decisions = Counter(
            "mailwarden_decisions", "Decisions given, by verdict", ("verdict", "category"), registry=self.registry
        )
        stages = Histogram(
            "mailwarden_stage_seconds",
            "What a stage of a message took, without what it waited for the stage",
            ("stage",),
            buckets=_STAGE_SECONDS,
            registry=self.registry,
        )
        self._stages = [stages.labels(stage) for stage in STAGES]
        self._by_tenant: Counter | None = None
        if by_tenant:
            self._by_tenant = Counter(
                "mailwarden_tenant_decisions", "Decisions given", ("tenant", "verdict"), registry=self.registry
            )
        self.degraded = Counter(
            "mailwarden_degraded_decisions", "Decisions without history or stores", registry=self.registry
        )
        self.repeated = Counter("mailwarden_repeated_messages", "Messages handed over again", registry=self.registry)
        self.refused = Counter(
            "mailwarden_refused_requests",
            "Requests, and items of batches, that were answered with a problem",
            ("route", "status", "problem"),
            registry=self.registry,
        )
        self.not_scored = Counter(
            "mailwarden_mail_not_scored",
            "Mail that was handed over and passed, or part of it, without a score",
            ("reason",),
            registry=self.registry,
        )
        self.labels = Counter("mailwarden_labels", "Labels taken", ("label",), registry=self.registry)

        self.history_away = Gauge(
            "mailwarden_online_store_not_asked",
            "1 while the online store hangs and messages are scored without history, 0 otherwise",
            registry=self.registry,
        )
        self.lag_bytes = Gauge(
            "mailwarden_feature_writer_lag_bytes",
            "Accepted mail and labels that the feature writer has not logged yet",
            registry=self.registry,
        )
        self.lag_records = Gauge(
            "mailwarden_feature_writer_lag_records",
            "Records in the feature writer's hands, by what they wait for",
            ("waiting_for",),
            registry=self.registry,
        )
        self.stream_entries = Gauge(
            "mailwarden_stream_entries",
            "Entries of a partition's stream that are not folded",
            ("partition",),
            registry=self.registry,
        )
        self.stream_seconds = Gauge(
            "mailwarden_stream_oldest_seconds",
            "For how long the oldest entry of a partition's stream has waited to be folded",
            ("partition",),
            registry=self.registry,
        )
        self.lag_seconds = Gauge(
            "mailwarden_feature_lag_seconds",
            "Since the oldest mail or label that features do not count yet was accepted",
            registry=self.registry,
        )
        self.rejected = Gauge(
            "mailwarden_feature_writer_rejected_records",
            "Records that a log refused and that lie aside",
            registry=self.registry,
        )
        self.writer_troubles = Gauge(
            "mailwarden_feature_writer_troubles",
            "Sentences in which /readyz says what keeps the feature writer from its work",
            registry=self.registry,
        )

    def writer_is_behind(self, lag: WriterLag, partitions: Container[int] | None = None) -> None:
        """Take over how far the feature writer is behind. partitions: those that it folds, None for all."""
        self.lag_bytes.set(lag.lag_bytes)
        self.writer_troubles.set(len(lag.words))
        self.lag_seconds.set(lag.seconds)
        if lag.status is not None:
            self.lag_records.labels("streams").set(lag.status.not_sent)
            self.lag_records.labels("logs").set(lag.status.not_logged)
            self.rejected.set(lag.status.rejected)
            for partition, stream in enumerate(lag.status.streams):
                if partitions is not None and partition not in partitions:
                    continue
                self.stream_entries.labels(str(partition)).set(stream.entries)
                self.stream_seconds.labels(str(partition)).set(stream.seconds)

    def scored(self, answer: Answer, seconds: float, tenant: str = "") -> None:
        """Count one answer to a tenant, with the seconds that it took, and each of its stages."""
        self.seconds.observe(seconds)
        for stage, took in zip(self._stages, answer.seconds, strict=True):
            if took > 0:
                stage.observe(took)
        if answer.repeated:
            self.repeated.inc()
            return
        self.decisions.labels(answer.verdict, answer.category or "").inc()
        if self._by_tenant is not None:
            self._by_tenant.labels(tenant, answer.verdict).inc()
        if answer.degraded:
            self.degraded.inc()

    def render(self) -> bytes:
        """The text exposition."""
        return render(self.registry)
