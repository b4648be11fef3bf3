"""What a reader is told of a name that somebody else has always used."""

from __future__ import annotations

from mailwarden.domain.detection.rows import FeatureTable

_VIEW = "content_directory:"
_DUTY, _USUAL = f"{_VIEW}name_duty", f"{_VIEW}name_usual_address"
NAMED = (_DUTY, _USUAL)
"""Texts that the words are made of, by full name."""

_FLAGS = {
    f"{_VIEW}name_vip_borrowed": "a VIP",
    f"{_VIEW}name_manager_borrowed": "the reader's manager",
    **{
        f"{_VIEW}{name}_borrowed": "" for name in ("name", "initials", "name_executive", "name_finance", "name_partner")
    },
}
_WHO = {
    "executive": "someone who leads here",
    "finance": "someone in finance here",
    "hr": "someone in personnel here",
    "it": "someone in IT here",
    "legal": "someone in legal affairs here",
    "partner": "a partner",
}


def borrowed(features: FeatureTable, row: int, name: str) -> str:
    """The words for a feature that says that a name is borrowed; "" where it is none of these, or says no.

    "First mail from this address under the name of a VIP, who writes from ann@acme.example."
    """
    if name not in _FLAGS or features.number(name, row) != 1.0:
        return ""
    who = _FLAGS[name] or _WHO.get(features.written(_DUTY, row), "someone in the directory")
    usual = features.written(_USUAL, row)
    first = features.number("sender_activity:history", row) == 0.0
    mail = "First mail from this address" if first else "Mail from another address"
    return f"{mail} under the name of {who}" + (f", who writes from {usual}." if usual else ".")
