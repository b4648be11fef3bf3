"""The scoring API: what mail flows, analysts and monitors call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from mailwarden import __version__
from mailwarden.errors import MailwardenError
from mailwarden_services.scoring_api import health_routes, label_routes, problems, score_routes
from mailwarden_services.scoring_api.access import Keys
from mailwarden_services.scoring_api.problems import Problem
from mailwarden_services.scoring_api.service import Service

ROUTERS = (score_routes.router, label_routes.router, health_routes.router)


def create_app(service: Service) -> FastAPI:
    """The FastAPI application over a wired service."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.lifespan():
            yield

    app = FastAPI(title="Mailwarden scoring API", version=__version__, lifespan=lifespan)
    app.add_exception_handler(Problem, problems.handle_problem)
    app.add_exception_handler(MailwardenError, problems.handle_mailwarden_error)
    app.add_exception_handler(RequestValidationError, problems.handle_validation_error)
    app.add_exception_handler(HTTPException, problems.handle_http_error)
    app.add_exception_handler(Exception, problems.handle_unexpected)
    app.state.service = service
    app.state.keys = Keys(service.tenants)
    for router in ROUTERS:
        app.include_router(router)
    return app
