"""Bytes of request bodies that a process holds at once: bounded in all, and for each who sends them.

1. A request's account is opened with it and closed with it, however it ends (`Accounts` wraps the application).
2. Each piece of a body is taken on the account before it is kept; so is what a compressed body opens to.
3. Over the process's limit, or its share for one tenant or stranger, the request is refused with 503 and Retry-After:
   others go on. Gateways, and what speaks from this machine without a tenant's key, carry all tenants' mail and may
   hold the whole.
"""

from __future__ import annotations

from collections import Counter
from threading import Lock

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from mailwarden_services.scoring_api.problems import Problem

LIMIT_BYTES = 256 << 20
"""Of all bodies that one process holds; each is held once more on its way to a scoring process."""

SHARE = 4
"""One tenant, or one peer whose tenant is not known yet, may hold the limit's so-manieth part."""

GATEWAYS = "gateways"
_WHOLE = frozenset({GATEWAYS, "peer ", "peer 127.0.0.1", "peer ::1"})

_NAME = "mailwarden.account"


class Account:
    """What one request holds. owner: whom it counts for."""

    def __init__(self, accounts: Accounts, owner: str) -> None:
        self._accounts, self.owner, self.bytes = accounts, owner, 0

    def take(self, count: int) -> None:
        """Hold so many bytes more; raises Problem (503) where there is no room for them."""
        self._accounts.take(self, count)

    def moved(self, owner: str) -> None:
        """Count for somebody else from now on."""
        self._accounts.move(self, owner)


class Accounts:
    """The application, with an account for each request."""

    def __init__(self, app: ASGIApp, limit: int = LIMIT_BYTES) -> None:
        self._app, self._limit = app, limit
        self._held: Counter[str] = Counter()
        self._sum = 0
        self._lock = Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        account = scope[_NAME] = Account(self, f"peer {client[0] if client else ''}")
        try:
            await self._app(scope, receive, send)
        finally:
            self._give_back(account)

    def take(self, account: Account, count: int) -> None:
        """See `Account`; by any thread."""
        with self._lock:
            own = self._held[account.owner] + count
            most = self._limit if account.owner in _WHOLE else self._limit // SHARE
            if self._sum + count > self._limit or own > most:
                raise Problem(
                    503,
                    "busy",
                    "Busy",
                    "As much mail is on its way in as is held at once; hand this over again in a moment.",
                    {"Retry-After": "1"},
                )
            account.bytes += count
            self._held[account.owner] = own
            self._sum += count

    def move(self, account: Account, owner: str) -> None:
        """See `Account`."""
        with self._lock:
            self._drop(account.owner, account.bytes)
            account.owner = owner
            self._held[owner] += account.bytes

    def _give_back(self, account: Account) -> None:
        with self._lock:
            self._drop(account.owner, account.bytes)
            self._sum -= account.bytes
            account.bytes = 0

    def _drop(self, owner: str, count: int) -> None:
        self._held[owner] -= count
        if self._held[owner] <= 0:
            del self._held[owner]


def account_of(request: Request) -> Account | None:
    """The request's account; None where the application keeps none."""
    found: Account | None = request.scope.get(_NAME)
    return found
