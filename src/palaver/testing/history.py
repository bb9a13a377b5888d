"""What every provider accepts as history, as one pure check.

The rules are the intersection of Anthropic Messages, OpenAI chat completions and responses: a
history without problems can be sent to any of them by an adapter that only translates.
"""

from collections import Counter
from collections.abc import Sequence

from palaver.domain.messages import (
    File,
    Image,
    Message,
    Reasoning,
    Refusal,
    Role,
    StopReason,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
)

_PROMPT = (Text, Image, File)
_REPLY = (Text, Reasoning, Refusal, ToolCall, Unknown, Image, File)
_ALLOWED: dict[Role, tuple[type, ...]] = {
    Role.SYSTEM: (Text,),
    Role.USER: (*_PROMPT, Unknown),
    Role.ASSISTANT: _REPLY,
    Role.TOOL: (ToolResult,),
}


def valid_history(messages: Sequence[Message]) -> list[str]:
    """What is wrong with `messages`, one sentence each; empty when any provider takes them.

    Valid is: no empty message; blocks only where they belong; each call answered exactly once, by
    the tool message right behind it, in call order; no two assistant messages in a row (unless the
    first one paused); the first one who speaks, system messages aside, is the user.
    """
    if not messages:
        return ["there are no messages"]
    problems: list[str] = []
    before: Message | None = None
    for number, message in enumerate(messages):
        found = [*_content(message), *_place(message, before)]
        problems += [f"messages[{number}] ({message.role}): {problem}" for problem in found]
        before = message
    assert before is not None
    if before.role is Role.ASSISTANT and before.tool_calls:
        problems.append(f"the last message leaves calls open: {_ids(before)}")
    return problems


def sendable(messages: Sequence[Message], *, prefill: bool = False) -> list[str]:
    """As `valid_history`, and somebody waits for the model: the end is no finished reply."""
    problems = valid_history(messages)
    last = messages[-1] if messages else None
    if last is None or prefill or last.role in (Role.USER, Role.TOOL):
        return problems
    if last.role is Role.ASSISTANT and last.stop is StopReason.PAUSE:
        return problems
    return [*problems, f"the last message is of role {last.role}; nobody waits for an answer"]


def _content(message: Message) -> list[str]:
    problems = [
        f"a block of type {type(block).__name__} does not belong here"
        for block in message.content
        if not isinstance(block, _ALLOWED[message.role])
    ]
    if not message.content:
        problems.append("it is empty")
    elif all(isinstance(b, Text) and not b.text.strip() for b in message.content):
        problems.append("it holds nothing but white space")
    problems += ["a call has no id" for call in message.tool_calls if not call.id]
    problems += ["a call has no name" for call in message.tool_calls if not call.name]
    problems += _repeated("call", [call.id for call in message.tool_calls])
    return problems


def _place(message: Message, before: Message | None) -> list[str]:
    expected = before.tool_calls if before is not None and before.role is Role.ASSISTANT else ()
    if message.role is Role.TOOL:
        return _answers(message, expected)
    problems = []
    if expected:
        assert before is not None
        problems.append(f"the calls before it are not answered: {_ids(before)}")
    if message.role is Role.ASSISTANT:
        if before is None or before.role is Role.SYSTEM:
            problems.append("nobody has spoken before the assistant")
        elif before.role is Role.ASSISTANT and before.stop is not StopReason.PAUSE:
            problems.append("it follows another assistant message")
    return problems


def _answers(message: Message, expected: Sequence[ToolCall]) -> list[str]:
    asked = [call.id for call in expected]
    answered = [result.call_id for result in message.tool_results]
    if asked == answered:
        return [] if asked else ["it answers no calls"]
    problems = _repeated("result", answered)
    problems += [f"call {id} has no result" for id in asked if id not in answered]
    problems += [f"result {id} belongs to no call before it" for id in answered if id not in asked]
    return problems or ["the results are not in call order"]


def _repeated(what: str, ids: Sequence[str]) -> list[str]:
    return [f"{what} {id} occurs {count} times" for id, count in Counter(ids).items() if count > 1]


def _ids(message: Message) -> str:
    return ", ".join(call.id for call in message.tool_calls)
