"""What the event log says of messages that were judged: their labels, campaigns, and what slices them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from mailwarden.domain.mail.events import LABELS, TOMBSTONE, WITHDRAWN
from mailwarden.domain.mail.label_sources import RANKS, UNSAID
from mailwarden.evaluation.coded import NONE, Coded, rarely_others
from mailwarden.evaluation.keys import Keys, newest
from mailwarden.stores.lake.delta import bucket_of, within
from mailwarden.stores.lists import load_lists
from mailwarden_services.bootstrap import Platform

SEVERAL = 20
"""Sites with fewer messages are taken together."""

Parts = list[tuple[NDArray[np.int64], pa.Array]]
"""By part of what was read, (rows,) which message each row is of, and a column of strings."""

_WHOLE = ("tenant", "message_id")
_MESSAGE = (
    *_WHOLE, "seq", "campaign", "direction", "sender_domain", "recipient_domains", "authenticated", "new_recipients",
)  # fmt: skip
_WORD_LIMIT = 200
"""Of sites so many are named at most, those with most messages."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What a bundle may have learned from: labels known by a time, of messages up to a seq of each tenant.

    known_by_us: microseconds UTC, by tenant where it has another. through: by tenant; None where the training did not
    record it, and all that was labelled by then is taken as learned from.
    """

    known_by_us: int
    tenants_known_by_us: Mapping[str, int] = field(default_factory=dict)
    through: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Labels:
    """Of n messages: label of `events.LABELS` as known by the cut-off; first_us: (n,) when the first label was known,
    the greatest int64 where none was ever given; gone: (n,) whether a tombstone takes the message out of the counts."""

    label: Coded
    first_us: NDArray[np.int64]
    gone: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class MessageFacts:
    """Of n messages: seq (0 where the log does not hold it), campaign (-1 for none) and slices."""

    seq: NDArray[np.int64]
    campaign: NDArray[np.int64]
    slices: Mapping[str, Coded]


def labels_of(platform: Platform, keys: Keys, tenants: Sequence[str], cutoff_us: int) -> Labels:
    """Labels known by a time; of several the one that training takes (`domain.mail.label_sources`)."""
    never = np.iinfo(np.int64).max
    first_us = np.full(len(keys), never)
    gone = np.zeros(len(keys), dtype=np.bool_)
    places, seqs, words, known, ranks = [], [], [], [], []
    columns = (*_WHOLE, "seq", "kind", "label", "known_at", "label_source")
    for place, rows in keys.read(_events(platform, tenants, columns, _SAID)):
        known_us = np.asarray(rows["known_at"].cast(pa.int64()))
        dead = np.asarray(pc.equal(rows["kind"], TOMBSTONE))
        gone[place[dead]] = True
        np.minimum.at(first_us, place[~dead], known_us[~dead])
        kept = ~dead & (known_us <= cutoff_us)
        places.append(place[kept])
        seqs.append(np.asarray(rows["seq"])[kept])
        words.append(Coded.of(rows["label"].filter(pa.array(kept)), (*LABELS, WITHDRAWN)).codes)
        known.append(known_us[kept])
        source = rows["label_source"].filter(pa.array(kept)).to_pylist()
        ranks.append(np.array([RANKS.get(one or UNSAID, RANKS[UNSAID]) for one in source], dtype=np.int64))
    if not places:
        return Labels(Coded(np.full(len(keys), NONE, dtype=np.int32), LABELS), first_us, gone)
    place, seq, code = np.concatenate(places), np.concatenate(seqs), np.concatenate(words)
    withdrawn = np.zeros(len(keys), dtype=np.int64)
    taken_back = code == len(LABELS)
    np.maximum.at(withdrawn, place[taken_back], seq[taken_back])
    order = np.lexsort((seq, np.concatenate(known), np.concatenate(ranks)))
    order = order[seq[order] > withdrawn[place[order]]]
    last = newest([place[order]], [np.arange(len(order))], len(keys))
    codes = np.append(code[order], NONE)[last]
    return Labels(Coded(codes.astype(np.int32), LABELS), first_us, gone)


_SAID = ds.field("kind").isin(["label", TOMBSTONE])


def facts_of(platform: Platform, keys: Keys, tenants: Sequence[str]) -> MessageFacts:
    """Campaigns and slices by the facts in force. A fact that the log does not have is none.

    site: the registrable domain that the mail is of: its first recipient's, of outbound mail the sender's.
    first_contact: whether the sender wrote to some recipient for the first time.
    """
    n = len(keys)
    seq = np.zeros(n, np.int64)
    codes = {name: np.full(n, NONE, dtype=np.int32) for name in _SLICES}
    sites: Parts = []
    senders: Parts = []
    campaigns: Parts = []
    for place, rows in keys.read(_events(platform, tenants, _MESSAGE, ds.field("kind") == "message")):
        seq[place] = np.asarray(rows["seq"])
        codes["direction"][place] = Coded.of(rows["direction"], _SLICES["direction"]).codes
        spoken = rows["authenticated"]
        codes["authentication"][place] = np.where(
            np.asarray(spoken.is_null()), 2, np.where(np.asarray(pc.fill_null(spoken, False)), 0, 1)
        )
        new = pc.fill_null(pc.list_value_length(rows["new_recipients"]), 0)
        codes["first_contact"][place] = np.where(np.asarray(new) > 0, 0, 1)
        sender = rows["sender_domain"].combine_chunks()
        senders.append((place, sender))
        out = pc.equal(rows["direction"], "outbound").combine_chunks()
        sites.append((place, pc.if_else(out, sender, _first(rows["recipient_domains"]))))
        name = pc.binary_join_element_wise(rows["tenant"], rows["campaign"], "\n").combine_chunks()
        campaigns.append((place, pc.if_else(pc.equal(rows["campaign"].combine_chunks(), ""), None, name)))
    slices = {name: Coded(values, _SLICES[name]) for name, values in codes.items()}
    sender = _placed(senders, n)
    lists = load_lists(platform.settings.lists_path)
    # The last place is that of no sender.
    free = [*(0 if lists.holds("free_mail", word) else 1 for word in sender.words), NONE]
    slices["free_mail"] = Coded(np.array(free, dtype=np.int32)[sender.codes], ("free mail", "own domain"))
    slices["site"] = _few(_placed(sites, n))
    return MessageFacts(seq, _numbered(campaigns, n), dict(sorted(slices.items())))


def senders_of(platform: Platform, keys: Keys, tenants: Sequence[str]) -> Coded:
    """(n,) addresses that messages are of; none where the log does not hold the message."""
    found: Parts = []
    for place, rows in keys.read(_events(platform, tenants, (*_WHOLE, "sender"), ds.field("kind") == "message")):
        found.append((place, rows["sender"].combine_chunks()))
    return _placed(found, len(keys))


SLICES = (
    "authentication", "direction", "first_contact", "free_mail", "label", "language", "learned", "site", "tenant",
)  # fmt: skip
"""What messages can be told apart by, of whichever source."""

_SLICES = {
    "direction": ("inbound", "internal", "outbound"),
    "authentication": ("authenticated", "denied", "not said"),
    "first_contact": ("first contact", "known"),
}


def learned(keys_tenant: Coded, facts: MessageFacts, labels: Labels, what: Learned) -> Coded:
    """A slice: whether a bundle may have learned from each message."""
    known_by = np.full(len(keys_tenant), what.known_by_us)
    through = np.full(len(keys_tenant), np.iinfo(np.int64).max if what.through is None else 0)
    for code, tenant in enumerate(keys_tenant.words):
        own = keys_tenant.codes == code
        known_by[own] = what.tenants_known_by_us.get(tenant, what.known_by_us)
        if what.through is not None:
            through[own] = what.through.get(tenant, 0)
    yes = (labels.first_us <= known_by) & (facts.seq <= through)
    return Coded.flags(yes, "learned from", "new")


def _events(
    platform: Platform, tenants: Sequence[str], columns: Sequence[str], wanted: ds.Expression
) -> Iterator[pa.RecordBatch]:
    for tenant in tenants:
        own = wanted & (ds.field("tenant") == tenant)
        yield from platform.facts.view(tenant).read(columns, own, within([bucket_of(tenant)]))


def _first(lists: pa.ChunkedArray) -> pa.Array:
    """The first of each list of strings, null for none."""
    column = lists.combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(column), 0)
    there = pc.greater(lengths, 0)
    found = pc.list_element(column.filter(there), 0)
    at = pc.subtract(pc.cumulative_sum(there.cast(pa.int64())), 1)
    return found.take(pc.if_else(there, at, pa.scalar(None, pa.int64())))


def _placed(parts: Parts, n: int) -> Coded:
    if not parts:
        return Coded(np.full(n, NONE, dtype=np.int32), ())
    column = Coded.of(pa.chunked_array([values for _, values in parts]))
    codes = np.full(n, NONE, dtype=np.int32)
    codes[np.concatenate([place for place, _ in parts])] = column.codes
    return Coded(codes, column.words)


def _numbered(parts: Parts, n: int) -> NDArray[np.int64]:
    campaign = np.full(n, -1, dtype=np.int64)
    if not parts:
        return campaign
    found = pa.chunked_array([names for _, names in parts]).combine_chunks().dictionary_encode().indices
    campaign[np.concatenate([place for place, _ in parts])] = pc.fill_null(found, -1).to_numpy(zero_copy_only=False)
    return campaign


def _few(sites: Coded) -> Coded:
    counts = np.sort(sites.counts())[::-1]
    least = SEVERAL if len(counts) <= _WORD_LIMIT else max(SEVERAL, int(counts[_WORD_LIMIT]) + 1)
    return rarely_others(sites, least)
