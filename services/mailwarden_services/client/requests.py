"""The calls that there are, with what each takes: times are aware `datetime`s, ids those that scoring answered."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from mailwarden.domain.mail.identity_text import message_id_of
from mailwarden_services.client.calls import Call, got, mail, sent
from mailwarden_services.scoring_api.answer_models import (
    AuditPage,
    ContentAnswer,
    DecisionsPage,
    Forgotten,
    LabelsPage,
    LabelTaken,
    MessageAnswer,
    Ready,
    ReportTaken,
    ScoreAnswer,
)


def score(
    raw: bytes,
    *,
    received_at: datetime | None = None,
    mail_from: str | None = None,
    rcpt_to: Sequence[str] = (),
    client_ip: str | None = None,
    helo: str | None = None,
    observe: bool = True,
    idempotency_key: str | None = None,
) -> Call[ScoreAnswer]:
    """Decide on one message. raw: as it came; the rest: what the mail system knows of it.

    observe: False leaves no trace. idempotency_key: the same key gets the same answer.
    """
    return mail(
        ScoreAnswer,
        "/v1/score",
        raw,
        {} if idempotency_key is None else {"Idempotency-Key": idempotency_key},
        received_at=received_at,
        mail_from=mail_from,
        rcpt_to=list(rcpt_to) or None,
        client_ip=client_ip,
        helo=helo,
        observe=observe,
    )


def label(
    message_id: str,
    label: str,
    *,
    known_at: datetime | None = None,
    received_at: datetime | None = None,
    source: str = "analyst",
    given_by: str = "",
) -> Call[LabelTaken]:
    """Say what a message was: `ham`, `spam` or a category's code. known_at: when it was given, now by default.

    received_at: of the message, needed where it was ingested and never scored.
    """
    body = {
        "message_id": message_id_of(message_id),
        "label": label,
        "known_at": known_at or datetime.now(UTC),
        "received_at": received_at,
        "source": source,
        "given_by": given_by,
    }
    return sent(LabelTaken, "/v1/labels", body)


def withdraw(message_id: str, *, known_at: datetime | None = None, given_by: str = "") -> Call[LabelTaken]:
    """Take back the label that counts, whoever gave it."""
    return Call(
        LabelTaken, "DELETE", f"/v1/messages/{message_id}/label", {"known_at": known_at, "given_by": given_by or None}
    )


def report(
    raw: bytes, *, label: str = "spam", known_at: datetime | None = None, reporter: str | None = None
) -> Call[ReportTaken]:
    """Report a message by the mail that forwards it. reporter: address of who does."""
    return mail(ReportTaken, "/v1/reports", raw, label=label, known_at=known_at, reporter=reporter)


def message(message_id: str) -> Call[MessageAnswer]:
    """What is known of a message."""
    return got(MessageAnswer, f"/v1/messages/{message_id}")


def content(message_id: str, *, received_at: datetime | None = None) -> Call[ContentAnswer]:
    """A message as people may look at it. received_at: of one that was ingested and never scored."""
    return got(ContentAnswer, f"/v1/messages/{message_id}/content", received_at=received_at)


def forget(message_id: str, *, received_at: datetime | None = None) -> Call[Forgotten]:
    """Take a message out of the counts. received_at: of it; finds one that was ingested sooner."""
    return Call(Forgotten, "POST", f"/v1/messages/{message_id}/forget", {"received_at": received_at})


def ready() -> Call[Ready]:
    """Whether the API can decide."""
    return got(Ready, "/readyz")


def decisions(
    *,
    verdict: str | None = None,
    category: str | None = None,
    sender: str | None = None,
    recipient: str | None = None,
    from_: datetime | None = None,
    to: datetime | None = None,
    message_id_header: str | None = None,
    limit: int = 100,
    after: str | None = None,
) -> Call[DecisionsPage]:
    """A page of decisions that are wanted, the newest first; from_ <= received_at < to. limit: rows of a page."""
    return got(
        DecisionsPage,
        "/v1/decisions",
        verdict=verdict,
        category=category,
        sender=sender,
        recipient=recipient,
        from_=from_,
        to=to,
        message_id_header=message_id_header,
        limit=limit,
        after=after,
    )


def labels(*, message_id: str | None = None, limit: int = 100, after: str | None = None) -> Call[LabelsPage]:
    """A page of labels, or of those of a message, the newest first."""
    return got(LabelsPage, "/v1/labels", message_id=message_id, limit=limit, after=after)


def audit(*, what: str | None = None, limit: int = 100, before: int | None = None) -> Call[AuditPage]:
    """A page of acts, or of those of a kind, the newest first."""
    return got(AuditPage, "/v1/audit", what=what, limit=limit, before=before)
