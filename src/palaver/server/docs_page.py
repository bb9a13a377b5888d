"""The OpenAPI document as a page for people: one file, no script, nothing from elsewhere.

The usual viewers load their scripts from another host, which an intranet has not and a security
policy forbids. Everything that they would show is in the document already.
"""

import json
import re
from base64 import b64encode
from hashlib import sha256
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

router = APIRouter()
PLACE = "/api/docs"

_STYLE = """
:root{color-scheme:light dark;--line:color-mix(in srgb,currentColor 20%,transparent)}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h2{margin-top:2.5rem;text-transform:capitalize}
details{border:1px solid var(--line);border-radius:.4rem;margin:.4rem 0;padding:.4rem .8rem}
summary{cursor:pointer;display:flex;gap:.8rem;align-items:baseline;flex-wrap:wrap}
summary b{min-width:4rem;font-family:ui-monospace,monospace}
summary span{opacity:.75}
code,pre{font-family:ui-monospace,monospace;font-size:.875rem}
pre{overflow:auto;padding:.6rem;border:1px solid var(--line);border-radius:.3rem}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem 0}
td{border-top:1px solid var(--line)}
"""
_CODE = re.compile("`([^`]+)`")
_METHODS = ("get", "post", "put", "patch", "delete")
_DIGEST = b64encode(sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; frame-ancestors 'none'".encode()
"""What a browser may do with the page: show it, in its own style."""


@router.get(PLACE, include_in_schema=False)
async def docs(request: Request) -> HTMLResponse:
    """The API as a page. Needs no key: it is the same for everybody."""
    return HTMLResponse(page(request.app.openapi()))


def page(document: dict[str, Any]) -> str:
    """The whole page, as HTML."""
    by_tag: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                operation = methods[method]
                tag = (operation.get("tags") or ["other"])[0]
                by_tag.setdefault(tag, []).append(_operation(method, path, operation, document))
    about = document["info"]
    parts = [
        f"<h1>{escape(about['title'])} {escape(about['version'])}</h1>",
        *(f"<p>{_text(text)}</p>" for text in about.get("description", "").split("\n\n")),
        '<p>For programs: <a href="openapi.json">openapi.json</a>.</p>',
        *(f"<h2>{escape(tag)}</h2>{''.join(found)}" for tag, found in by_tag.items()),
        "<h2>Types</h2>",
        *(_schema(name, schema) for name, schema in sorted(_schemas(document).items())),
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(about['title'])}: API</title><style>{_STYLE}</style>"
        f"{''.join(parts)}</html>"
    )


def _schemas(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document.get("components", {}).get("schemas", {})
    return found


def _operation(method: str, path: str, operation: dict[str, Any], document: dict[str, Any]) -> str:
    told = operation.get("description") or operation.get("summary", "")
    rows = [
        (f"<code>{escape(p['name'])}</code> in {p['in']}", _text(p.get("description", "")))
        for p in operation.get("parameters", ())
    ]
    parts = [f"<p>{_text(told)}</p>", _table("Parameters", rows)]
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<p>Body: <code>{escape(kind)}</code> {_kind(content.get('schema', {}))}</p>")
        if "example" in content:
            parts.append(f"<pre>{escape(json.dumps(content['example'], indent=1))}</pre>")
    answers = ((s, _found(response, document)) for s, response in operation["responses"].items())
    parts.append(_table("Answers", [_answer(*each) for each in answers]))
    return (
        f"<details><summary><b>{method.upper()}</b><code>{escape(path)}</code>"
        f"<span>{_text(_first_sentence(told))}</span></summary>{''.join(parts)}</details>"
    )


def _first_sentence(text: str) -> str:
    return text.partition("\n\n")[0].partition(". ")[0].rstrip(".")


def _found(value: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """The value, or the one that it refers to."""
    for step in value.get("$ref", "").removeprefix("#/").split("/"):
        if step:
            document = document[step]
    return document if "$ref" in value else value


def _answer(status: str, response: dict[str, Any]) -> tuple[str, str]:
    kinds = (
        f"<code>{escape(kind)}</code> {_kind(content.get('schema', {}))}"
        for kind, content in response.get("content", {}).items()
    )
    return (
        f"<code>{escape(status)}</code>",
        f"{_text(response.get('description', ''))} {' or '.join(kinds)}",
    )


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (
            f"<code>{escape(field)}</code>{'' if field in required else ' (may be left out)'}",
            f"{_kind(kind)} {_text(kind.get('description', ''))}",
        )
        for field, kind in schema.get("properties", {}).items()
    ]
    if not rows:
        rows = [("", _kind(schema))]
    return (
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary>'
        f"<p>{_text(schema.get('description', ''))}</p>{_table('', rows)}</details>"
    )


def _kind(schema: dict[str, Any] | bool) -> str:
    """A type in a few words, with links to the types that it is made of."""
    if isinstance(schema, bool):
        return "anything"
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(_kind(each) for each in schema[several])
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return ", ".join(f"<code>{escape(json.dumps(value))}</code>" for value in values)
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    kind = schema.get("type", "anything")
    return escape(kind if isinstance(kind, str) else " or ".join(kind))


def _table(title: str, rows: list[tuple[str, str]]) -> str:
    if not rows:
        return ""
    head = f'<tr><th colspan="2">{title}</th></tr>' if title else ""
    body = "".join(f"<tr><td>{left}</td><td>{right}</td></tr>" for left, right in rows)
    return f"<table>{head}{body}</table>"


def _text(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text)).replace("\n\n", "<br>")
