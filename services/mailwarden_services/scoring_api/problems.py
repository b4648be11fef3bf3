"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import structlog
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from mailwarden.errors import ContractError, DataError, MailwardenError, NotFound, NotLogged, StoreError
from mailwarden_services.scoring_api.problem_types import MEDIA_TYPE, URN

if TYPE_CHECKING:
    from mailwarden_services.scoring_api.metrics import Metrics

log = structlog.get_logger(__name__)


NOT_A_MESSAGE = "not-a-message"
"""The slug of bytes that are no message, or that nothing says the time of."""


class Problem(Exception):
    """An HTTP error with a type, a title and words on what to do.

    slug: last part of the problem's type URI. headers: added to the response.
    """

    def __init__(
        self, status: int, slug: str, title: str, detail: str, headers: Mapping[str, str] | None = None, **extra: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.slug, self.title, self.detail = status, slug, title, detail
        self.headers, self.extra = headers, extra

    def document(self) -> dict[str, Any]:
        """The problem as plain JSON."""
        return {
            "type": URN + self.slug,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.extra,
        }

    def response(self) -> JSONResponse:
        """The problem as `application/problem+json`."""
        return JSONResponse(self.document(), self.status, headers=dict(self.headers or {}), media_type=MEDIA_TYPE)


def too_large(limit: int) -> Problem:
    """413: the body is over the limit, in bytes."""
    return Problem(
        413, "too-large", "Message too large", f"The body is over {limit} bytes; send a smaller one.", limit=limit
    )


def not_authorised() -> Problem:
    """401: no key, or none that works."""
    return Problem(
        401,
        "not-authorised",
        "Not authorised",
        "Send a working key of your tenant as `Authorization: Bearer mw_...`.",
        {"WWW-Authenticate": "Bearer"},
    )


def lacks_role(role: str, held: Sequence[str]) -> Problem:
    """403: the key does not have the role that this takes. held: those that it has."""
    return Problem(
        403,
        "lacks-role",
        "Role lacking",
        f"This takes a key with the role `{role}`; yours has {', '.join(held)}. "
        f"Issue one with `mailwarden tenant key --role {role}`.",
        role=role,
    )


def bad_request(detail: str) -> Problem:
    """422: a parameter, a header or a field of the body is wrong."""
    return Problem(422, "bad-request", "Bad request", detail)


def not_a_message(detail: str) -> Problem:
    """422: the body is not what its content type says."""
    return Problem(422, NOT_A_MESSAGE, "Not a message", detail)


def busy(detail: str) -> Problem:
    """503: there is no room for this now."""
    return Problem(503, "busy", "Busy", detail, {"Retry-After": "1"})


def no_model() -> Problem:
    """503: no model serves."""
    return Problem(
        503,
        "no-model",
        "No model serves",
        "No model serves yet, so that nothing can be decided; run `mailwarden train`, or promote a model.",
        {"Retry-After": "5"},
    )


class Refusals:
    """Counts requests that are refused, by route and type, and logs the 1st, 2nd, 4th, 8th, ... of each kind: no disk
    is filled by a client that repeats itself.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._times: Counter[tuple[str, str]] = Counter()

    def note(self, request: Request, problem: Problem) -> None:
        """Count a problem that a request is answered with, as a whole or in part."""
        self.count(problem, getattr(request.scope.get("route"), "path", "none"))

    def count(self, problem: Problem, route: str = "none") -> None:
        """Count a problem of a route; "none": of a connection, before there was a request."""
        self._metrics.refused.labels(route, str(problem.status), problem.slug).inc()
        self._times[route, problem.slug] += 1
        times = self._times[route, problem.slug]
        if times & (times - 1) == 0:
            # Words of a refused request may quote what a caller sent.
            log.warning("a request was refused", route=route, status=problem.status, problem=problem.slug, times=times)


ANSWERED = (Problem, MailwardenError, RequestValidationError, HTTPException)
"""What a route may raise to be answered with a problem; all else is a defect of ours, which is logged whole."""


def problem_of(exc: Exception) -> Problem:
    """The problem that an exception is answered with: what the caller can mend is 4xx, what a store did is 503."""
    if isinstance(exc, Problem):
        return exc
    if isinstance(exc, NotLogged):
        return Problem(503, "not-logged", "Not logged yet", str(exc), {"Retry-After": "2"})
    if isinstance(exc, StoreError):
        return Problem(503, "store-down", "A store is down", str(exc), {"Retry-After": "1"})
    if isinstance(exc, NotFound):
        return Problem(404, "not-found", "Not found", str(exc))
    if isinstance(exc, (DataError, ContractError)):
        return Problem(422, "bad-data", "Bad data", str(exc))
    if isinstance(exc, MailwardenError):
        return Problem(500, "misconfigured", "Misconfigured", str(exc))
    if isinstance(exc, RequestValidationError):
        # Each field that is wrong, never its value.
        fields = [{"field": ".".join(str(p) for p in error["loc"]), "problem": error["msg"]} for error in exc.errors()]
        words = "; ".join(f"{field['field']}: {field['problem']}" for field in fields)
        return Problem(422, "bad-request", "Bad request", words or "The request is malformed.", errors=fields)
    if isinstance(exc, HTTPException):
        detail = f"{exc.detail}; see /docs."
        return Problem(exc.status_code, "http", str(exc.detail), detail, dict(exc.headers or {}))
    return Problem(500, "internal", "Internal error", "The request failed inside; it was logged.")


async def handle(request: Request, exc: Exception) -> JSONResponse:
    """Exception handler of everything: a problem document, counted."""
    problem = refuse(request, exc)
    if problem.status == 405:
        # The framework names the methods of the first route of a path alone.
        problem.headers = {**(problem.headers or {}), "Allow": ", ".join(_allowed(request))}
    return problem.response()


def _allowed(request: Request) -> list[str]:
    methods: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return sorted(methods)


def refuse(request: Request, exc: Exception) -> Problem:
    """The problem of an exception, counted as one of the request's route."""
    problem = problem_of(exc)
    refusals: Refusals = request.app.state.refusals
    refusals.note(request, problem)
    return problem
