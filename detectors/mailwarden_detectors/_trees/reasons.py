"""What the trees found, in sentences for a help desk: a value with what is usual beside it, and never a mere absence.

1. A value that good mail has too, or nearly, is no reason, however much the trees make of it; nor is one that is not
   known.
2. That something is absent is a reason where `ABSENT` has words for it, and good mail mostly has it.
3. What speaks for a sender is no reason against its mail (`speaks_for`), whatever the trees make of it beside others.
4. A key that nobody has seen is said once, whatever its counts of nothing weigh: of sender, domain and pair the widest
   (`FIRST`).
5. Of a view of history one value speaks, the one that weighs most.
6. Where nothing is left, the message's build as a whole is the reason, on the features that weigh most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mailwarden.domain.detection.detector import Signal
from mailwarden.domain.detection.rows import FeatureTable
from mailwarden.domain.detection.usual import Usual
from mailwarden_detectors._trees.borrowed_names import borrowed
from mailwarden_detectors._trees.columns import COLUMNS, OTHERS

ABSENT = {
    "content_authentication:authenticated": "Nothing proves that it is from the domain that it names.",
    "content_headers:message_id_domain_matches": "Its Message-ID was not made at the sender's domain.",
    "sender_activity:path_match_90d": "It came by a network that the sender's mail never came by.",
    "sender_domain_activity:path_match_90d": "It came by a network that mail from the sender's domain never came by.",
    "sender_activity:structure_match_90d": "It is built like no other mail from the sender.",
    "sender_domain_activity:structure_match_90d": "It is built like no other mail from the sender's domain.",
    "sender_activity:link_domain_match_90d": "It leads to a domain that the sender's mail never led to.",
    "thread_activity:sender_match": "The sender never wrote in the thread that it answers.",
    "thread_activity:sender_domain_match": "Nobody at the sender's domain wrote in the thread that it answers.",
    "display_name_activity:history": "Nobody ever wrote under the sender's display name.",
    "display_name_activity:sender_match": "Others write under this display name, and the sender never did.",
    "display_name_activity:sender_domain_match": "Others write under this display name, none at the sender's domain.",
    "person_activity:sender_match": "Others write under this name, and the sender never did.",
    "person_activity:outbound_sender_match": "A colleague writes under this name, from another address.",
    "person_activity:internal_sender_match": "A colleague writes under this name, from another address.",
    "lookalike_domain_activity:domain_match": "Mail comes from domains that look like the sender's, and never from it.",
    "sender_display_name:history": "The sender never wrote under this display name.",
    "campaign_activity:sender_match": "Others sent nearly the same text, and the sender never did.",
    "link_domain_activity:history": "Its links lead to a domain that no mail has named before.",
    "link_domain_activity:sender_domain_match": "Its links lead where no mail from the sender's domain has led.",
    "attachment_activity:history": "The attached file was never seen before.",
    "attachment_activity:sender_match": "Others sent the attached file, and the sender never did.",
}
"""What it says of a message that something is not so, by full name; of all else an absence says nothing."""

FIRST = {
    "sender_domain_activity": "First mail from this domain.",
    "sender_activity": "First mail from this address.",
    "relationship": "The sender and this reader never wrote to one another.",
}
"""What is said of a key that was never seen, the widest first: who is told the first needs none of the others."""

WHOLE = "built_like_unwanted"

_FOR = (
    "_pass", "_aligned", ":authenticated", ":last_authentication", ":sealer_vouches", ":dkim_signatures", ":history",
    "_match", ":sender_listed", ":name_theirs", ":labelled_good", ":safe_rate", ":written_to", ":outbound_",
    ":reverse_", ":replies_", ":days_known", ":internal_", ":has_references", ":message_id_domain_matches",
)  # fmt: skip
"""Parts of the names of what speaks for a sender where it is there, or is more than usual."""

_BY_NAME = {column.name: column for column in (*COLUMNS, *OTHERS)}
_HISTORIES = {name.partition(":")[0] for name in _BY_NAME if name.endswith(":history")}
_MARGIN = 0.1
_SHARES = ("_share", "_rate", "_ratio")


@dataclass(frozen=True, slots=True)
class Raised:
    """A feature that raised a score: full name, the row's value, what good mail has, and how much in log-odds."""

    name: str
    value: float
    usual: Usual | None
    weight: float


