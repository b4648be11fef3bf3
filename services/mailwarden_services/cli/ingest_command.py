"""`mailwarden ingest`: raw mail that is already there, into the event log."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from mailwarden.errors import DataError, NotFound, StoreError
from mailwarden.settings import Settings
from mailwarden_services.cli.options import DEFAULT_TENANT, DomainsOption, TrustOption, now_us
from mailwarden_services.cli.progress import console, out, ticker

if TYPE_CHECKING:
    from mailwarden.stores.sql import Tenant
    from mailwarden_services.bootstrap import Platform

NAMED_FILES = 10
"""So many files of a kind are named; all are counted."""


@contextlib.contextmanager
def known_tenant(platform: Platform, name: str, domains: list[str], trusted: list[str]) -> Iterator[Tenant]:
    """The tenant of that name, made where it is new, with domains and authserv-ids added where given.

    Where what it is wanted for fails, it is as it was before: gone, where it was made.
    """
    tenants = platform.tenants
    try:
        before = tenants.get(name)
    except NotFound:
        made = tenants.create(name, domains=domains, trusted_authserv_ids=trusted, created_us=now_us())
        try:
            yield made
        except BaseException:
            # Events may be in the log, or labels in theirs, where the failure came late.
            if not platform.events.last_seq(name):
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
    label_delay: Annotated[float, typer.Option(help="Days from a message to when its label became known.")] = 0.0,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 65 where the index names mail that SOURCE does not hold.")
    ] = False,
) -> None:
    """Read raw mail into the event log.

    The same mail twice adds nothing; a crash in the middle leaves nothing half-seen. Run `materialize` after.

    Lines of the index whose file is missing, and files that are no mail, are named and counted, and the rest is
    ingested; the exit code is 0 then, or with --strict 65 where a line's file is missing. An ingest that fails adds
    nothing, and leaves no tenant behind that it made. Mail that the index does not name is history without a label.

    Examples:

        mailwarden ingest ~/Maildir --domain your-domain.example
        mailwarden ingest mail.tar.zst --labels mail/INDEX --tenant acme --domain acme.example --trust mx.acme.example

    An INDEX beside its mail:

        ham  inbox/1.eml
        spam inbox/2.eml
        CP   inbox/3.eml
    """
    from mailwarden.domain.aggregates.windows import DAY_US
    from mailwarden.ingest.pipeline import ingest as ingest_source
    from mailwarden.ingest.sources import open_source
    from mailwarden.labelling.feedback import index_sink
    from mailwarden.stores.campaigns import Campaigns
    from mailwarden.stores.contacts import Contacts
    from mailwarden.stores.shards import shard_of, shards_of
    from mailwarden.stores.spool import Spool
    from mailwarden.stores.spool_reader import SpoolReader
    from mailwarden_services.bootstrap import Platform
    from mailwarden_services.feature_writer.writer import READER_NAME
    from mailwarden_services.replay.experiment import read_index
    from mailwarden_services.replay.spill import files_in
    from mailwarden_services.scoring_service import note_facts

    settings = Settings()
    settings = settings.of_shard(shard_of(tenant, shards_of(settings.root)))
    platform = Platform(settings)
    # The API numbers events while it runs: two at once would give the same numbers out.
    with Spool(settings.spool_path, fsync=settings.spool_fsync):
        reader = SpoolReader(settings.spool_path, READER_NAME)
        if reader.lag_bytes():
            raise StoreError(
                "the spool holds messages that are not logged yet; run `mailwarden serve` until it is empty"
            )
        reader.close()
        mail, index = open_source(source), None if labels is None else read_index(source, labels)
        with (
            known_tenant(platform, tenant, domain, trust) as owner,
            ticker("ingesting", files_in(source)) as tick,
            contextlib.closing(Contacts(settings.contacts_path, platform.facts)) as contacts,
            contextlib.closing(Campaigns(settings.campaigns_path, platform.facts)) as campaigns,
        ):
            if not owner.domains:
                console.print("[yellow]no domain of the tenant is known: all mail counts as inbound (--domain)[/]")
            note_facts(platform)
            report = ingest_source(
                mail,
                tenant=owner.name,
                own_domains=frozenset(owner.domains),
                trust=owner.trusts,
                event_log=platform.events,
                raw_mail=platform.raw,
                fact_sets=platform.facts,
                contacts=contacts,
                campaigns=campaigns,
                labels=index,
                label_delay_us=round(label_delay * DAY_US),
                clock_us=now_us() if settings.live_clock else None,
                label_sink=index_sink(platform.labels),
                progress=lambda done, _: tick(done),
            )
    out.print(
        f"{report.messages} messages read: {report.added} added, {report.duplicates} known already; "
        f"{report.labels} labels, {report.signals} signals; "
        f"{sum(report.defects.values())} defects of {len(report.defects)} kinds"
    )
    if report.clamped:
        out.print(
            f"{report.clamped} messages bear a time that lies ahead; they were set back to the newest of the others"
        )
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
