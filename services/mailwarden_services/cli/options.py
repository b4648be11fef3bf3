"""Options that several commands share."""

from __future__ import annotations

import time
from typing import Annotated

import typer

DEFAULT_TENANT = "default"

TenantName = Annotated[str, typer.Argument(help="The tenant.")]

DomainsOption = Annotated[
    list[str], typer.Option("--domain", help="A domain of the tenant's own; repeat for each. Tells inbound mail.")
]
TrustOption = Annotated[
    list[str], typer.Option("--trust", help="An authserv-id whose Authentication-Results are believed; repeatable.")
]


def now_us() -> int:
    """The machine's time, for records of what an operator did; never in a message's path."""
    return time.time_ns() // 1_000