def reasons_of(raised: Sequence[Raised], features: FeatureTable, row: int, limit: int) -> list[Signal]:
    """At most `limit` reasons of one row, worst first. raised: all that raised its score. See the module."""
    known = [one for one in raised if not math.isnan(one.value)]
    known.sort(key=lambda one: (-one.weight, one.name))
    found: dict[str, Signal] = {}
    for one in known:
        about, words, names = _said(one, features, row)
        if words and about not in found:
            found[about] = Signal(names[0], words, one.weight, names)
            if len(found) == limit:
                break
    if found or not known:
        return list(found.values())[:limit]
    names = tuple(one.name for one in known[:3])
    words = "Nothing of it stands out alone; taken together it is built as unwanted mail is."
    return [Signal(WHOLE, words, sum(one.weight for one in known[:3]), names)][:limit]


def _said(one: Raised, features: FeatureTable, row: int) -> tuple[str, str, tuple[str, ...]]:
    """What a feature is about, the words for it, "" where it tells a reader nothing, and the features they rest on."""
    view = one.name.partition(":")[0]
    if view in FIRST and _history(features, row, view) == 0.0:
        first = tuple(f"{name}:history" for name in FIRST if _history(features, row, name) == 0.0)
        return "first", FIRST[first[0].partition(":")[0]], first
    if view in _HISTORIES and _history(features, row, view) == 0.0:
        # Its counts of nothing all say the same.
        name = f"{view}:history"
        return view, ABSENT.get(name, ""), (name,)
    if speaks_for(one.name, one.value, one.usual):
        return "", "", ()
    words = borrowed(features, row, one.name)
    if words:
        return "borrowed", words, (one.name,)
    about = one.name if view.startswith("content_") else view
    return about, _own_words(one), (one.name,)


def _own_words(one: Raised) -> str:
    """What a value says by itself; "" where good mail has it too, or its absence says nothing."""
    usual = one.usual
    if not _BY_NAME[one.name].flag:
        return words_of(one.name, one.value, usual) if usual is None or _stands_out(one.value, usual) else ""
    if one.value:
        seldom = usual is None or usual.median == 0.0 or usual.known < 0.5
        return f"{_BY_NAME[one.name].words}." if seldom else ""
    return ABSENT.get(one.name, "") if usual is None or usual.median != 0.0 else ""


def speaks_for(name: str, value: float, usual: Usual | None) -> bool:
    """Whether a value speaks for its sender: proof, or dealings, and no less of it than good mail mostly has."""
    return any(part in name for part in _FOR) and value > 0.0 and (usual is None or value >= usual.median)


def _stands_out(value: float, usual: Usual) -> bool:
    """Whether a value lies outside of good mail's by more than a tenth of what that spans."""
    margin = _MARGIN * (usual.high - usual.low)
    return not (usual.known >= 0.5 and usual.low - margin <= value <= usual.high + margin)


def words_of(name: str, value: float, usual: Usual | None = None) -> str:
    """A sentence on one value and on what good mail has; raises KeyError on a feature that is not read.

    >>> words_of("content_links:url_ip_host", 2.0, Usual(0.0, 0.0, 0.0, 1.0))
    'Links to an IP address: 2 (good mail: 0).'
    >>> words_of("sender_activity:bad_rate", 0.25)
    'Share of mail from the sender labelled bad: 25%.'
    """
    column = _BY_NAME[name]
    said = f"{column.words}: {_number(name, value)}"
    if usual is None:
        return f"{said}."
    if usual.known < 0.5:
        return f"{said} (of most good mail it is not known)."
    low, high = _number(name, usual.low), _number(name, usual.high)
    return f"{said} (good mail: {low if low == high else f'{low} to {high}'})."


def _number(name: str, value: float) -> str:
    if any(part in name for part in _SHARES) and 0.0 <= value <= 1.0:
        return f"{value:.0%}" if value in (0.0, 1.0) or 0.01 <= value <= 0.99 else f"{value:.2%}"
    said = f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"
    return said.removeprefix("-") if float(said.replace(",", "")) == 0.0 else said


def _history(features: FeatureTable, row: int, view: str) -> float:
    value = features.number(f"{view}:history", row)
    return math.nan if value is None else value
