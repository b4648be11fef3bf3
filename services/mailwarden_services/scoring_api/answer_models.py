"""What the API answers, as models: the schema's word, and nothing that runs while mail waits.

Answers are written as plain JSON; tests hold what was written against these.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mailwarden.domain.mail.events import LABELS, WITHDRAWN, LabelSource
from mailwarden.stores.accepted import Missing
from mailwarden_services.scoring_api.problem_types import TYPES, URN
from mailwarden_services.scoring_api.reason_models import ExplanationAnswer, SignalAnswer, Verdict
from mailwarden_services.scoring_api.times import Time
from mailwarden_services.starter.kinds import Starter


class FieldProblem(BaseModel):
    """One field that is wrong: where it stands, and why, never its value."""

    field: str
    problem: str


class ProblemDocument(BaseModel):
    """What went wrong (RFC 9457)."""

    model_config = ConfigDict(title="Problem")

    type: str = Field(json_schema_extra={"enum": [URN + slug for slug in TYPES]})
    title: str
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="what happened and how to mend it, in words")
    errors: list[FieldProblem] | None = Field(None, description="fields that are wrong")
    limit: int | None = Field(None, description="bytes that a body may have")
    role: str | None = Field(None, description="the role that the key lacks")


class DetectorAnswer(BaseModel):
    """One detector's word."""

    score: float | None = Field(description="calibrated probability, 0..1")
    model_version: int | None


class FeaturesRead(BaseModel):
    """How fresh the history was that the decision was made with."""

    as_of_seq: int | None = Field(description="last seq that all features had counted; null before there is history")
    age_seconds: float | None = Field(description="how far that is behind what was accepted")


Action = Literal["accept", "banner", "junk", "quarantine", "reject"]
Direction = Literal["inbound", "outbound", "internal"]


class AuthenticationAnswer(BaseModel):
    """By whom a message's sender was vouched for, and what was said; null where nothing speaks of a method."""

    by: Literal["verified here", "trusted header"]
    spf: str | None
    spf_domain: str
    dkim: str | None
    dkim_domain: str
    dmarc: str | None
    dmarc_domain: str


class ScoreAnswer(BaseModel):
    """A decision on one message."""

    decision_id: str | None = Field(description="null where nothing was kept (`observe=false`)")
    message_id: str = Field(description="our id of the message, never its Message-ID")
    seq: int | None = Field(description="number of the message within its tenant; null where nothing was kept")
    score: float = Field(ge=0, le=1, description="higher is worse")
    log_odds: float
    verdict: Verdict = Field(description="what the platform would do")
    action: Action = Field(description="what is asked of the mail system: accept in monitor mode, whatever the verdict")
    category: str | None = Field(description="code of the attack, null where none is named")
    signals: list[SignalAnswer] = Field(description="what spoke against it, the strongest first, of delivered mail too")
    detectors: dict[str, DetectorAnswer] = Field(description="those that gave a score: whoever abstains is left out")
    not_asked: list[str] = Field([], description="costly detectors, which are asked about doubtful messages alone")
    model_version: int
    starter: Starter | None = Field(
        None,
        description="the models are a starter: rules alone, or learned from the simulated world; null where trained",
    )
    features: FeaturesRead
    pending: list[str] = Field(description="what is looked into after the answer")
    degraded: bool = Field(description="history or a store was missing")
    flags: list[str] = Field(description="words for what was missing")
    direction: Direction
    authentication: AuthenticationAnswer | None = Field(description="null where nobody who is believed spoke")
    time_source: str = Field(description="where the message's time was taken from")
    defects: int = Field(description="how many things of the message were malformed")
    explanation: ExplanationAnswer | None = Field(None, description="where `explain=full` asked for it")
    message_id_header: str = Field(description="the message's own Message-ID, cut off after 500 characters")
    repeated: bool = Field(description="the message was handed over before, and this is what was answered then")


class TenantsPart(BaseModel):
    """What one tenant that a message concerns decided."""

    tenant: str
    decision_id: str | None = Field(description="null where nothing was kept")
    message_id: str | None = Field(description="null where the bytes are no message")
    verdict: Verdict
    action: Action
    category: str | None
    signals: list[SignalAnswer]
    starter: Starter | None = Field(None, description="as of `/v1/score`")
    degraded: bool
    flags: list[str]
    repeated: bool
    recipients: list[str] = Field(description="of the envelope, those that it decided for")


class MailAnswer(BaseModel):
    """What is asked of the mail system for a message, by all tenants that it concerns."""

    action: Action = Field(description="the strictest that all of them accept; accept where it concerns nobody")
    verdict: Verdict
    add_headers: list[tuple[str, str]] = Field(
        description="name and value, to stand on top; folded by line feed and tab"
    )
    remove_headers: list[str] = Field(description="names of fields that only the platform writes: all are forged")
    remove_fields: list[tuple[str, int]] = Field(description="single fields: name, and number among those from the top")
    tenants: list[TenantsPart]
    unknown_domains: int = Field(description="of recipients, that are no tenant's")


class ProblemItem(BaseModel):
    """An item of a batch that was refused."""

    problem: ProblemDocument


class ScoresAnswer(BaseModel):
    """Results in the order of the messages."""

    results: list[ScoreAnswer | ProblemItem]


class LabelTaken(BaseModel):
    """A label as it was taken. seq: left out where the message bore that label already."""

    message_id: str
    label: str
    seq: int | None = None
    repeated: bool


