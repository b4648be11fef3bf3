"""The directories of tenants whose mail a scoring process has lately read."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from mailwarden.domain.mail.directory import NO_DIRECTORY, Directory
from mailwarden.errors import MailwardenError
from mailwarden.stores.sql import Tenant

MOST_ENTRIES = 500_000
"""Entries of all directories that one process holds."""

_AGAIN_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class KnownDirectories:
    """Each tenant's directory, read once and again when it was replaced. read: from the database, by tenant."""

    def __init__(self, read: Callable[[str], Directory]) -> None:
        self._read = read
        self._held: dict[str, tuple[str, Directory]] = {}
        self._failed: dict[str, float] = {}

    def of(self, tenant: Tenant) -> tuple[Directory | None, bool]:
        """The tenant's directory, and whether it is the one that its record names.

        Where that cannot be read the one before it counts, None where there is none; it is tried again in some seconds.
        """
        if not tenant.directory:
            self._held.pop(tenant.name, None)
            return NO_DIRECTORY, True
        held = self._held.pop(tenant.name, None)
        if held is not None:
            self._held[tenant.name] = held
            if held[0] == tenant.directory:
                return held[1], True
        if time.monotonic() - self._failed.get(tenant.name, float("-inf")) >= _AGAIN_SECONDS:
            try:
                found = self._read(tenant.name)
            except MailwardenError as exc:
                _log.warning(
                    "a directory cannot be read; mail goes by the one before", tenant=tenant.name, why=str(exc)
                )
                self._failed[tenant.name] = time.monotonic()
            else:
                # One that was replaced once more meanwhile is as good, until the tenant's record says so too.
                self._held[tenant.name] = tenant.directory, found
                self._failed.pop(tenant.name, None)
                self._make_room(tenant.name)
                return found, True
        return (None if held is None else held[1]), False

    def _make_room(self, newest: str) -> None:
        while len(self._held) > 1 and sum(len(one) for _, one in self._held.values()) > MOST_ENTRIES:
            del self._held[next(name for name in self._held if name != newest)]
