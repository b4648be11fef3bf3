"""The API's own description: every answer, problem, body and key, so that clients can be generated from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from mailwarden_services.scoring_api.access import TENANT_HEADER
from mailwarden_services.scoring_api.answer_models import ProblemDocument
from mailwarden_services.scoring_api.problem_types import MEDIA_TYPE, TYPES, URN
from mailwarden_services.scoring_api.requests import BatchBody, LabelBody, LabelsBody, MessageBody, ReleaseBody

_BODIES: tuple[type[BaseModel], ...] = (MessageBody, BatchBody, LabelBody, LabelsBody, ReleaseBody)
_REF = "#/components/schemas/{model}"
_SECONDS = {"description": "seconds to wait", "schema": {"type": "string", "pattern": "^[0-9]+$"}}
_HEADERS = {
    401: {"WWW-Authenticate": {"description": "Bearer", "schema": {"type": "string"}}},
    429: {"Retry-After": _SECONDS},
    503: {"Retry-After": _SECONDS},
}
_OF_BODIES = ("too-slow",)
_ALWAYS = ("internal", "misconfigured")
_OF_KEYS = (
    "not-authorised",
    "lacks-role",
    "other-tenant",
    "no-tenant",
    "bad-request",
    "store-down",
    "too-many",
    "busy",
)

MESSAGE = (
    "Received: from mail.partner.example by mx.your-domain.example; Sat, 31 Jan 2026 08:30:00 +0000\r\n"
    "From: Ann <ann@partner.example>\r\nTo: bob@your-domain.example\r\nSubject: Minutes\r\n"
    "Message-ID: <1@partner.example>\r\n\r\nAs agreed.\r\n"
)
"""A message for examples."""

DESCRIPTION = f"""Decides on mail, with reasons.

Each call bears a key: `Authorization: Bearer mw_...`. A key belongs to a tenant and has roles: `score`, `label`,
`read`, `content`, `admin`. An operator's key stands above tenants and names the one that it acts for in
`{TENANT_HEADER}`; a gateway's is for mail systems that serve several.

Times are RFC 3339 with a zone, as 2026-01-31T08:30:00Z, and nothing else: numbers are refused. Errors are problem
documents (RFC 9457); their `type` is one of a fixed list. What is answered with 429 or 503 may be sent again
after `Retry-After`."""


def declared(
    answers: Mapping[int, tuple[type[BaseModel], str]],
    *problems: str,
    role: str | None = None,
    optional_key: bool = False,
    body: Mapping[str, Any] | None = None,
    parameters: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Arguments of a route's decorator that declare it: nothing of it runs when the route is called.

    answers: by status, the model and when it comes. problems: types beside those that every route may answer with.
    role: what the key must have; None where no key is asked for. optional_key: one that bears a key is told more. body:
    by media type, schema and examples.
    """
    slugs = (*problems, *_ALWAYS, *(_OF_KEYS if role is not None else ()), *(_OF_BODIES if body is not None else ()))
    given = list(parameters)
    extra: dict[str, Any] = {}
    if role is not None:
        extra["security"] = [{"key": []}]
        extra["x-role"] = role
        given.append(
            parameter("header", TENANT_HEADER, {"type": "string"}, "the tenant, of a key that stands above tenants")
        )
    if optional_key:
        extra["security"] = [{}, {"key": []}]
    if given:
        extra["parameters"] = given
    if body is not None:
        extra["requestBody"] = {"required": True, "content": dict(body)}
    responses: dict[int, dict[str, Any]] = {
        status: {"model": model, "description": words} for status, (model, words) in answers.items()
    }
    for status in sorted({TYPES[slug].status for slug in slugs}):
        here = [slug for slug in TYPES if slug in slugs and TYPES[slug].status == status]
        content = {MEDIA_TYPE: _problem(here)}
        words = "; ".join(f"`{slug}`: {TYPES[slug].when}" for slug in here)
        if status in responses:
            responses[status]["content"] = content
            responses[status]["description"] += "; " + words
        else:
            responses[status] = {"description": words, "content": content}
        if status in _HEADERS:
            responses[status]["headers"] = _HEADERS[status]
    return {"responses": responses, "openapi_extra": extra, "response_model": None}


def parameter(place: str, name: str, schema: Mapping[str, Any], words: str) -> dict[str, Any]:
    """A parameter that a route reads by itself, and that may be left out."""
    return {"in": place, "name": name, "schema": dict(schema), "description": words, "required": False}


def json_body(model: type[BaseModel], example: Mapping[str, Any]) -> dict[str, Any]:
    """A body of JSON."""
    ref = {"$ref": _REF.format(model=model.__name__)}
    return {"application/json": {"schema": ref, "example": dict(example)}}


def mail_body(*types: str) -> dict[str, Any]:
    """A body that is mail as it is."""
    of_mail = {"schema": {"type": "string", "format": "binary"}, "example": MESSAGE}
    return {kind: of_mail for kind in (types or ("message/rfc822",))}


def describe(app: FastAPI) -> dict[str, Any]:
    """The whole OpenAPI document of an application, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes, summary=app.summary
        )
        parts = document.setdefault("components", {})
        _, asked = models_json_schema([(model, "validation") for model in _BODIES], ref_template=_REF)
        _, said = models_json_schema([(ProblemDocument, "serialization")], ref_template=_REF)
        parts.setdefault("schemas", {}).update(asked["$defs"] | said["$defs"])
        parts["securitySchemes"] = {
            "key": {"type": "http", "scheme": "bearer", "bearerFormat": "mw_...", "description": "An API key."}
        }
        app.openapi_schema = document
    return app.openapi_schema


def _problem(slugs: Sequence[str]) -> dict[str, Any]:
    examples = {
        slug: {
            "value": {
                "type": URN + slug,
                "title": TYPES[slug].title,
                "status": TYPES[slug].status,
                "detail": TYPES[slug].when,
            }
        }
        for slug in slugs
    }
    return {"schema": {"$ref": _REF.format(model=ProblemDocument.__name__)}, "examples": examples}
