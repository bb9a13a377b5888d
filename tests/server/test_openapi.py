"""The document that describes the server is whole: whoever generates a client of it has all."""

import re
import runpy
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import schemathesis

from tests.docs.blocks import ROOT
from tests.server.conftest import Serving

METHODS = ("get", "put", "post", "patch", "delete")


@pytest.fixture
async def document(serving: Serving) -> dict[str, Any]:
    served = await serving()
    async with served.http.get("/api/openapi.json") as response:
        found: dict[str, Any] = await response.json()
        return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Those below /api, by method and path."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item and path.startswith("/api/"):
                yield f"{method} {path}", item[method]


def below(value: Any) -> Iterator[Any]:
    yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        yield from below(each)


def resolved(document: dict[str, Any], reference: str) -> Any:
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


async def test_it_is_valid(document: dict[str, Any]) -> None:
    """It is OpenAPI 3.1, and each schema in it is a JSON Schema."""
    assert document["openapi"].startswith("3.1")
    schemathesis.openapi.from_dict(document).validate()
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


async def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    """No `$ref`, discriminator or link names something that is not there, and no name tells of the
    program's modules."""
    every = (item[m] for item in document["paths"].values() for m in METHODS if m in item)
    ids = {operation["operationId"] for operation in every}
    for each in below(document):
        if isinstance(each, dict) and isinstance(each.get("$ref"), str):
            assert resolved(document, each["$ref"])
        if isinstance(each, dict) and "discriminator" in each:
            for reference in each["discriminator"]["mapping"].values():
                assert resolved(document, reference)
        if isinstance(each, dict) and isinstance(each.get("links"), dict):
            assert {link["operationId"] for link in each["links"].values()} <= ids
    assert not [name for name in document["components"]["schemas"] if "." in name]


async def test_every_operation_says_what_it_is(document: dict[str, Any]) -> None:
    """Each has a stable name of its own, a tag that is explained, and a description."""
    found = list(operations(document))
    names = [operation["operationId"] for _, operation in found]
    assert len(names) == len(set(names))
    assert not [name for name in names if not re.fullmatch("[a-z][a-z_0-9]*", name)]
    tags = {tag["name"] for tag in document["tags"]}
    for place, operation in found:
        assert set(operation["tags"]) <= tags, place
        assert operation.get("description"), place


async def test_every_operation_says_how_it_fails(document: dict[str, Any]) -> None:
    """Each documents the common errors as problems, and 404 where its path holds an id."""
    for place, operation in operations(document):
        for status in ("400", "401", "403", "413", "422", "429", "500", "503"):
            answer = operation["responses"][status]
            if "$ref" in answer:
                answer = resolved(document, answer["$ref"])
            assert answer["content"].keys() & {"application/problem+json", "application/json"}
        if "{" in place:
            assert "404" in operation["responses"], place


async def test_every_body_has_an_example(document: dict[str, Any]) -> None:
    """Each JSON body has an example, which the schema takes."""
    for place, operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {})
        if list(content) != ["application/json"]:
            continue
        body = content["application/json"]
        assert "example" in body, place
        schema = {**body["schema"], "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(body["example"])


async def test_it_names_the_keys(document: dict[str, Any]) -> None:
    """All operations need a key, but for health and version, and the schemes say how it is sent."""
    schemes = document["components"]["securitySchemes"]
    assert schemes["bearer"]["scheme"] == "bearer"
    assert document["security"] == [{name: []} for name in schemes]
    asked = dict.fromkeys(("read", "write", "approve", "admin"), 0)
    for _, operation in operations(document):
        for each in operation.get("security", document["security"]):
            for permission in each.get("bearer", ()):
                asked[permission] += 1
    assert all(asked.values())
    free = {place for place, operation in operations(document) if operation.get("security") == []}
    assert free == {
        "get /api/health/live",
        "get /api/health/ready",
        "get /api/version",
    }


async def test_lists_are_bounded(document: dict[str, Any]) -> None:
    """Every page has `items` and a `cursor`, and whoever gives one takes a `limit`."""
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        if name.endswith("Page") and name != "AuditPage":
            assert {"items", "cursor"} <= schema["properties"].keys(), name
    for place, operation in operations(document):
        good = operation["responses"].get("200", {}).get("content", {}).get("application/json", {})
        if good.get("schema", {}).get("$ref", "").endswith("Page"):
            limits = [
                p["schema"]["maximum"] for p in operation["parameters"] if p["name"] == "limit"
            ]
            assert limits, place


def test_the_page_has_every_route() -> None:
    """`docs/reference/http.md` has each route with the scope that it asks for, and no other;
    `scripts/generate-http-reference` writes it."""
    made = runpy.run_path(str(ROOT / "scripts" / "generate-http-reference"))["reference"]()
    page = (ROOT / "docs" / "reference" / "http.md").read_text(encoding="utf-8")

    def rows(text: str) -> list[tuple[str, str]]:
        return sorted(re.findall(r"^\| (`[A-Z]+ [^`]+`) \| ([^|]+) \|", text, re.MULTILINE))

    assert rows(page) == rows(made)
    assert rows(page)
