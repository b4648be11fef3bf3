"""The command line's entry, kept light: processes that ingest starts import it again."""

from __future__ import annotations


def run() -> None:
    """Run `mailwarden`; see `mailwarden_services.cli.application`."""
    from mailwarden_services.cli.application import main

    main()
