"""What the API is wired to: one value that bootstrap makes and every route is given."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from mailwarden.stores.sql import Tenants
from mailwarden_services.feature_writer.status import WriterLag
from mailwarden_services.scoring_api.intake import Intake
from mailwarden_services.scoring_api.metrics import Metrics


@dataclass
class Service:
    """What the API needs. champion_version: of the bundle that serves, raises NotFound where there is none.

    checks: by store name, raising MailwardenError where it is down; `essential` of them make the API not ready.
    lifespan: runs beside the API from its start to its stop. writer_lag: how far the feature writer is behind; its
    words make the API degraded.
    """

    intake: Intake
    tenants: Tenants
    champion_version: Callable[[], int]
    checks: dict[str, Callable[[], None]]
    essential: frozenset[str]
    max_message_bytes: int
    lifespan: Callable[[], AbstractAsyncContextManager[None]]
    metrics: Metrics = field(default_factory=Metrics)
    writer_lag: Callable[[], WriterLag] | None = None


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Served = Annotated[Service, Depends(_service)]
"""The service of the application that a route is part of."""
