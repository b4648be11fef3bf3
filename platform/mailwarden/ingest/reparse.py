"""Facts derived anew from raw mail, under the seqs that events have, as a fact set beside the log.

1. What shall be derived is settled first: the tenants whose facts other code took, each up to its last seq now.
2. A tenant's raw mail is parsed, in any order and in several processes, and what was read is kept on disk by row.
3. The tenant's events are gone through in order of seq. A message gets the facts just read, under its own id, seq and
   times; one whose raw mail is gone keeps those that it had. What depends on order, who was written to for the first
   time and which campaign a message is of, is decided again, by what decides it at ingest. An event about a message
   gets that message's new facts.
4. The rows are written in one commit. Tenants that are written are not done again after a crash.
5. With the last tenant the set is published. Until then the one before is in force.

In memory are a few numbers a message, and what is decided again of messages that labels and signals speak of.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import structlog
from numpy.typing import NDArray

from mailwarden.domain.mail.events import Event
from mailwarden.domain.mail.facts import FACTS_VERSION, anew
from mailwarden.errors import DataError, NotFound
from mailwarden.ingest.parallel import parse_all
from mailwarden.ingest.receive import Site
from mailwarden.ingest.sources import RawMessage
from mailwarden.ingest.spill import Spill
from mailwarden.stores.campaigns import CampaignNumbering, Campaigns
from mailwarden.stores.contact_numbering import Numbering
from mailwarden.stores.contacts import Contacts
from mailwarden.stores.content_code import facts_fingerprint
from mailwarden.stores.lake.delta import bucket_of, within
from mailwarden.stores.lake.event_log import EventLog, EventView, events_to_table
from mailwarden.stores.lake.fact_sets import FACT_SCHEMA, Begun, FactSet, FactSets, TenantFacts
from mailwarden.stores.lake.raw_mail import RawMail

_ROWS = 8_192
_log = structlog.get_logger(__name__)

Progress = Callable[[str, int], None]
"""A tenant, and how many of its messages are parsed."""


def reparse(
    fact_sets: FactSets,
    event_log: EventLog,
    raw_mail: RawMail,
    sites: Mapping[str, Site],
    *,
    made_at_us: int,
    again: bool = False,
    workers: int = 2,
    scratch: Path | None = None,
    progress: Progress = lambda tenant, done: None,
    settle: Callable[[], None] = lambda: None,
) -> FactSet:
    """Derive the facts of these tenants anew, and publish the set that holds them.

    sites: the tenants', as they are set now. made_at_us: the time now, microseconds UTC. again: also where code of
    this version and fingerprint derived all there is. scratch: folder for temporary files. settle: comes back once the
    log holds what bears facts that are about to be replaced, as tombstones do; nobody forgets a message meanwhile.
    Safe to cut off anywhere and to run again, and while mail flows. Facts were taken by other code too where they were
    under another trust. Raises NotFound where a tenant has no event, DataError where nothing changed, StoreError where
    another process derives facts.
    """
    with fact_sets.writing():
        with fact_sets.beginning():
            settle()
            begun = _plan(fact_sets, event_log, sites, again)
        for tenant in begun.tenants:
            site = replace(sites[tenant], stored=True)
            with tempfile.TemporaryDirectory(prefix="mailwarden-reparse-", dir=scratch) as folder:
                _derive(fact_sets, begun, raw_mail, site, Path(folder), workers, progress)
        made = fact_sets.publish(begun, made_at_us)
    for tenant in begun.tenants:
        facts = made.tenants[tenant]
        _log.info("facts derived", tenant=tenant, set=made.number, events=facts.events, kept=facts.kept)
    return made


def _plan(fact_sets: FactSets, event_log: EventLog, sites: Mapping[str, Site], again: bool) -> Begun:
    view = event_log.view()
    through = {tenant: view.last_seq(tenant) for tenant in sites}
    known = [tenant for tenant, seq in through.items() if seq]
    if not known:
        names = ", ".join(sorted(sites)) or "any tenant"
        raise NotFound(f"no event of {names} is logged; run `mailwarden ingest` first")
    trusts = {tenant: site.trusts.fingerprint for tenant, site in sites.items()}
    changed = [tenant for tenant in known if again or _is_changed(fact_sets, event_log, tenant, trusts[tenant])]
    if not changed:
        raise DataError(
            f"facts of {', '.join(sorted(known))} are those that this code takes (version {FACTS_VERSION}); nothing to "
            "derive. Raise FACTS_VERSION where the parser changed what they mean, or say `mailwarden reparse --again`"
        )
    before = fact_sets.begun()
    if (
        before is not None
        and set(before.tenants) == set(changed)
        and all(_is_current(facts, trusts[tenant]) for tenant, facts in before.tenants.items())
    ):
        _log.info("a fact set that was begun is gone on with", set=before.number)
        return before
    code = FACTS_VERSION, facts_fingerprint()
    return fact_sets.begin({name: TenantFacts(0, through[name], *code, trust=trusts[name]) for name in sorted(changed)})


def _is_current(facts: TenantFacts, trust: str) -> bool:
    return (facts.facts_version, facts.fingerprint, facts.trust) == (FACTS_VERSION, facts_fingerprint(), trust)


def _is_changed(fact_sets: FactSets, event_log: EventLog, tenant: str, trust: str) -> bool:
    """Whether other code than this took facts of a tenant's that are in force, or under another trust."""
    facts = fact_sets.newest().tenants.get(tenant)
    if facts is not None and not _is_current(facts, trust):
        return True
    prints = set(fact_sets.noted().get(FACTS_VERSION, ()))
    if facts is None and not prints <= {facts_fingerprint()}:
        return True
    logged = (ds.field("tenant") == tenant) & (ds.field("seq") > (0 if facts is None else facts.through))
    for batch in event_log.view().read(["facts_version", "trust"], logged, within([bucket_of(tenant)])):
        # Null where files are from before versions were kept.
        if any(version != FACTS_VERSION for version in batch.column(0).unique().to_pylist()):
            return True
        # Null too: they were taken before trust was kept, under nobody knows which.
        if any((taken or "") != trust for taken in batch.column(1).unique().to_pylist()):
            return True
    return False


