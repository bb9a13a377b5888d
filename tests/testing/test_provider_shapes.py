"""The frames of the provider server have the shape that real providers' recordings have."""

import gzip
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from palaver.domain.messages import StopReason
from palaver.testing import Call, Line, ProviderServer, Say, Stop, Think

_BESIDE = Path(__file__).parents[2].parent / "shared" / "data"
RECORDINGS = Path(os.environ.get("PALAVER_TEST_DATA", _BESIDE)) / "recordings"
pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="no recordings beside the checkout")

HEADERS = {"x-api-key": "k", "authorization": "Bearer k", "anthropic-version": "2023-06-01"}
USER = [{"role": "user", "content": "hi"}]
APIS: dict[str, tuple[str, str, dict[str, Any], set[str]]] = {
    "anthropic": (
        "anthropic_messages",
        "/v1/messages",
        {"model": "claude-haiku-4-5", "max_tokens": 5, "messages": USER},
        # Redacted thinking is in no recorded stream.
        {".content_block.data"},
    ),
    "chat": (
        "openai_chat",
        "/v1/chat/completions",
        {"model": "gpt-4o-mini", "messages": USER, "stream_options": {"include_usage": True}},
        # From compatible servers, whose recordings are in another file.
        {".choices[].delta.reasoning_content"},
    ),
    "responses": (
        "openai_responses",
        "/v1/responses",
        {
            "model": "gpt-5-mini",
            "input": "hi",
            "reasoning": {"summary": "auto"},
            "include": ["reasoning.encrypted_content"],
        },
        set(),
    ),
}
# Refusals are not in it: no recorded stream has one.
TURNS: list[list[Line]] = [
    [Think("why"), Say("because"), Call("add", {"a": 1}), Call("now")],
    [Think("hidden", redacted=True), "x", Stop(StopReason.MAX_TOKENS)],
]


def events(body: str) -> Iterator[dict[str, Any]]:
    for line in body.splitlines():
        if line.startswith("data: {"):
            try:
                yield json.loads(line[6:])
            except ValueError:
                continue


def paths(value: object, at: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            # What a tool is called with is not the provider's shape.
            if key not in ("input", "metadata", "parameters"):
                yield f"{at}.{key}"
                yield from paths(inner, f"{at}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from paths(inner, f"{at}[]")


def shapes(bodies: Iterator[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for body in bodies:
        for event in events(body):
            found[str(event.get("type", "chunk"))].update(paths(event))
    return found


def recorded(name: str) -> Iterator[str]:
    with gzip.open(RECORDINGS / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            if record["stream"]:
                yield record["body"]


@pytest.mark.parametrize("api", APIS)
async def test_every_field_is_one_that_the_provider_sends(api: str) -> None:
    """Each event type, and each field in it, occurs in recordings of the same API."""
    name, path, body, more = APIS[api]
    ours: list[str] = []
    async with ProviderServer(TURNS) as server, aiohttp.ClientSession(headers=HEADERS) as http:
        for _ in TURNS:
            async with http.post(server.url + path, json=body | {"stream": True}) as response:
                ours.append(await response.text())
    real = shapes(recorded(name))
    # The only recorded incomplete response is old; it ends as a completed one does.
    real["response.incomplete"] |= real["response.completed"]
    for kind, fields in shapes(iter(ours)).items():
        assert kind in real
        assert fields - real[kind] <= more, kind
