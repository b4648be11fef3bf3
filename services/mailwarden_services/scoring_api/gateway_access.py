"""Who hands mail over: a gateway, for all tenants, or a tenant's own mail system, for that tenant alone."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from fastapi import Request

from mailwarden.stores.sql import Principal, Tenant
from mailwarden_services.scoring_api.access import Keys, bearer, caller_with, who_of
from mailwarden_services.scoring_api.in_flight import account_of


@dataclass(frozen=True, slots=True)
class Scope:
    """For whom a caller speaks; tenant: None for all of them. who: as the audit log has it. may_label: what it says
    of mail counts as a label."""

    tenant: Tenant | None
    who: str
    may_label: bool = True


def same(given: str, secret: str) -> bool:
    """Whether a secret was given, in the same time whatever was; never where none is set."""
    return bool(secret) and hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode())


async def scope_of(request: Request, principal: Principal) -> Scope:
    """What the bearer of a key may hand over; raises Problem (401, 403, 404, 422) where that is nothing."""
    if principal.tenant is None and "gateway" in principal.roles:
        if (account := account_of(request)) is not None:
            account.of_gateway()
        return Scope(None, who_of(principal))
    caller = await caller_with(request, principal, "score")
    return Scope(caller.tenant, caller.who, principal.tenant is None or "label" in principal.roles)


async def scope_of_key(request: Request, key: str) -> Scope | None:
    """The scope of a key; None for one that does not work, raises Problem as `scope_of`."""
    keys: Keys = request.app.state.keys
    principal = await keys.principal(key) if key else None
    return None if principal is None else await scope_of(request, principal)


def bearer_of(request: Request) -> str:
    """The key that a request bears; "" without one."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


async def gateway(request: Request) -> Scope:
    """The scope of the request's key; raises Problem."""
    return await scope_of(request, await bearer(request))
