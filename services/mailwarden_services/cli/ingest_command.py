"""`mailwarden ingest`: raw mail that is already there, into the event log."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from mailwarden.errors import DataError, NotFound
from mailwarden.ingest.index import LABEL_DELAY_DAYS
from mailwarden.settings import Settings
from mailwarden_services.cli.options import DEFAULT_TENANT, DomainsOption, TrustOption, now_us
from mailwarden_services.cli.progress import console, out, say, ticker

if TYPE_CHECKING:
    from mailwarden.ingest.gathering import Gathered, IngestReport
    from mailwarden.stores.sql import Tenant
    from mailwarden_services.bootstrap import Platform
    from mailwarden_services.sequencer.history_caller import HistoryCaller

BESIDE_NICENESS = 10
"""Added to that of an ingest beside a running API: it reads mail when the API leaves it the time to."""

START_SECONDS = 60.0
"""How long an ingest that has read its mail waits for an API that is just starting or ending."""

NAMED_FILES = 10
"""So many files of a kind are named; all are counted."""


@contextlib.contextmanager
def known_tenant(
    platform: Platform, name: str, domains: list[str], trusted: list[str], holds: Callable[[], bool]
) -> Iterator[Tenant]:
    """The tenant of that name, made where it is new, with domains and authserv-ids added where given.

    Where what it is wanted for fails, it is as it was before: gone, where it was made. holds: whether it may have
    events by then, and so must stay.
    """
    tenants = platform.tenants
    try:
        before = tenants.get(name)
    except NotFound:
        made = tenants.create(name, domains=domains, trusted_authserv_ids=trusted, created_us=now_us())
        try:
            yield made
        except BaseException:
            if not holds():
                with contextlib.suppress(DataError):
                    tenants.discard(name)
            raise
        return
    tenant = before
    if domains or trusted:
        tenant = tenants.update(
            name,
            domains=[*before.domains, *domains],
            trusted_authserv_ids=sorted({*before.trusted_authserv_ids, *trusted}),
        )
    try:
        yield tenant
    except BaseException:
        if tenant != before:
            tenants.update(name, domains=before.domains, trusted_authserv_ids=before.trusted_authserv_ids)
        raise


class _Handed:
    """Whether anything was handed over to a process that serves."""

    begun = False


def _into_log(platform: Platform, gathered: Gathered, label_delay_us: int) -> IngestReport:
    """One commit; this process holds the spool, so that nobody else numbers."""
    from mailwarden.ingest.pipeline import into_log
    from mailwarden.labelling.feedback import index_sink
    from mailwarden.stores.campaigns import Campaigns
    from mailwarden.stores.contacts import Contacts

    settings = platform.settings
    with (
        contextlib.closing(Contacts(settings.contacts_path, platform.facts)) as contacts,
        contextlib.closing(Campaigns(settings.campaigns_path, platform.facts)) as campaigns,
    ):
        return into_log(
            gathered,
            event_log=platform.events,
            raw_mail=platform.raw,
            fact_sets=platform.facts,
            contacts=contacts,
            campaigns=campaigns,
            label_delay_us=label_delay_us,
            label_sink=index_sink(platform.labels),
        )


def _beside(
    platform: Platform, gathered: Gathered, label_delay_us: int, caller: HistoryCaller, handed: _Handed
) -> IngestReport:
    """Batch by batch to the process that serves."""
    from mailwarden.ingest.handing_over import hand_over

    reached, total = 0, 0
    with ticker("handing over to the API", len(gathered.spill)) as tick:

        def progress(done: int, of: int | None) -> None:
            nonlocal reached, total
            reached, total = done, of or 0
            tick(done)

        caller.say = lambda words: say(f"waiting: {words}" if words else "going on")
        try:
            return hand_over(
                gathered,
                caller,
                event_log=platform.events,
                fact_sets=platform.facts,
                label_delay_us=label_delay_us,
                progress=progress,
            )
        except KeyboardInterrupt:
            console.print(f"{reached} of {total} events are in, and stay; run it again to go on", highlight=False)
            raise
        finally:
            handed.begun = caller.holds(gathered.site.tenant)


def _say_unbelieved(report: IngestReport, tenant: str) -> None:
    assert report.unbelieved is not None
    server, borne = report.unbelieved
    words = (
        f"{borne:,} of {report.messages:,} messages bear results of authentication by {server} on top, and {tenant} "
        "believes nobody's, so that no sender's name is proven by them; if that is its own mail system, --trust "
        f"{server} with the first ingest, or: mailwarden tenant trust {tenant} --id {server}; mailwarden reparse"
    )
    console.print(f"[yellow]{escape(words)}[/]", highlight=False, soft_wrap=True)


def ingest(
    source: Annotated[Path, typer.Argument(help="An .eml, a folder of them, an mbox, a Maildir, or a tar (zst, gz).")],
    labels: Annotated[
        str | None, typer.Option(help="Index with a line `label path` a message: ham, spam or a category code.")
    ] = None,
    tenant: Annotated[
        str, typer.Option("--tenant", help="Whose mail it is; the tenant is made where it is new.")
    ] = DEFAULT_TENANT,
    domain: DomainsOption = [],  # noqa: B006 - typer's way to say "none given"
    trust: TrustOption = [],  # noqa: B006
    label_delay: Annotated[
        float,
        typer.Option(min=0.0, help="Days from a message to when its label became known, where the index says no time."),
    ] = LABEL_DELAY_DAYS,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 65 where the index names mail that SOURCE does not hold.")
    ] = False,
) -> None:
    """Read raw mail into the event log.

    The same mail twice adds nothing; a crash in the middle leaves nothing half-seen. Run `materialize` after. Where
    `serve` runs, the mail is handed over to it, behind what it scores: it gets later seqs and counts from these on.

    Lines of the index whose file is missing, and files that are no mail, are named and counted, and the rest is
    ingested; the exit code is 0 then, or with --strict 65 where a line's file is missing. An ingest that fails adds
    nothing, and leaves no tenant behind that it made; beside `serve` what was handed over by then stays, with its
    tenant, and running it again adds the rest. Mail that the index does not name is history without a label.

    Examples:

        mailwarden ingest ~/Maildir --domain your-domain.example
        mailwarden ingest mail.tar.zst --labels mail/INDEX --tenant acme --domain acme.example --trust mx.acme.example

    An INDEX beside its mail:

        ham  inbox/1.eml
        spam inbox/2.eml
        CP   inbox/3.eml

    Behind a path, each after a tab, may stand when the label was given and how it came about (user, analyst, audit,
    or audit/50 of a message that was drawn as one of 50):

        CP   inbox/4.eml<TAB>2026-01-31T08:30:00Z<TAB>user

    A label without a time counts from a day after its message on, or from --label-delay days after it.
    """
    from mailwarden.domain.aggregates.windows import DAY_US
    from mailwarden.ingest.gathering import gather
    from mailwarden.ingest.sources import open_source
    from mailwarden.stores.shards import shard_of, shards_of
    from mailwarden_services.bootstrap import Platform
    from mailwarden_services.replay.experiment import read_index
    from mailwarden_services.replay.spill import files_in
    from mailwarden_services.scoring_api.answers import site_of
    from mailwarden_services.scoring_service import note_facts
    from mailwarden_services.sequencer.who_numbers import who_numbers

    settings = Settings()
    settings = settings.of_shard(shard_of(tenant, shards_of(settings.root)))
    platform = Platform(settings)
    handed = _Handed()
    with who_numbers(settings) as beside:
        if beside is not None:
            os.nice(BESIDE_NICENESS)
    mail, index = open_source(source), None if labels is None else read_index(source, labels)
    with known_tenant(
        platform, tenant, domain, trust, lambda: handed.begun or bool(platform.events.last_seq(tenant))
    ) as owner:
        if not owner.domains:
            console.print("[yellow]no domain of the tenant is known: all mail counts as inbound (--domain)[/]")
        note_facts(platform)
        with contextlib.ExitStack() as opened:
            with ticker("reading", files_in(source)) as tick:
                gathered = opened.enter_context(
                    gather(
                        mail,
                        site_of(owner, platform.directories.get(owner.name)),
                        labels=index,
                        clock_us=now_us() if settings.live_clock else None,
                        progress=lambda done, _: tick(done),
                    )
                )
            delay_us = round(label_delay * DAY_US)
            with who_numbers(settings, seconds=START_SECONDS) as caller:
                report = (
                    _into_log(platform, gathered, delay_us)
                    if caller is None
                    else _beside(platform, gathered, delay_us, caller, handed)
                )
    out.print(
        f"{report.messages} messages read: {report.added} added, {report.duplicates} known already; "
        f"{report.labels} labels, {report.signals} signals; "
        f"{sum(report.defects.values())} defects of {len(report.defects)} kinds"
    )
    if index is not None and (untimed := sum(entry.known_us is None for entry in index)):
        out.print(
            f"{untimed:,} of {len(index):,} labels say no time, and count from {label_delay:g} days after their mail "
            "on (--label-delay)"
        )
    if report.clamped:
        out.print(
            f"{report.clamped} messages bear a time that lies ahead; they were set back to the newest of the others"
        )
    if report.unbelieved is not None:
        _say_unbelieved(report, owner.name)
    for path in report.skipped[:NAMED_FILES]:
        console.print(f"[yellow]no mail:[/] {escape(path)}", highlight=False, soft_wrap=True)
    if report.skipped:
        out.print(f"{len(report.skipped)} files are no mail and were passed over")
    for path in report.missing[:NAMED_FILES]:
        console.print(f"[yellow]labelled but missing:[/] {escape(path)}", highlight=False, soft_wrap=True)
    if report.missing:
        out.print(f"{len(report.missing)} labelled messages are missing from the source")
        if strict:
            raise DataError(
                f"{labels} names {len(report.missing)} messages that {source} does not hold; what it holds was "
                "ingested. Mend the index, or leave out --strict."
            )
