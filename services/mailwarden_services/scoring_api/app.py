"""The scoring API: what mail flows, analysts and monitors call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from mailwarden import __version__
from mailwarden_services.scoring_api import (
    audit_routes,
    docs_page,
    health_routes,
    label_routes,
    mail_routes,
    message_routes,
    problems,
    quarantine_routes,
    report_routes,
    rspamd_routes,
    score_routes,
)
from mailwarden_services.scoring_api.access import Keys
from mailwarden_services.scoring_api.direct import Direct, routes_of
from mailwarden_services.scoring_api.in_flight import Accounts
from mailwarden_services.scoring_api.openapi import describe
from mailwarden_services.scoring_api.problems import Refusals
from mailwarden_services.scoring_api.service import Service

ROUTERS = (
    score_routes.router,
    mail_routes.router,
    label_routes.router,
    report_routes.router,
    message_routes.router,
    audit_routes.router,
    quarantine_routes.router,
    health_routes.router,
    docs_page.router,
    rspamd_routes.router,
)


class ScoringApp(FastAPI):
    """The framework's application behind an entrance of ours.

    behind: what every request passes first, given what it goes on to: the framework's own middleware takes as long as
    reading an envelope does.
    """

    def __init__(self, behind: Callable[[ASGIApp], ASGIApp], **options: Any) -> None:
        super().__init__(**options)
        self._entrance = behind(super().__call__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        scope["app"] = self
        await self._entrance(scope, receive, send)


def create_app(service: Service) -> FastAPI:
    """The FastAPI application over a wired service."""
    direct = routes_of(ROUTERS, score_routes.score, mail_routes.mail)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.lifespan():
            yield

    app = ScoringApp(
        lambda framework: Accounts(Direct(framework, direct), service.in_flight),
        title="Mailwarden scoring API",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    for kind in (*problems.ANSWERED, Exception):
        app.add_exception_handler(kind, problems.handle)
    app.state.refusals = Refusals(service.metrics)
    app.state.service = service
    app.state.keys = Keys(service.tenants)
    for router in ROUTERS:
        app.include_router(router)
    # The framework's own way to have another description: https://fastapi.tiangolo.com/how-to/extending-openapi/
    app.openapi = partial(describe, app)  # type: ignore[method-assign]
    return app
