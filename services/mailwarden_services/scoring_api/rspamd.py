"""rspamd's protocol: what its clients ask, and what comes of a message in its words.

https://docs.rspamd.com/developers/protocol. Clients are `rspamc`, the `rspamd_proxy` that speaks milter to a mail
server, and mail servers that ask over HTTP. What they act on is `action`; scores are log-odds beside those from which
the tenant's mail is held back.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from starlette.datastructures import Headers

from mailwarden.domain.detection.action import ACTIONS, Action
from mailwarden.domain.detection.decision import Thresholds
from mailwarden.domain.detection.tenant_budget import TRAINED, TenantBudget
from mailwarden.domain.mail.message import Envelope
from mailwarden.domain.mail.reception import Reception
from mailwarden.errors import ConfigError
from mailwarden_services.scoring_api.answers import budget_of
from mailwarden_services.scoring_api.mail_flow import Outcome
from mailwarden_services.scoring_api.mail_headers import first_field
from mailwarden_services.scoring_api.requests import MAX_HELO, MAX_QUEUE_ID, MAX_USER, header_text

RspamdAction = Literal[
    "no action", "add header", "rewrite subject", "soft reject", "reject", "quarantine", "discard"
]  # fmt: skip

ACTIONS_BY_DEFAULT: Mapping[Action, RspamdAction] = {
    "accept": "no action",
    "banner": "rewrite subject",
    "junk": "add header",
    "quarantine": "add header",
    "reject": "reject",
}
"""A banner is what a reader sees, and the subject is all of that which rspamd's clients change. `quarantine` is no
default: rspamd_proxy defers a message for ever whose action its configuration does not name, and other clients deliver
it; `add header` has it lie in junk."""

SUBJECT_MARK = "[Caution] "
_NO_NAME = re.compile(r"[^A-Za-z0-9_]")
NEVER = 999.0
"""What stands for a threshold that no score reaches."""


def rspamd_actions_of(text: str) -> Mapping[Action, RspamdAction]:
    """`ACTIONS_BY_DEFAULT` with what `action=rspamd's action`, with commas, says otherwise; raises ConfigError.

    >>> rspamd_actions_of("quarantine=quarantine, banner=no action")["quarantine"]
    'quarantine'
    """
    found = dict(ACTIONS_BY_DEFAULT)
    for entry in (one.strip() for one in text.split(",")):
        ours, _, theirs = (part.strip() for part in entry.partition("="))
        action = next((action for action in ACTIONS if action == ours and action != "accept"), None)
        said = next((name for name in get_args(RspamdAction) if name == theirs), None)
        if entry and (action is None or said is None):
            raise ConfigError(
                f"MAILWARDEN_RSPAMD_ACTIONS: {entry!r} cannot be read; write one of {', '.join(ACTIONS[1:])}, =, and "
                f"one of {', '.join(get_args(RspamdAction))}."
            )
        if action is not None and said is not None:
            found[action] = said
    return found


@dataclass
class Rspamd:
    """How the protocol is spoken. password: "" for none. thresholds: of the models that serve, at a tenant's budget,
    for a message of a category, None for one that was delivered.

    counts: by rspamd's actions, of messages since the start; learned: by label.
    """

    password: str
    actions: Mapping[Action, RspamdAction]
    thresholds: Callable[[str, TenantBudget, str | None], Thresholds]
    counts: Counter[str] = field(default_factory=Counter)
    learned: Counter[str] = field(default_factory=Counter)


def address_of_client(text: str) -> str:
    """The address in an `IP` header, which a port may follow; "" where it is none.

    >>> [address_of_client(text) for text in ("203.0.113.5:2525", "[2001:db8::1]:25", "2001:DB8::1", "unix")]
    ['203.0.113.5', '2001:db8::1', '2001:db8::1', '']
    """
    text = text.strip()
    host = text[1:].partition("]")[0] if text.startswith("[") else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return ""


def path_of(text: str) -> str:
    """An SMTP path without its angle brackets."""
    text = text.strip()
    return text[1:-1].strip() if text.startswith("<") and text.endswith(">") else text


def envelope_of_headers(headers: Headers) -> Envelope:
    """The envelope as rspamd's clients give it; what cannot be read counts as not given."""

    def word(name: str, limit: int) -> str:
        text = header_text(headers.get(name, ""))[:limit]
        return text if text.isprintable() else ""

    sender = headers.get("from")
    recipients = [path_of(header_text(value)) for value in headers.getlist("rcpt")]
    if not any(recipients):
        recipients = [path_of(header_text(value)) for value in headers.getlist("deliver-to")]
    client, helo = address_of_client(headers.get("ip", "")), word("helo", MAX_HELO)
    return Envelope(
        None,
        None if sender is None else path_of(header_text(sender)),
        tuple(recipient for recipient in recipients if recipient),
        reception=Reception(client_ip=client, helo=helo) if client or helo else None,
        auth_user=word("user", MAX_USER) or None,
        queue_id=word("queue-id", MAX_QUEUE_ID) or None,
    )