class Forgotten(BaseModel):
    """A message that counts no more. seq: from which on; left out where that was so already."""

    message_id: str
    seq: int | None = None
    repeated: bool


class LabelsTaken(BaseModel):
    """Results in the order of the labels."""

    results: list[LabelTaken | ProblemItem]


class ReportTaken(BaseModel):
    """What a report was found to be about, with the label that each of them was given."""

    reported: list[LabelTaken]


class LabelGiven(BaseModel):
    """A label in the history of a message."""

    label_id: str
    message_id: str
    label: str = Field(json_schema_extra={"enum": [*LABELS, WITHDRAWN]}, description="`withdrawn` takes one back")
    known_at: Time
    seq: int
    source: LabelSource
    given_by: str


class LabelsPage(BaseModel):
    """Labels, the newest first. next: send as `after` for what follows; null at the end."""

    labels: list[LabelGiven]
    next: str | None


class DecisionListed(BaseModel):
    """A decision as a list has it."""

    decision_id: str
    message_id: str
    seq: int
    received_at: Time
    sender: str
    sender_domain: str
    recipients: list[str]
    direction: Direction
    message_id_header: str
    score: float
    verdict: Verdict
    category: str | None
    degraded: bool
    model_version: str
    signals: list[SignalAnswer]


class DecisionsPage(BaseModel):
    """Decisions, the newest first. next: send as `after` for what follows, also where the page holds fewer than were
    asked for; null at the end."""

    decisions: list[DecisionListed]
    next: str | None


class ViewRead(BaseModel):
    """What one feature view said of the message. as_of_seq: null of content views, which have no history."""

    status: str | None
    version: int | None
    as_of_seq: int | None = None
    values: dict[str, Any] = Field(description="by feature; null where the feature was missing")


class DetectorRead(BaseModel):
    """What one detector said of one recipient's vector when the decision was made."""

    model_version: int | None = Field(description="in the registry; null where it was away, and of a rule: rule:NAME")
    raw: float | None = Field(description="as the detector gave it, higher is worse; null where it gave none")
    score: float | None = Field(description="calibrated probability, 0..1, by the fusion that counted")
    log_odds: float | None = Field(description="the same as log-odds")
    milliseconds: float | None = Field(description="that it took, for all recipients together")
    missing: Missing | None = Field(
        description="why there is no score: it had nothing to say, is costly and was not asked, failed on the message, "
        "or did not load"
    )


class VectorRead(BaseModel):
    """The features of one recipient's vector, by view, and what detectors and rules of its tenant said of it."""

    recipient: str
    views: dict[str, ViewRead]
    detectors: dict[str, DetectorRead] = Field(description="none of messages from before scores were logged")


class MessageAnswer(BaseModel):
    """All that is known of a message but its content."""

    message_id: str
    decision_id: str
    received_at: Time
    sender: str
    sender_domain: str
    recipients: list[str]
    decision: ScoreAnswer
    label: str | None = Field(description="the label that counts; null where there is none, or it was withdrawn")
    vectors_status: Literal["logged", "pending"] = Field(description="pending: not in the log yet; ask again")
    vectors: list[VectorRead]


class LinkShown(BaseModel):
    """A link, defanged: hxxp for http, [.] for the dots of its host."""

    url: str
    target: str = Field(description="where it leads in the end")
    host: str
    text: str = Field(description="what the reader sees of it")
    place: str
    marks: list[str] = Field(description="what is odd in how it is written")


class PartShown(BaseModel):
    """An attached file."""

    name: str
    type: str = Field(description="detected from the bytes")
    declared_type: str
    size: int
    sha256: str
    message: bool = Field(description="it is a message itself")


class ShownMail(BaseModel):
    """Mail as people may look at it: plain text whose links nothing opens and no terminal obeys."""

    headers: list[tuple[str, str]]
    subject: str
    text: str = Field(description="what the reader sees, but for quotes")
    quoted_text: str
    hidden_text: str = Field(description="what the HTML holds and no reader sees")
    preview: str
    html: bool
    links: list[LinkShown]
    qr_codes: list[str]
    parts: list[PartShown]
    unread: dict[str, str] = Field(description="what was not read in full, and why")
    defects: list[str]
    truncated: list[str] = Field(description="what was cut off")
    nested: list[ShownMail]


class EnvelopeShown(BaseModel):
    """The SMTP envelope."""

    mail_from: str | None
    rcpt_to: list[str]


class ContentAnswer(ShownMail):
    """A message as people may look at it."""

    message_id: str
    received_at: Time
    envelope: EnvelopeShown


class AuditListed(BaseModel):
    """One act."""

    number: int
    at: Time
    tenant: str
    who: str = Field(description="`key:LABEL`, `operator:LABEL` or `cli:USER`")
    what: str
    target: str
    details: dict[str, Any]


class AuditPage(BaseModel):
    """Acts, the newest first. next: send as `before` for what follows; null at the end."""

    entries: list[AuditListed]
    next: int | None


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class Ready(BaseModel):
    """Whether the process can decide; what stands beside `status` only an admin's or an operator's key is told."""

    status: Literal["ready", "degraded", "not ready"]
    model_version: int | None = None
    starter: Starter | None = None
    down: dict[str, str] | None = None
    feature_writer: dict[str, Any] | None = None
