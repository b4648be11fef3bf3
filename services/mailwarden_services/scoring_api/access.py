"""Who calls: from the key that a request bears to the tenant that it speaks for."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import Depends, Request

from mailwarden.stores.sql import Tenant, Tenants
from mailwarden_services.scoring_api import problems

KEY_CACHE_SECONDS = 10.0
"""How long a key's tenant is remembered: a revoked key may work for that much longer."""


class Keys:
    """Tenants by API key, remembered for a short while so that a request need not ask the database."""

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants
        self._known: dict[str, tuple[float, Tenant]] = {}

    def tenant(self, key: str) -> Tenant | None:
        """The tenant that a key belongs to; None for a key that does not work."""
        now = time.monotonic()
        known = self._known.get(key)
        if known is not None and now - known[0] < KEY_CACHE_SECONDS:
            return known[1]
        name = self._tenants.authenticate(key)
        if name is None:
            self._known.pop(key, None)
            return None
        tenant = self._tenants.get(name)
        self._known[key] = (now, tenant)
        return tenant


async def caller(request: Request) -> Tenant:
    """The tenant whose key the request bears; raises Problem (401) without a working one."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    keys: Keys = request.app.state.keys
    tenant = keys.tenant(key.strip()) if scheme.lower() == "bearer" and key else None
    if tenant is None:
        raise problems.not_authorised()
    return tenant


Caller = Annotated[Tenant, Depends(caller)]
