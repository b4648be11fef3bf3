"""Which tenant a domain belongs to, from a copy of the tenants' records that is never older than some seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from mailwarden.domain.mail.addresses import address_domain, normalise_address
from mailwarden.domain.mail.own_domains import names_of, own_domain
from mailwarden.errors import DataError, MailwardenError
from mailwarden.stores.sql import Tenant
from mailwarden_services.scoring_api.look_ups import look_up

REFRESH_SECONDS = 3.0
"""How old the copy may be before it is read anew beside the mail that goes on."""

WAIT_SECONDS = 0.5
"""How long a message waits for a copy that is overdue, before it goes by the one that is there."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Directory:
    """Tenants by name, and by domain as `own_domains.own_domain` writes it; None where two claim a domain."""

    by_name: Mapping[str, Tenant]
    by_domain: Mapping[str, Tenant | None]

    @classmethod
    def of(cls, tenants: Iterable[Tenant]) -> Directory:
        """The directory of these tenants."""
        by_name: dict[str, Tenant] = {}
        by_domain: dict[str, Tenant | None] = {}
        for tenant in tenants:
            by_name[tenant.name] = tenant
            for written in tenant.domains:
                try:
                    domain = own_domain(written)
                except DataError:
                    continue
                owner = by_domain.get(domain, tenant)
                by_domain[domain] = tenant if owner is tenant else None
        return cls(by_name, by_domain)

    def of_address(self, address: str) -> Tenant | None:
        """The tenant whose address it is, by the nearest domain that was declared; None where it is nobody's."""
        host = address_domain(normalise_address(address))
        for name in names_of(host) if host else ():
            if name in self.by_domain:
                return self.by_domain[name]
        return None

    @property
    def only_tenant(self) -> Tenant | None:
        """The tenant where there is one alone."""
        return next(iter(self.by_name.values())) if len(self.by_name) == 1 else None


class TenantDirectory:
    """The directory of now. read: all tenants, from the database; called in a thread."""

    def __init__(self, read: Callable[[], Sequence[Tenant]]) -> None:
        self._read = read
        self._found: Directory | None = None
        self._read_at = 0.0
        self._reading: asyncio.Task[None] | None = None

    async def current(self) -> Directory:
        """The directory, at most `REFRESH_SECONDS` behind what mail comes steadily to; an old one where the database
        is away. Raises StoreError where it never could be read."""
        age = time.monotonic() - self._read_at
        if self._found is None or age > REFRESH_SECONDS:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._refresh())
            if self._found is None:
                await asyncio.shield(self._reading)
            elif age > 2 * REFRESH_SECONDS:
                await asyncio.wait({self._reading}, timeout=WAIT_SECONDS)
        assert self._found is not None
        return self._found

    async def _refresh(self) -> None:
        try:
            found = Directory.of(await look_up(self._read))
        except MailwardenError as exc:
            if self._found is None:
                raise
            _log.warning("tenants not refreshed; mail is handed out by their domains as they were", error=str(exc))
        else:
            self._found = found
        self._read_at = time.monotonic()
