"""`/docs`: the API's description as a page that needs no script and nothing from elsewhere."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}"
    "code,pre{font:13px/1.45 ui-monospace,monospace;background:#f4f4f4;border-radius:3px}code{padding:0 .2em}"
    "pre{padding:.7em;overflow:auto;white-space:pre-wrap}table{border-collapse:collapse;width:100%}"
    "td,th{text-align:left;vertical-align:top;padding:.25em .6em;border-bottom:1px solid #ddd}"
    "summary{cursor:pointer;padding:.3em 0}.verb{display:inline-block;min-width:4.5em;font-weight:700}"
)


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """The page; made from /openapi.json, once."""
    state = request.app.state
    if getattr(state, "docs", None) is None:
        state.docs = page(request.app.openapi())
    return HTMLResponse(state.docs, headers={"Content-Security-Policy": _POLICY})


def page(schema: Mapping[str, Any]) -> str:
    """An OpenAPI document as HTML."""
    return "".join(_page(schema))


def _page(schema: Mapping[str, Any]) -> Iterator[str]:
    info = schema["info"]
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_text(info["title"])}</title>'
    yield f"<style>{_STYLE}</style><h1>{_text(info['title'])} {_text(info['version'])}</h1>"
    for paragraph in info.get("description", "").split("\n\n"):
        yield f"<p>{_marked(paragraph)}</p>"
    yield '<p>For machines: <a href="openapi.json">openapi.json</a>.</p>'
    for path, verbs in schema["paths"].items():
        for verb, operation in verbs.items():
            yield from _operation(verb.upper(), path, operation)
    yield "<h2>Models</h2>"
    for name, model in sorted(schema.get("components", {}).get("schemas", {}).items()):
        yield f'<h3 id="{_text(name)}">{_text(name)}</h3><p>{_marked(model.get("description", ""))}</p>'
        yield from _fields(model)


def _operation(verb: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f'<details><summary><span class="verb">{verb}</span><code>{_text(path)}</code> '
    yield f"{_text(operation.get('summary', ''))}</summary><p>{_marked(operation.get('description', ''))}</p>"
    if role := operation.get("x-role"):
        yield f"<p>Takes a key with the role <code>{_text(role)}</code>.</p>"
    if parameters := operation.get("parameters"):
        yield "<table><tr><th>parameter<th>in<th>type<th>what</tr>"
        for one in parameters:
            words = one.get("description", one.get("schema", {}).get("description", ""))
            needed = " (required)" if one.get("required") else ""
            yield f"<tr><td><code>{_text(one['name'])}</code>{needed}<td>{one['in']}"
            yield f"<td>{_type(one.get('schema', {}))}<td>{_marked(words)}</tr>"
        yield "</table>"
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body <code>{_text(kind)}</code>: {_type(content.get('schema', {}))}</p>"
        if "example" in content:
            example = content["example"]
            shown = example if isinstance(example, str) else json.dumps(example, indent=2)
            yield f"<pre>{_text(shown)}</pre>"
    yield "<table><tr><th>status<th>answer<th>when</tr>"
    for status, answer in operation.get("responses", {}).items():
        kinds = "<br>".join(
            f"<code>{_text(kind)}</code> {_type(content.get('schema', {}))}"
            for kind, content in answer.get("content", {}).items()
        )
        yield f"<tr><td>{_text(status)}<td>{kinds}<td>{_marked(answer.get('description', ''))}</tr>"
    yield "</table></details>"


def _fields(model: Mapping[str, Any]) -> Iterator[str]:
    if not model.get("properties"):
        return
    needed = set(model.get("required", ()))
    yield "<table><tr><th>field<th>type<th>what</tr>"
    for name, field in model["properties"].items():
        mark = "" if name in needed else " (optional)"
        words = _marked(field.get("description", ""))
        yield f"<tr><td><code>{_text(name)}</code>{mark}<td>{_type(field)}<td>{words}</tr>"
    yield "</table>"


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = _text(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "enum" in schema:
        return " | ".join(f"<code>{_text(json.dumps(value))}</code>" for value in schema["enum"])
    if "const" in schema:
        return f"<code>{_text(json.dumps(schema['const']))}</code>"
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if isinstance(schema.get("additionalProperties"), Mapping) and schema["additionalProperties"]:
        return f"object of {_type(schema['additionalProperties'])}"
    form = schema.get("format", "")
    return _text(" ".join(filter(None, (str(schema.get("type", "anything")), form and f"({form})"))))


def _text(value: object) -> str:
    return html.escape(str(value))


def _marked(words: str) -> str:
    """Words with what stands between backticks as code."""
    parts = _text(words).split("`")
    return "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))
