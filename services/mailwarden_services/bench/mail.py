"""Made-up events for benchmarks: a few people of a company and of its partners, settled by a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator

from mailwarden.domain.aggregates.windows import DAY_US, SECOND_US
from mailwarden.domain.mail.events import Event

TENANT = "acme"
START_US = 1_700_000_000 * SECOND_US
DAYS = 90


def mail_events(n: int, *, senders: int = 60, domains: int = 9, recipients: int = 40, seed: int = 1) -> Iterator[Event]:
    """n messages of one tenant over `DAYS` days, in order; a fifth of them outbound.

    senders, domains: outside the company; recipients: inside. Each takes part as often as any other.
    """
    rng = random.Random(seed)
    for seq, moment in enumerate(sorted(rng.randrange(DAYS * DAY_US) for _ in range(n)), start=1):
        who = rng.randrange(senders)
        outside, inside = f"s{who}@d{who % domains}.example", f"u{rng.randrange(recipients)}@own.example"
        outbound = rng.random() < 0.2
        sender, recipient = (inside, outside) if outbound else (outside, inside)
        links, thread = rng.randrange(3), rng.randrange(1 + seq // 3)
        yield Event(
            tenant=TENANT,
            seq=seq,
            kind="message",
            message_id=f"{seq:032x}",
            received_at_us=START_US + moment,
            known_at_us=START_US + moment,
            time_source="given",
            direction="outbound" if outbound else "inbound",
            sender=sender,
            sender_domain=sender.partition("@")[2],
            recipients=(recipient,),
            recipient_domains=(recipient.partition("@")[2],),
            size_bytes=rng.randrange(50_000),
            url_count=links,
            has_link=links > 0,
            display_name=f"person {who % 997}" if not outbound else "",
            thread=f"{thread:032x}",
            campaign=f"{rng.randrange(1 + seq // 2):016x}",
            link_domain=f"l{rng.randrange(domains)}.example" if links else "",
            structure=f"{who % 13:016x}",
            path=f"192.0.{who % 97}.0/24",
            person="" if outbound else f"{who % 499} person",
            domain_skeleton="".join(sorted(sender.partition("@")[2].partition(".")[0])),
            reply=thread % 3 > 0,
            authenticated=rng.choice((True, False, None)),
        )
