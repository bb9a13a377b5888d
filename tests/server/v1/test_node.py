"""Clients of OpenAI's API from npm, against the server."""

from pathlib import Path
from typing import Any

from palaver.testing import Call, Pause, Say, ScriptedModel, Think
from tests.server.npm import told
from tests.server.v1.conftest import Connecting

TURNS: list[Any] = [
    [Think("hm"), Say("Let me look."), Call("weather", {"city": "Oslo"})],
    "Rain in Oslo.",
]


async def test_openai(connected: Connecting, clients: Path) -> None:
    """Models, a loop over tools, a stream, an error; responses with tools, in the background with a
    dropped stream that is read on, and cancel."""
    long: list[Any] = [Say("The first half"), Pause(0.02), ", and all."]
    model = ScriptedModel([*TURNS, "Streamed.", *TURNS, long])
    seen = await told("openai.mjs", clients, (await connected(model)).url)
    assert seen.pop("usage")["total_tokens"] > 0
    assert seen == {
        "models": ["scripted:model", "offline"],
        "chat": "Rain in Oslo.",
        "streamed": "Streamed.",
        "error": {"status": 400, "type": "invalid_request_error", "name": "BadRequestError"},
        "responses": "Rain in Oslo.",
        "resumed": "The first half, and all.",
        "end": "response.completed",
        "contiguous": True,
        "cancelled": "completed",
    }
    assert not model.problems


async def test_ai_sdk(connected: Connecting, clients: Path) -> None:
    """Loops over tools, streamed and not, thinking, usage, and an answer in a shape."""
    model = ScriptedModel([*TURNS, *TURNS, '{"name":"Oslo"}'])
    seen = await told("ai-sdk.mjs", clients, (await connected(model)).url)
    assert seen.pop("tokens") > 0
    kinds = seen.pop("kinds")
    assert {"text-delta", "tool-call", "tool-result", "finish"} <= set(kinds)
    assert "error" not in kinds
    assert seen == {
        "text": "Rain in Oslo.",
        "steps": ["tool-calls", "stop"],
        "results": ["rain in Oslo"],
        "reasoning": "hm",
        "streamed": "Rain in Oslo.",
        "object": {"name": "Oslo"},
    }
    assert model.requests[0].system == "Be short."
    assert not model.problems
