"""JSON in and out: bodies read as models, answers written once."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson
from fastapi import Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from mailwarden_services.scoring_api.problems import bad_request

_Body = TypeVar("_Body", bound=BaseModel)

MOST_VALUES = 200_000
"""Of one body: a hundred messages to a thousand recipients each have half as many. Reading takes time by the value."""

MOST_UNKNOWN = 10
"""Fields that a model does not have which are named one by one; more are refused at once."""


class Body(BaseModel):
    """A body, or a part of one, with no fields but its own."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few_unknown(cls, given: Any) -> Any:
        """Refuse a flood of fields as one error: the library makes an error of each."""
        if isinstance(given, dict) and len(given) > len(cls.model_fields) + MOST_UNKNOWN:
            raise ValueError(f"there are {len(given)} fields; it has {', '.join(cls.model_fields)}")
        return given


def json_answer(body: Any, status: int = 200) -> Response:
    """An answer of plain JSON values."""
    return Response(orjson.dumps(body), status, media_type="application/json")


def read_json(model: type[_Body], body: bytes) -> _Body:
    """The body as a model; raises RequestValidationError, which names each field that is wrong, or Problem where there
    are too many values to look at while others' mail waits."""
    if body.count(b",") > MOST_VALUES:
        raise bad_request(f"The body has over {MOST_VALUES} values; send fewer at once.")
    try:
        return model.model_validate_json(body)
    except ValidationError as exc:
        found = exc.errors(include_url=False, include_context=False, include_input=False)
        errors = [{"loc": ("body", *e["loc"]), "msg": e["msg"], "type": e["type"]} for e in found]
        raise RequestValidationError(errors) from exc
