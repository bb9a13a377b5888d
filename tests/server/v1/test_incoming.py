"""Histories of clients, as they become messages of ours."""

import random

import msgspec

from palaver.domain.messages import Block, Role
from palaver.server.v1.chat_shapes import ChatInput
from palaver.server.v1.incoming import read_messages


async def _refused(data: bytes, media_type: str, name: str) -> Block:
    raise AssertionError("nothing is attached")


async def test_many_calls_and_many_answers() -> None:
    """Answers in a row are one message, and results come in the order of their calls, however many
    there are and in whatever order the client has them."""
    names = [f"call_{number}" for number in range(2_000)]
    calls = [
        {"id": n, "type": "function", "function": {"name": "f", "arguments": "{}"}} for n in names
    ]
    results = [{"role": "tool", "tool_call_id": n, "content": n} for n in names]
    random.Random(1).shuffle(results)
    answers = [{"role": "assistant", "tool_calls": [call]} for call in calls]
    history = [{"role": "user", "content": "Go."}, *answers, *results]
    given = msgspec.convert(history, list[ChatInput])
    said = await read_messages(given, _refused)  # type: ignore[arg-type]
    assert [message.role for message in said.messages] == [Role.USER, Role.ASSISTANT, Role.TOOL]
    assert [call.id for call in said.messages[1].tool_calls] == names
    assert [result.call_id for result in said.messages[2].tool_results] == names
