"""What every contestant can do, and the two tools that they are given."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from bench.scenario import ANSWER, QUESTION, RESULT, TOOL_RUN_S
from bench.wire import Api

Heard = Callable[[str], None]
"""Told every piece of text as it comes: the subscriber."""

MODELS = {
    "anthropic": "claude-sonnet-4-5",
    "openai": "gpt-5-mini",
    "responses": "gpt-5-mini",
}
TOOL_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
}
DESCRIPTIONS = {"wait": "Wait for a job to be done.", "look_up": "Look an entry up."}
KEY = "sk-bench"


class Contestant(Protocol):
    """One way to hold a conversation."""

    async def begin(self, api: Api, url: str, folder: Path, *, tools: bool) -> None:
        """Be ready for the first turn of a new conversation with the provider at `url`."""
        ...

    async def another(self) -> "Contestant":
        """Another new conversation, held in the same process with the same connections and files.

        It ends with this one; only this one is closed.
        """
        ...

    async def say(self, text: str, heard: Heard) -> None:
        """Carry out one turn, tool calls included. Raises when it does not end well."""
        ...

    async def fill(self, turns: int) -> None:
        """Put so many turns of the scenario `loop` into the history without running them."""
        ...

    async def aclose(self) -> None:
        """Give everything back."""
        ...


starts: list[float] = []
"""When `wait` was started, by `time.monotonic`."""


async def wait(name: str) -> str:
    """Wait for a job to be done."""
    starts.append(time.monotonic())
    await asyncio.sleep(TOOL_RUN_S)
    return f"{name} is done"


async def look_up(name: str) -> str:
    """Look an entry up."""
    return RESULT


TOOLS = {"wait": wait, "look_up": look_up}


def lived(turn: int, api: Api) -> list[dict[str, Any]]:
    """The messages of one turn of the scenario `loop`, as the wire of `api` has them."""
    call_id, said, answer = f"call_filled_{turn}", {"role": "user", "content": QUESTION}, ANSWER
    if api == "anthropic":
        call = {"type": "tool_use", "id": call_id, "name": "look_up", "input": {"name": "entry"}}
        result = {"type": "tool_result", "tool_use_id": call_id, "content": RESULT}
        return [
            said,
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [result]},
            {"role": "assistant", "content": [{"type": "text", "text": answer}]},
        ]
    function = {"name": "look_up", "arguments": '{"name": "entry"}'}
    if api == "responses":
        return [
            said,
            {"type": "function_call", "call_id": call_id, **function},
            {"type": "function_call_output", "call_id": call_id, "output": RESULT},
            {"role": "assistant", "content": answer},
        ]
    call = {"id": call_id, "type": "function", "function": function}
    return [
        said,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call_id, "content": RESULT},
        {"role": "assistant", "content": answer},
    ]
