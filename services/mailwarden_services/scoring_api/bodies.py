"""JSON in and out: bodies read as models, answers written once."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson
from fastapi import Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

_Body = TypeVar("_Body", bound=BaseModel)


def json_answer(body: Any, status: int = 200) -> Response:
    """An answer of plain JSON values."""
    return Response(orjson.dumps(body), status, media_type="application/json")


def read_json(model: type[_Body], body: bytes) -> _Body:
    """The body as a model; raises RequestValidationError, which names each field that is wrong."""
    try:
        return model.model_validate_json(body)
    except ValidationError as exc:
        errors = [{"loc": ("body", *e["loc"]), "msg": e["msg"], "type": e["type"]} for e in exc.errors()]
        raise RequestValidationError(errors) from exc
