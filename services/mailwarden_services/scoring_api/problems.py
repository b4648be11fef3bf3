"""Errors as RFC 9457 problem documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from mailwarden.errors import ContractError, DataError, MailwardenError, NotFound, StoreError

MEDIA_TYPE = "application/problem+json"


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

    def response(self) -> JSONResponse:
        """The problem as `application/problem+json`."""
        body = {
            "type": f"urn:mailwarden:problem:{self.slug}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.extra,
        }
        return JSONResponse(body, self.status, headers=dict(self.headers or {}), media_type=MEDIA_TYPE)


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


def not_a_message(detail: str) -> Problem:
    """422: the body is not what its content type says."""
    return Problem(422, "not-a-message", "Not a message", detail)


def no_model() -> Problem:
    """503: no model serves."""
    return Problem(
        503,
        "no-model",
        "No model serves",
        "No model serves yet, so that nothing can be decided; run `mailwarden train`, or promote a model.",
        {"Retry-After": "5"},
    )


async def handle_problem(_: Request, exc: Exception) -> JSONResponse:
    """Exception handler of `Problem`."""
    assert isinstance(exc, Problem)
    return exc.response()


async def handle_mailwarden_error(_: Request, exc: Exception) -> JSONResponse:
    """Exception handler of `MailwardenError`: what the caller can mend is 4xx, what a store did is 503."""
    assert isinstance(exc, MailwardenError)
    if isinstance(exc, StoreError):
        problem = Problem(503, "store-down", "A store is down", str(exc), {"Retry-After": "1"})
    elif isinstance(exc, NotFound):
        problem = Problem(404, "not-found", "Not found", str(exc))
    elif isinstance(exc, (DataError, ContractError)):
        problem = Problem(422, "bad-data", "Bad data", str(exc))
    else:
        problem = Problem(500, "misconfigured", "Misconfigured", str(exc))
    return problem.response()


async def any_problem(request: Request, exc: Exception) -> JSONResponse:
    """The problem of a `Problem` or a `MailwardenError`, as part of a batch's answer."""
    return exc.response() if isinstance(exc, Problem) else await handle_mailwarden_error(request, exc)


async def handle_validation_error(_: Request, exc: Exception) -> JSONResponse:
    """Exception handler of request validation: names each field that is wrong, never its value."""
    assert isinstance(exc, RequestValidationError)
    fields = [{"field": ".".join(str(p) for p in error["loc"]), "problem": error["msg"]} for error in exc.errors()]
    words = "; ".join(f"{field['field']}: {field['problem']}" for field in fields)
    return Problem(422, "bad-request", "Bad request", words or "The request is malformed.", errors=fields).response()


async def handle_http_error(_: Request, exc: Exception) -> JSONResponse:
    """Exception handler of the framework's own errors (no such path, no such method)."""
    assert isinstance(exc, HTTPException)
    headers = dict(exc.headers or {})
    return Problem(exc.status_code, "http", str(exc.detail), f"{exc.detail}; see /docs.", headers).response()


async def handle_unexpected(_: Request, exc: Exception) -> JSONResponse:
    """Exception handler of everything else: says nothing of the inside."""
    return Problem(500, "internal", "Internal error", "The request failed inside; it was logged.").response()
