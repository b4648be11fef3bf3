"""Who calls and what they may do: from the key that a request bears to its tenant and its roles.

A tenant's key speaks for its tenant alone. An operator's stands above tenants and names the one that it acts for in
`X-Mailwarden-Tenant`; it may do all there but read mail, which takes the role `content` beside it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, TypeVar

import structlog
from fastapi import Depends, Request

from mailwarden.errors import NotFound, StoreError
from mailwarden.stores.sql import Principal, Tenant, Tenants
from mailwarden.stores.sql.keys import Role
from mailwarden_services.scoring_api import problems
from mailwarden_services.scoring_api.in_flight import account_of
from mailwarden_services.scoring_api.known_keys import KnownKeys
from mailwarden_services.scoring_api.look_ups import look_up
from mailwarden_services.scoring_api.problems import Problem

KEY_CACHE_SECONDS = 10.0
"""How long a key's bearer is remembered: a revoked key may work for that much longer."""

KEY_GRACE_SECONDS = 300.0
"""How long a key that worked goes on working while the database cannot be asked."""

TENANT_HEADER = "X-Mailwarden-Tenant"

_OPERATOR_MAY = frozenset({"score", "label", "read", "admin"})

log = structlog.get_logger(__name__)

_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, for which tenant."""

    tenant: Tenant
    principal: Principal

    @property
    def who(self) -> str:
        """As the audit log has it."""
        return who_of(self.principal)


def who_of(principal: Principal) -> str:
    """The bearer of a key as the audit log has it."""
    return f"{'key' if principal.tenant else 'operator'}:{principal.label}"


class Keys:
    """Bearers of keys, and tenants, each remembered for a short while; the database is asked off the event loop."""

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants
        self._principals: dict[str, tuple[float, Principal]] = {}
        self._named: dict[str, tuple[float, Tenant]] = {}
        self._known = KnownKeys(tenants)

    async def principal(self, key: str) -> Principal | None:
        """Who bears a key; None for a key that does not work."""
        if key not in self._principals and not await self._known.may_work(key):
            return None
        return await _remembered(self._principals, key, self._tenants.authenticate)

    async def tenant(self, name: str) -> Tenant | None:
        """The tenant of that name; None where there is none."""

        def get(asked: str) -> Tenant | None:
            try:
                return self._tenants.get(asked)
            except NotFound:
                return None

        return await _remembered(self._named, name, get)


async def _remembered(
    known: dict[str, tuple[float, _Found]], name: str, ask: Callable[[str], _Found | None]
) -> _Found | None:
    now = time.monotonic()
    held = known.get(name)
    if held is not None and now - held[0] < KEY_CACHE_SECONDS:
        return held[1]
    try:
        found = await look_up(partial(ask, name))
    except StoreError as exc:
        if held is None or now - held[0] > KEY_GRACE_SECONDS:
            raise
        log.warning("keys not refreshed", error=str(exc))
        return held[1]
    if found is None:
        known.pop(name, None)
    else:
        known[name] = (now, found)
    return found


async def bearer(request: Request) -> Principal:
    """Who bears the request's key; raises Problem (401) without a working one."""
    principal = await bearer_if_any(request)
    if principal is None:
        raise problems.not_authorised()
    return principal


async def bearer_if_any(request: Request) -> Principal | None:
    """Who bears the request's key; None without a working one."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        return None
    keys: Keys = request.app.state.keys
    return await keys.principal(key.strip())


def may(role: Role) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency: the caller, who has that role for a tenant; raises Problem (401, 403, 404, 422)."""

    async def caller(request: Request) -> Caller:
        return await caller_with(request, await bearer(request), role)

    return caller


async def caller_with(request: Request, principal: Principal, role: Role) -> Caller:
    """The caller for the tenant that the key or the header names; raises Problem where the role lacks."""
    asked = request.headers.get(TENANT_HEADER)
    keys: Keys = request.app.state.keys
    if principal.tenant is not None:
        if asked is not None and asked != principal.tenant:
            raise Problem(
                403,
                "other-tenant",
                "Another tenant",
                f"This key belongs to one tenant, and `{TENANT_HEADER}` names another; leave the header out.",
            )
        held, name = principal.roles, principal.tenant
    else:
        operator = "operator" in principal.roles
        held, name = principal.roles | (_OPERATOR_MAY if operator else frozenset()), asked or ""
    if role not in held:
        raise problems.lacks_role(role, sorted(principal.roles))
    if not name:
        raise problems.bad_request(f"A key above tenants names the tenant that it acts for: send `{TENANT_HEADER}`.")
    tenant = await keys.tenant(name)
    if tenant is None and principal.tenant is not None:
        raise problems.not_authorised()
    if tenant is None:
        raise Problem(404, "no-tenant", "No such tenant", "There is no tenant of that name; `tenant list` has them.")
    if (account := account_of(request)) is not None:
        account.of_tenant(tenant.name)
    return Caller(tenant, principal)


async def gateway(request: Request) -> Principal:
    """The bearer of a key above tenants with the role `gateway`; raises Problem (401, 403)."""
    principal = await bearer(request)
    if "gateway" not in principal.roles:
        raise problems.lacks_role("gateway", sorted(principal.roles))
    if (account := account_of(request)) is not None:
        account.of_gateway()
    return principal


MayScore = Annotated[Caller, Depends(may("score"))]
MayLabel = Annotated[Caller, Depends(may("label"))]
MayRead = Annotated[Caller, Depends(may("read"))]
MayReadContent = Annotated[Caller, Depends(may("content"))]
MayAdmin = Annotated[Caller, Depends(may("admin"))]
Gateway = Annotated[Principal, Depends(gateway)]