@dataclass(frozen=True, slots=True)
class _Read:
    """Messages as read anew. ids: a digest of each message_id, sorted; rows: of each, its row in `spill`."""

    spill: Spill
    ids: NDArray[np.bytes_]
    rows: NDArray[np.int64]

    def find(self, events: list[Event]) -> list[Event | None]:
        """Each event's message as read anew; None where its raw mail is gone."""
        wanted = _ids([event.message_id for event in events])
        at = np.minimum(np.searchsorted(self.ids, wanted), max(len(self.ids) - 1, 0))
        there = self.ids[at] == wanted if len(self.ids) else np.zeros(len(events), dtype=bool)
        rows, back = np.unique(self.rows[at[there]], return_inverse=True)
        read = self.spill.read(rows)
        found: list[Event | None] = [None] * len(events)
        for index, place in zip(np.flatnonzero(there), back, strict=True):
            found[index] = read[place][0]
        return found


def _ids(message_ids: list[str]) -> NDArray[np.bytes_]:
    digests = (hashlib.blake2b(message_id.encode(), digest_size=16).digest() for message_id in message_ids)
    return np.frombuffer(b"".join(digests), dtype="S16")


def _derive(
    fact_sets: FactSets, begun: Begun, raw_mail: RawMail, site: Site, folder: Path, workers: int, progress: Progress
) -> None:
    tenant, path = site.tenant, str(folder / "facts.arrow")
    if fact_sets.holds(begun, tenant):
        return
    view, through = fact_sets.view(tenant), begun.tenants[tenant].through
    # On disk first: the lake cannot be read while it is written to.
    with (
        Spill(folder) as spill,
        closing(Contacts(folder / "contacts.sqlite")) as contacts,
        contacts.numbering(tenant) as numbering,
        closing(Campaigns(folder / "campaigns")) as campaigns,
        campaigns.numbering(tenant) as copies,
        pa.OSFile(path, "wb") as out,
        pa.ipc.new_file(out, FACT_SCHEMA) as written,
    ):
        read = _read_anew(raw_mail, site, spill, workers, progress)
        copies.begin(EventView(None))
        for batch in _rows(view, tenant, through, read, numbering, copies):
            written.write_batch(batch)
    with pa.memory_map(path) as mapped:
        rows = pa.ipc.open_file(mapped)
        fact_sets.add(begun, tenant, lambda: (rows.get_batch(i) for i in range(rows.num_record_batches)))


