"""`mailwarden features retire`: what is left in Redis of views whose folders are gone."""

from __future__ import annotations

from typing import Annotated

import typer

from mailwarden.errors import ConfigError, ContractError, NotFound
from mailwarden.settings import Settings
from mailwarden_services.cli.progress import out


def retire(
    names: Annotated[list[str] | None, typer.Argument(help="What to drop, as `retire` alone lists it.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Drop it though detectors, services or models read it.")
    ] = False,
) -> None:
    """Drop from Redis what is left of views, and versions, whose folders are gone. Alone, list them with their readers.

    First let no process run whose code still has the view. Where a detector, a FeatureService that was applied, or the
    bundle that serves still reads it, nothing is dropped and the exit code is 70; --force drops it all the same. Its
    offline files stay, for training sets of the past.

    Examples:

        mailwarden features retire
        mailwarden features retire sender_activity@1
    """
    from mailwarden.stores.online.client import open_client
    from mailwarden.stores.online.generations import Generations
    from mailwarden.stores.online.retired import drop_left_behind, left_behind
    from mailwarden.training.register import BUNDLE
    from mailwarden_detectors import discover as discover_detectors
    from mailwarden_features import discover
    from mailwarden_services.bootstrap import Platform
    from mailwarden_services.embedded import with_redis
    from mailwarden_services.teams.retiring import readers_left

    views = discover().activity
    with with_redis(Settings()) as settings:
        champion = Platform(settings).registry.champion(BUNDLE)

        def read_by(field: str) -> str:
            name, _, number = field.partition("@")
            version = int(number) if number.isdigit() else None
            detectors = discover_detectors()
            return "; ".join(
                readers_left(name, version, settings=settings, views=views, detectors=detectors, champion=champion)
            )

        url, project = settings.redis_url.get_secret_value(), settings.project
        with open_client(url, timeout_seconds=30.0) as client:
            catalog = Generations(client, project, views, settings.streams).catalog()
            found = left_behind(catalog, views)
            for name in names or ():
                readers = read_by(name)
                if name in catalog.entries and name not in found:
                    raise ConfigError(
                        f"{name} is a view of this code"
                        + (f", and read by {readers}" if readers else "")
                        + "; remove its folder first"
                    )
                if name not in found and "@" not in name:
                    raise NotFound(f"nothing is left of {name!r}; name it with its version, as in sender_activity@1")
                if readers and not force:
                    raise ContractError(f"{name} is still read by {readers}. Move them first, or drop it with --force")
                keys = drop_left_behind(client, project, name)
                out.print(f"{name}: dropped from {keys:,} keys", highlight=False)
            if not names:
                for name, entry in sorted(found.items()):
                    words = read_by(name)
                    words = f"it is read by {words}" if words else "no view reads it"
                    out.print(
                        f"{name}: generation {entry.serving} serves, and {words}", highlight=False, soft_wrap=True
                    )
                if not found:
                    out.print("nothing is left of views that are gone")
