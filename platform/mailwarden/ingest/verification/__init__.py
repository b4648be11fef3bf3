"""Authentication verified here, where no trusted host has done so and a resolver is given."""

from __future__ import annotations


def prepare() -> None:
    """Import what verifying needs, so that no message's reading pays for it."""
    from mailwarden.ingest.verification import verify
    from mailwarden.ingest.verification.sender_policy import query_class

    _ = verify, query_class()