def _read_anew(raw_mail: RawMail, site: Site, spill: Spill, workers: int, progress: Progress) -> _Read:
    def stored() -> Iterator[RawMessage]:
        for row in raw_mail.scan(site.tenant):
            # The hash stands where a name would: it tells whether the bytes are still those that came.
            yield RawMessage(f"{row.message_id} {row.content_sha256}", row.raw, row.envelope)

    ids: list[str] = []
    damaged = 0
    for chunk in parse_all(stored(), site, workers):
        for message, parsed in chunk:
            message_id, content_sha256 = message.path.split(" ")
            if parsed.event.content_sha256 != content_sha256:
                damaged += 1
                continue
            ids.append(message_id)
            spill.add(parsed.event, message.envelope, b"")
        progress(site.tenant, len(spill))
    spill.close_writing()
    if damaged:
        _log.error("raw mail is damaged, and its events keep their facts", tenant=site.tenant, messages=damaged)
    found = _ids(ids)
    order = np.argsort(found, kind="stable")
    return _Read(spill, found[order], order)


def _rows(
    view: EventView, tenant: str, through: int, read: _Read, numbering: Numbering, copies: CampaignNumbering
) -> Iterator[pa.RecordBatch]:
    """A tenant's events with facts as read anew, in order of seq."""
    named = _messages_named(view, tenant)
    given: dict[str, tuple[tuple[str, ...], str]] = {}
    for events in view.in_order(tenant, 0, through, limit=_ROWS):
        found = read.find(events)
        kept = [message is None for message in found]
        pairs = zip(events, found, strict=True)
        facts = [event if message is None else _as_stored(message, event) for event, message in pairs]
        messages = [index for index, event in enumerate(events) if event.kind == "message"]
        sent = [(facts[i].sender, facts[i].recipients, events[i].seq, events[i].message_id) for i in messages]
        new = numbering.first(sent)
        # One whose raw mail is gone, from before there were signatures, is of the campaign that it was of.
        joined = copies.join([(events[i].seq, facts[i].signature) for i in messages])
        for index, names, campaign in zip(messages, new, joined, strict=True):
            if kept[index] and not facts[index].signature:
                campaign = events[index].campaign
            facts[index] = replace(facts[index], new_recipients=names, campaign=campaign)
            if facts[index].message_id in named:
                given[facts[index].message_id] = names, campaign
        for index, event in enumerate(events):
            if event.kind != "message":
                names, campaign = given.get(event.message_id, ((), event.campaign))
                message = replace(facts[index], new_recipients=names, campaign=campaign)
                facts[index] = message if kept[index] else anew(event, message)
        table = events_to_table(facts).append_column(FACT_SCHEMA.field("kept"), pa.array(kept, pa.bool_()))
        yield from table.to_batches()


def _as_stored(message: Event, event: Event) -> Event:
    """A message as read anew, as the event that it was when it was accepted."""
    return replace(
        message,
        seq=event.seq,
        message_id=event.message_id,
        received_at_us=event.received_at_us,
        known_at_us=event.known_at_us,
        time_source=event.time_source,
        time_clamped=event.time_clamped,
        copy_of=event.copy_of,
        # A further copy counts for those alone who did not have the message.
        recipients=event.recipients if event.copy_of else message.recipients,
        recipient_domains=event.recipient_domains if event.copy_of else message.recipient_domains,
    )


def _messages_named(view: EventView, tenant: str) -> set[str]:
    """The messages that labels and other events speak of."""
    about = (ds.field("tenant") == tenant) & (ds.field("kind") != "message")
    named: set[str] = set()
    for batch in view.read(["message_id"], about, within([bucket_of(tenant)])):
        named.update(batch.column(0).to_pylist())
    return named
