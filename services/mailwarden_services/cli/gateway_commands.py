"""`mailwarden gateway`: what a mail system speaks to."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from mailwarden.errors import ConfigError
from mailwarden.settings import Settings
from mailwarden_services.cli.progress import console

if TYPE_CHECKING:
    from mailwarden.stores.quarantine import Quarantine
    from mailwarden_services.mail_gateway.filter_decision import FilterSettings
    from mailwarden_services.mail_gateway.milter_session import MilterSettings
    from mailwarden_services.mail_gateway.run import Listener
    from mailwarden_services.mail_gateway.scoring_client import ScoringClient

ListenOption = Annotated[
    list[str], typer.Option("--listen", help="inet:HOST:PORT or unix:PATH; repeatable.", show_default=False)
]
ApiOption = Annotated[str, typer.Option("--api", help="The scoring API: http://HOST:PORT, https://HOST or unix:PATH.")]
AwayOption = Annotated[
    str, typer.Option("--when-away", help="tempfail or accept: with a message that the API does not answer for.")
]
ListenerOption = Annotated[str, typer.Option("--listener", help="Name of this way in, as the API's settings map it.")]
RemoteOption = Annotated[bool, typer.Option("--allow-remote", help="Listen where other machines reach it.")]
FromOption = Annotated[list[str], typer.Option("--allow-from", help="Address or network that may connect; repeatable.")]
ConnectionsOption = Annotated[int, typer.Option("--max-connections", min=1, help="Open at a time.")]
CertOption = Annotated[Path | None, typer.Option("--tls-cert", help="PEM file; STARTTLS is then asked of clients.")]
KeyOption = Annotated[Path | None, typer.Option("--tls-key", help="PEM file of its key.")]
NextOption = Annotated[
    str, typer.Option("--next", help="Where mail goes on: HOST:PORT or unix:PATH, with smtp: or lmtp: before it.")
]

DEFAULT_API = "http://127.0.0.1:8080"


def register(app: typer.Typer) -> None:
    """Add `gateway` and its commands to the application."""
    gateways = typer.Typer(
        help=(
            "What a mail system speaks to: a milter, or a content filter by LMTP or SMTP.\n\n"
            "Each is a process of its own that asks the scoring API about every message, with the key in "
            "MAILWARDEN_GATEWAY_KEY. docs/mail-gateways.md says which one to take and what to write into Postfix.\n\n"
            "Example:\n\n    mailwarden gateway milter --listen inet:127.0.0.1:8893"
        ),
        no_args_is_help=True,
    )
    gateways.command()(milter)
    gateways.command()(lmtp)
    gateways.command()(smtp)
    app.add_typer(gateways, name="gateway")


def milter(
    listen: ListenOption = ["inet:127.0.0.1:8893"],  # noqa: B006 - typer's way to give a default
    api: ApiOption = DEFAULT_API,
    when_away: AwayOption = "tempfail",
    listener: ListenerOption = "milter",
    allow_remote: RemoteOption = False,
    allow_from: FromOption = [],  # noqa: B006
    max_connections: ConnectionsOption = 200,
) -> None:
    """Serve Postfix's (or Sendmail's) milter protocol until stopped.

    `--listener {daemon_name}` takes the mail system's own name of the service, as `milter_macro_daemon_name` sets it.

    Examples:

        mailwarden gateway milter --listen inet:127.0.0.1:8893 --api http://127.0.0.1:8080
        mailwarden gateway milter --listen unix:/var/spool/postfix/mailwarden.sock --when-away accept
    """
    from mailwarden_services.mail_gateway.holding import QuarantineHolder
    from mailwarden_services.mail_gateway.milter_session import MilterSettings
    from mailwarden_services.mail_gateway.run import run_milter

    settings, away = Settings(), _away(when_away)

    def chosen(client: ScoringClient) -> MilterSettings:
        return MilterSettings(
            ask=client.ask,
            holder=QuarantineHolder(_quarantine(settings)),
            when_away=away,
            listener="" if listener == "{daemon_name}" else listener,
            max_bytes=settings.max_message_bytes,
        )

    where = _listener(listen, allow_remote, allow_from, max_connections)
    console.print(f"milter on {', '.join(map(str, where.places))}, asking {api}", highlight=False, markup=False)
    run_milter(where, lambda: _client(settings, api), chosen)


def lmtp(
    next: NextOption,
    listen: ListenOption = ["inet:127.0.0.1:10025"],  # noqa: B006
    api: ApiOption = DEFAULT_API,
    when_away: AwayOption = "tempfail",
    listener: ListenerOption = "lmtp",
    allow_remote: RemoteOption = False,
    allow_from: FromOption = [],  # noqa: B006
    tls_cert: CertOption = None,
    tls_key: KeyOption = None,
    max_connections: ConnectionsOption = 100,
) -> None:
    """Serve a content filter behind the queue, by LMTP, until stopped. It never bounces: what it refuses is held.

    Example:

        mailwarden gateway lmtp --listen inet:127.0.0.1:10025 --next 127.0.0.1:10026
    """
    where = _listener(listen, allow_remote, allow_from, max_connections, _tls(tls_cert, tls_key))
    _filter("lmtp", next, where, api, when_away, listener)


def smtp(
    next: NextOption,
    listen: ListenOption = ["inet:127.0.0.1:10025"],  # noqa: B006
    api: ApiOption = DEFAULT_API,
    when_away: AwayOption = "tempfail",
    listener: ListenerOption = "smtp",
    before_queue: Annotated[
        bool, typer.Option("--before-queue", help="The sender's own server is at the other end: refuse with 550.")
    ] = False,
    allow_remote: RemoteOption = False,
    allow_from: FromOption = [],  # noqa: B006
    tls_cert: CertOption = None,
    tls_key: KeyOption = None,
    max_connections: ConnectionsOption = 100,
) -> None:
    """Serve a content filter by SMTP until stopped: behind the queue, or before it as smtpd_proxy_filter.

    Examples:

        mailwarden gateway smtp --listen inet:127.0.0.1:10025 --next 127.0.0.1:10026
        mailwarden gateway smtp --before-queue --listen inet:127.0.0.1:10025 --next 127.0.0.1:10026
    """
    where = _listener(listen, allow_remote, allow_from, max_connections, _tls(tls_cert, tls_key))
    _filter("smtp", next, where, api, when_away, listener, before_queue=before_queue)


def _filter(
    protocol: Literal["smtp", "lmtp"],
    next: str,
    where: Listener,
    api: str,
    when_away: str,
    listener: str,
    *,
    before_queue: bool = False,
) -> None:
    from mailwarden_services.mail_gateway.filter_decision import FilterSettings
    from mailwarden_services.mail_gateway.holding import QuarantineHolder
    from mailwarden_services.mail_gateway.places import read_next_hop
    from mailwarden_services.mail_gateway.run import run_filter

    settings, away, hop = Settings(), _away(when_away), read_next_hop(next)

    def chosen(client: ScoringClient) -> FilterSettings:
        return FilterSettings(
            ask=client.ask,
            holder=QuarantineHolder(_quarantine(settings), str(hop)),
            next_hop=hop,
            hostname=socket.getfqdn(),
            listener=listener,
            protocol=protocol,
            when_away=away,
            before_queue=before_queue,
            max_bytes=settings.max_message_bytes,
        )

    words = f"{protocol} filter on {', '.join(map(str, where.places))}, asking {api}, mail goes on to {hop}"
    console.print(words, highlight=False, markup=False)
    run_filter(where, lambda: _client(settings, api), chosen)


def _tls(cert: Path | None, key: Path | None) -> tuple[Path, Path] | None:
    if (cert is None) != (key is None):
        raise ConfigError("--tls-cert and --tls-key belong together; give both or none")
    return (cert, key) if cert is not None and key is not None else None


def _listener(
    listen: list[str], allow_remote: bool, allow_from: list[str], connections: int, tls: tuple[Path, Path] | None = None
) -> Listener:
    from mailwarden_services.mail_gateway.places import read_networks, read_place
    from mailwarden_services.mail_gateway.run import Listener

    places = tuple(read_place(one) for one in listen)
    return Listener(places, allow_remote, read_networks(allow_from), tls, connections)


def _quarantine(settings: Settings) -> Quarantine:
    # Not by bootstrap: a gateway starts in a second, and needs nothing of what scores.
    from mailwarden.stores.quarantine import Quarantine

    return Quarantine.open(settings.database, settings.quarantine_path, keep_days=settings.quarantine_days)


def _client(settings: Settings, api: str) -> ScoringClient:
    from mailwarden_services.mail_gateway.scoring_client import ScoringClient

    return ScoringClient(
        api,
        settings.gateway_key.get_secret_value(),
        deadline_seconds=settings.gateway_deadline_seconds,
    )


def _away(text: str) -> Literal["tempfail", "accept"]:
    if text not in ("tempfail", "accept"):
        raise ConfigError(f"--when-away {text!r}: write tempfail or accept")
    return cast(Literal["tempfail", "accept"], text)
