"""`mailwarden forget`: a message that should never have been counted."""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mailwarden.domain.mail.identity_text import message_id_of
from mailwarden.errors import DataError, StoreError
from mailwarden.settings import Settings
from mailwarden_services.cli.acts import note
from mailwarden_services.cli.options import DEFAULT_TENANT
from mailwarden_services.cli.progress import out

if TYPE_CHECKING:
    from mailwarden_services.bootstrap import Platform


def register(app: typer.Typer) -> None:
    """Add `forget` to the application."""
    app.command()(forget)


def forget(
    message: Annotated[str, typer.Argument(help="The message_id or decision_id that scoring answered.")],
    tenant: Annotated[str, typer.Option("--tenant", help="Whose mail it is.")] = DEFAULT_TENANT,
    received_at: Annotated[
        str | None, typer.Option(help="When it came, RFC 3339; finds mail that was ingested sooner.")
    ] = None,
    api: Annotated[
        str | None,
        typer.Option(
            help="Where an API runs: its address; by the key in MAILWARDEN_API_KEY, which has the role admin."
        ),
    ] = None,
) -> None:
    """Take a message out of the counts: a test, a loop, mail that was sent to spoil somebody's history.

    From now on neither the message nor its labels count for anything, and it is no training row. What was decided
    stays, and is recomputed as it was. This is no erasure: raw mail, decision and log keep the message. A second time
    does nothing more.

    Where no API runs over this home, it counts no more from when the next `serve` starts.

    Examples:

        mailwarden forget fbd181f038c3364114496ff3b5474c59 --tenant acme
        MAILWARDEN_API_KEY=$KEY mailwarden forget fbd181f038c3364114496ff3b5474c59 --api http://127.0.0.1:8080
    """
    from mailwarden_services.scoring_api.times import read_time

    asked = message_id_of(message)
    try:
        came = None if received_at is None else read_time(received_at)
    except ValueError as exc:
        raise DataError(f"--received-at: {exc}") from exc
    settings = Settings()
    found = by_stores(settings, tenant, asked, came) if api is None else by_api(settings, api, asked, came)
    words = "counted no more already" if found["repeated"] else f"counts no more from seq {found['seq']} on"
    out.print(f"message {asked} {words}", highlight=False, markup=False, soft_wrap=True)


def by_api(settings: Settings, url: str, message_id: str, received_at: datetime | None) -> dict[str, Any]:
    """Have an API do it; raises ApiProblem, ApiAway."""
    from mailwarden_services.client import Client

    with Client(url, settings.api_key.get_secret_value()) as client:
        return client.forget(message_id, received_at=received_at).model_dump(mode="json")


def by_stores(settings: Settings, tenant: str, message_id: str, received_at: datetime | None) -> dict[str, Any]:
    """Write the tombstones into the event log of a home that nobody serves; raises NotFound, StoreError."""
    from mailwarden.stores.shards import shard_of, shards_of
    from mailwarden.stores.spool import Spool
    from mailwarden.stores.spool_reader import SpoolReader
    from mailwarden_services.bootstrap import Platform
    from mailwarden_services.cli.running import api_runs
    from mailwarden_services.feature_writer.status import READER_NAME
    from mailwarden_services.scoring_api.times import microseconds

    settings = settings.of_shard(shard_of(tenant, shards_of(settings.root)))
    platform = Platform(settings)
    platform.tenants.get(tenant)
    if api_runs(settings):
        raise StoreError("an API runs over this home and numbers its events; name it: --api http://127.0.0.1:8080")
    with Spool(settings.spool_path, fsync=settings.spool_fsync):
        with contextlib.closing(SpoolReader(settings.spool_path, READER_NAME)) as reader:
            if reader.lag_bytes():
                raise StoreError(
                    "the spool holds messages that are not logged yet; run `mailwarden serve` until it is empty"
                )
        return _into_log(platform, tenant, message_id, None if received_at is None else microseconds(received_at))


def _into_log(platform: Platform, tenant: str, message_id: str, received_at_us: int | None) -> dict[str, Any]:
    from mailwarden.domain.mail.facts import tombstone_of
    from mailwarden_services.scoring_api.forgetting import Logged
    from mailwarden_services.scoring_api.labelling import no_message

    with platform.facts.in_force():
        found = Logged.find(platform.facts, platform.decisions, tenant, message_id, received_at_us)
        if found is None:
            raise no_message(message_id)
        view = platform.events.view()
        first = view.last_seq(tenant) + 1
        known_at_us = max(view.newest_us(tenant), found.message.received_at_us)
        told = [tombstone_of(event, seq=seq, known_at_us=known_at_us) for seq, event in enumerate(found.left(), first)]
        platform.events.append(told)
    message_id = found.message.message_id
    if found.is_gone:
        return {"message_id": message_id, "repeated": True}
    note(platform, tenant, "message.forget", message_id, {"seq": first})
    return {"message_id": message_id, "seq": first, "repeated": False}
