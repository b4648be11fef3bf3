"""JSON that callers send: what is wrong with it is named, and a flood of wrong things is one."""

from __future__ import annotations

import asyncio
import base64

import orjson
import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from mailwarden_services.scoring_api.bodies import MOST_UNKNOWN, MOST_VALUES, read_json
from mailwarden_services.scoring_api.problems import Problem
from mailwarden_services.scoring_api.requests import (
    DECODED_AT_ONCE,
    MAX_BATCH,
    MAX_RECIPIENTS,
    BatchBody,
    LabelBody,
    LabelsBody,
    MessageBody,
)

MESSAGE = {"message": "QQ=="}
LABEL = {"message_id": "f" * 32, "label": "ham", "known_at": "2026-01-31T08:30:00Z"}
FLOOD = {f"k{number}": 1 for number in range(50_050)}


def wrong(model: type[BaseModel], body: object) -> list[tuple[tuple[str | int, ...], str]]:
    with pytest.raises(RequestValidationError) as refused:
        read_json(model, orjson.dumps(body))
    return [(error["loc"], error["msg"]) for error in refused.value.errors()]


def test_few_fields_that_are_unknown_are_named_and_many_are_one_error() -> None:
    few = {f"k{number}": 1 for number in range(MOST_UNKNOWN)}
    named = wrong(MessageBody, MESSAGE | few)
    assert named == [(("body", name), "Extra inputs are not permitted") for name in few]
    for model, body, place in (
        (MessageBody, MESSAGE | FLOOD, ("body",)),
        (BatchBody, {"messages": [MESSAGE], **FLOOD}, ("body",)),
        (BatchBody, {"messages": [MESSAGE, MESSAGE | FLOOD]}, ("body", "messages", 1)),
        (LabelBody, LABEL | FLOOD, ("body",)),
        (LabelsBody, {"labels": [LABEL | FLOOD]}, ("body", "labels", 0)),
    ):
        ((at, words),) = wrong(model, body)
        assert at == place and "there are 500" in words


def test_recipients_that_are_none_are_one_error_a_message() -> None:
    found = wrong(BatchBody, {"messages": [MESSAGE | {"rcpt_to": [1] * MAX_RECIPIENTS}] * MAX_BATCH})
    assert len(found) == MAX_BATCH


def test_more_values_than_any_batch_has_are_not_looked_at() -> None:
    full = {"messages": [MESSAGE | {"rcpt_to": ["bob@acme.example"] * MAX_RECIPIENTS}] * MAX_BATCH}
    assert len(read_json(BatchBody, orjson.dumps(full)).messages) == MAX_BATCH
    with pytest.raises(Problem, match=f"over {MOST_VALUES} values"):
        read_json(BatchBody, b'{"messages": [' + b"1," * (MOST_VALUES + 1) + b"1]}")


def test_a_large_message_is_decoded_while_others_go_on_and_is_what_it_would_be_at_once() -> None:
    async def test() -> None:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(others())
        raw = bytes(range(256)) * (DECODED_AT_ONCE // 128)
        text = base64.b64encode(raw).decode()
        assert await MessageBody.model_validate({"message": text}).raw(len(raw)) == raw
        assert turns >= len(text) // DECODED_AT_ONCE
        beside.cancel()
        full = text[: DECODED_AT_ONCE - 4] + "QQ=="
        assert (await MessageBody.model_validate({"message": full}).raw(len(raw))).endswith(b"A")
        for bad in (full + "QQ==", text + "!", text[:-4] + "=" + text[-3:], "Q", "QQ=="[:3]):
            with pytest.raises(Problem, match="not base64"):
                await MessageBody.model_validate({"message": bad}).raw(len(raw) + 99)
        with pytest.raises(Problem, match="over 3 bytes"):
            await MessageBody.model_validate({"message": "QUFBQUFBQUFB"}).raw(3)

    asyncio.run(test())
