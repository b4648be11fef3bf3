"""The routes that mail flows call for every message, answered before the framework sees them.

Middleware, matching, dependencies and the exit stacks around them take the framework as long as all the rest of the
event loop's part in a message. These routes use none of them: their functions take the request and raise what
`problems.handle` answers, there as here. They stay declared as routes, which the description of the API is made of, and
which take what does not match here to the letter.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mailwarden_services.scoring_api import problems

Handler = Callable[[Request], Awaitable[Response]]


class Direct:
    """The application, with some routes of its own answered at once. routes: whose functions take the request alone."""

    def __init__(self, app: ASGIApp, routes: Iterable[APIRoute]) -> None:
        self._app = app
        self._routes: dict[tuple[str, str], tuple[APIRoute, Handler]] = {
            (method, route.path): (route, route.endpoint) for route in routes for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        found = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if found is None or scope.get("root_path"):
            await self._app(scope, receive, send)
            return
        scope["route"], handler = found
        request = Request(scope, receive, send)
        try:
            response = await handler(request)
        except problems.ANSWERED as exc:
            response = await problems.handle(request, exc)
        except Exception as exc:
            # A defect of ours: answered, and handed on to whoever logs it, as the framework does.
            await (await problems.handle(request, exc))(scope, receive, send)
            raise
        await response(scope, receive, send)


def routes_of(routers: Iterable[APIRouter], *handlers: Handler) -> list[APIRoute]:
    """The routes that have one of these functions."""
    routes = (route for router in routers for route in router.routes)
    return [route for route in routes if isinstance(route, APIRoute) and route.endpoint in handlers]
