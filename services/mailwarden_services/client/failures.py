"""What a call of the API may raise: each problem as an exception of the kind that the platform knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from mailwarden.errors import ConfigError, DataError, MailwardenError, NotFound, StoreError, StoreUnavailable
from mailwarden_services.scoring_api.problem_types import MEDIA_TYPE, URN


class ApiProblem(MailwardenError):
    """A problem document that the API answered.

    slug: last part of its type, "" where the answer was none of ours. status: of HTTP. document: all that it says.
    """

    def __init__(self, status: int, document: Mapping[str, Any]) -> None:
        self.status, self.document = status, dict(document)
        self.slug = str(document.get("type", "")).removeprefix(URN)
        super().__init__(str(document.get("detail") or f"the API answered with status {status}"))


class ApiNotAllowed(ApiProblem, ConfigError):
    """401, 403: the key does not work, or lacks a role."""


class ApiNotFound(ApiProblem, NotFound):
    """404: what was asked for is not known."""


class ApiRefused(ApiProblem, DataError):
    """Any other 4xx: what was sent is not what it should be."""


class ApiDown(ApiProblem, StoreError):
    """429, 5xx: it may work later; it was tried again before this was raised."""


class ApiAway(StoreUnavailable):
    """Nobody answers at the address."""


def raised(response: httpx.Response) -> ApiProblem:
    """The exception of an answer that is no success."""
    document: Mapping[str, Any] = {}
    if response.headers.get("content-type", "").partition(";")[0] == MEDIA_TYPE:
        document = response.json()
    status = response.status_code
    if status in (401, 403):
        return ApiNotAllowed(status, document)
    if status == 404:
        return ApiNotFound(status, document)
    if status == 429 or status >= 500:
        return ApiDown(status, document)
    return ApiRefused(status, document)
