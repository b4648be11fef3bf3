"""What requests hold of a process at once: bytes of bodies and requests under way, bounded for each who sends them.

1. A request's account is opened with it and closed with it, however it ends (`Accounts` wraps the application).
2. Each piece of a body is taken on the account before it is kept; so is what a compressed body opens to.
3. Over the process's limit, or its share for one tenant or stranger, the request is refused with 503 and Retry-After:
   others go on. Gateways, and what speaks from this machine without a tenant's key, carry all tenants' mail and may
   hold the whole.
4. A tenant has so many requests under way at most (503), and hands over so much a second (429, `rates`).
"""

from __future__ import annotations

from collections import Counter
from threading import Lock

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from mailwarden_services.scoring_api.problems import busy
from mailwarden_services.scoring_api.rates import Rates

LIMIT_BYTES = 256 << 20
"""Of all bodies that one process holds; each is held once more on its way to a scoring process."""

SHARE = 4
"""One tenant, or one peer whose tenant is not known yet, may hold the limit's so-manieth part."""

GATEWAYS = "gateways"
_WHOLE = frozenset({GATEWAYS, "peer ", "peer 127.0.0.1", "peer ::1"})

_NAME = "mailwarden.account"


class Account:
    """What one request holds. owner: whom it counts for; tenant: whose key it bears, "" for nobody's."""

    def __init__(self, held: InFlight, owner: str) -> None:
        self._held, self.owner, self.bytes = held, owner, 0
        self.tenant = ""

    def take(self, count: int) -> None:
        """Hold so many bytes more; raises Problem (503) where there is no room for them."""
        self._held.take(self, count)

    def of_gateway(self) -> None:
        """Count for gateways from now on."""
        self._held.move(self, GATEWAYS)

    def of_tenant(self, tenant: str) -> None:
        """Count for a tenant from now on, whose key it bears; raises Problem (429, 503) over its rate or its share."""
        self._held.begin(self, tenant)

    def handed_over(self, count: int) -> None:
        """Count so many further messages or labels; raises Problem (429) over the tenant's rate."""
        if self.tenant and count > 0:
            self._held.rates.take(self.tenant, count)


class InFlight:
    """The accounts of all requests of a process, over all its listeners.

    limit: bytes of bodies. requests: that one tenant may have under way, 0 for any number. rates: of tenants.
    """

    def __init__(self, limit: int = LIMIT_BYTES, *, requests: int = 0, rates: Rates | None = None) -> None:
        self.rates = Rates(0.0) if rates is None else rates
        self._limit, self._requests = limit, requests
        self._held: Counter[str] = Counter()
        self._under_way: Counter[str] = Counter()
        self._sum = 0
        self._lock = Lock()

    def take(self, account: Account, count: int) -> None:
        """See `Account`; by any thread."""
        with self._lock:
            own = self._held[account.owner] + count
            most = self._limit if account.owner in _WHOLE else self._limit // SHARE
            if self._sum + count > self._limit or own > most:
                raise busy("As much mail is on its way in as is held at once; hand this over again in a moment.")
            account.bytes += count
            self._held[account.owner] = own
            self._sum += count

    def move(self, account: Account, owner: str) -> None:
        """Have an account's bytes count for somebody else."""
        with self._lock:
            self._drop(account.owner, account.bytes)
            account.owner = owner
            self._held[owner] += account.bytes

    def begin(self, account: Account, tenant: str) -> None:
        """See `Account.of_tenant`."""
        if account.tenant != tenant:
            self._done(account)
            if self._requests and self._under_way[tenant] >= self._requests:
                raise busy(
                    f"{self._requests} requests of this tenant are under way (MAILWARDEN_TENANT_REQUESTS); "
                    "send this again in a moment.",
                )
            self.rates.take(tenant)
            self._under_way[tenant] += 1
            account.tenant = tenant
        self.move(account, f"tenant {tenant}")

    def give_back(self, account: Account) -> None:
        """Hold nothing for a request any more."""
        self._done(account)
        with self._lock:
            self._drop(account.owner, account.bytes)
            self._sum -= account.bytes
            account.bytes = 0

    def _done(self, account: Account) -> None:
        if account.tenant:
            self._under_way[account.tenant] -= 1
            if self._under_way[account.tenant] <= 0:
                del self._under_way[account.tenant]
            account.tenant = ""

    def _drop(self, owner: str, count: int) -> None:
        self._held[owner] -= count
        if self._held[owner] <= 0:
            del self._held[owner]


class Accounts:
    """An application, with an account for each request."""

    def __init__(self, app: ASGIApp, held: InFlight) -> None:
        self._app, self._held = app, held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        account = scope[_NAME] = Account(self._held, f"peer {client[0] if client else ''}")
        try:
            await self._app(scope, receive, send)
        finally:
            self._held.give_back(account)


def account_of(request: Request) -> Account | None:
    """The request's account; None where the application keeps none."""
    found: Account | None = request.scope.get(_NAME)
    return found


def handed_over(request: Request, count: int) -> None:
    """Count the messages or labels of a batch; raises Problem (429) over the tenant's rate."""
    account = account_of(request)
    if account is not None:
        # The request itself was counted as one.
        account.handed_over(count - 1)