def flags_of(headers: Headers) -> frozenset[str]:
    """Words of `Flags`; those that are not known ask for nothing."""
    return frozenset(word.strip() for value in headers.getlist("flags") for word in value.split(","))


def answer_in_its_words(outcome: Outcome, raw: bytes, rspamd: Rspamd, seconds: float) -> dict[str, Any]:
    """What `/checkv2` answers for a message."""
    action = rspamd.actions[outcome.action]
    thresholds = _thresholds(outcome, rspamd)
    scores = [answer["log_odds"] for _, answer in outcome.answers if answer["log_odds"] is not None]
    score = round(max(scores, default=0.0), 4)
    found: dict[str, Any] = {
        "is_skipped": not outcome.answers,
        "score": score,
        "required_score": thresholds["add header"],
        "action": action,
        "thresholds": thresholds,
        "symbols": _symbols(outcome),
        "messages": {},
        "message-id": _message_id(raw),
        "time_real": round(seconds, 6),
        "urls": [],
        "emails": [],
        "milter": _milter(outcome),
    }
    if action in ("reject", "soft reject"):
        ids = [answer["decision_id"] for _, answer in outcome.answers if answer["decision_id"]]
        found["messages"]["smtp_message"] = "Message refused" + (f", reference {ids[0]}" if len(ids) == 1 else "")
    if action == "rewrite subject":
        found["subject"] = _subject(raw)
    return found


def _thresholds(outcome: Outcome, rspamd: Rspamd) -> dict[str, float]:
    if outcome.answers:
        tenant, answer = outcome.answers[0]
        known = rspamd.thresholds(tenant.name, budget_of(tenant), answer["category"])
    else:
        known = rspamd.thresholds("", TRAINED, None)
    pairs = (("rewrite subject", known.banner), ("add header", known.junk), ("quarantine", known.quarantine))
    return {name: round(at, 4) if math.isfinite(at) else NEVER for name, at in pairs}


def _symbols(outcome: Outcome) -> dict[str, Any]:
    """Our signals as symbols, the stronger where two tenants have one; and the verdict, with our ids as options."""
    symbols: dict[str, Any] = {}

    def add(name: str, weight: float, words: str, options: list[str]) -> None:
        known = symbols.get(name)
        if known is None or known["score"] < weight:
            symbols[name] = {
                "name": name,
                "score": weight,
                "metric_score": weight,
                "description": words,
            } | ({"options": options} if options else {})

    for _, answer in outcome.answers:
        for signal in answer["signals"]:
            add("MW_" + _NO_NAME.sub("_", signal["name"]).upper(), signal["weight"], signal["words"], [])
    if outcome.answers:
        ids = [answer["decision_id"] for _, answer in outcome.answers if answer["decision_id"]]
        categories = [answer["category"] for _, answer in outcome.answers if answer["category"]]
        add(f"MW_VERDICT_{outcome.verdict.upper()}", 0.0, "What Mailwarden would do.", [*ids, *categories])
        if starters := sorted({answer["starter"] for _, answer in outcome.answers if answer.get("starter")}):
            add("MW_STARTER", 0.0, "The models are a starter, and nothing of this site's.", starters)
    return symbols


def _milter(outcome: Outcome) -> dict[str, Any]:
    """Fields to add on top, and to remove: 0 is every field of a name, another number that one of them."""
    changes = outcome.changes
    removed = dict.fromkeys(changes.remove, 0)
    for name, number in changes.remove_at:
        # A name has one number there: of who forged several, none is left, the others' neither.
        removed[name] = 0 if name in removed else number
    return {
        "add_headers": {name: {"value": value, "order": 0} for name, value in changes.add},
        "remove_headers": removed,
    }


def _message_id(raw: bytes) -> str:
    value = first_field(raw, "message-id")
    text = "" if value is None else value.decode("ascii", "replace").strip()
    return text.strip("<>")[:200] or "undef"


def _subject(raw: bytes) -> str:
    """The subject as it is to stand in the message: marked in front, once, and otherwise as it was written."""
    value = (first_field(raw, "subject") or b"").decode("utf-8", "replace")
    text = " ".join(value.split())
    return text if text.startswith(SUBJECT_MARK) else SUBJECT_MARK + text
