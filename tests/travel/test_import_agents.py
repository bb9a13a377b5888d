"""Sessions of coding agents: what each of them writes in a way of its own is understood."""

import base64
import json
from collections import Counter
from typing import Any

from palaver.domain.messages import (
    File,
    Flag,
    Image,
    Message,
    Reasoning,
    Role,
    StopReason,
    Text,
    ToolCall,
)
from palaver.testing import valid_history
from palaver.travel.base import Imported, RepairKind
from palaver.travel.detect import read
from tests.travel.collected import path_of


def lines(*records: Any) -> bytes:
    return b"\n".join(json.dumps(record).encode() for record in records)


def the_one(data: bytes, format: str) -> tuple[Imported, list[Message]]:
    (made,) = read(data)
    assert made.format == format
    path = path_of(made)
    assert valid_history(path) == []
    return made, path


def kinds(made: Imported) -> dict[RepairKind, int]:
    return dict(Counter(entry.kind for entry in made.repairs))


def roles(path: list[Message]) -> str:
    return "".join(message.role[0] for message in path)


def claude(uuid: str, parent: str | None, role: str, content: Any, **more: Any) -> dict[str, Any]:
    message = {"role": role, "content": content}
    if role == "assistant":
        message |= {"id": more.pop("id", uuid), "model": "claude-sonnet-4-5", "usage": {}}
    about = {"sessionId": "s", "cwd": "/w", "timestamp": "2026-03-01T09:05:00Z"}
    return {"type": role, "uuid": uuid, "parentUuid": parent, "message": message, **about, **more}


def use(id: str) -> list[dict[str, Any]]:
    return [{"type": "tool_use", "id": id, "name": "Read", "input": {"path": id}}]


def seen(id: str) -> list[dict[str, Any]]:
    return [{"type": "tool_result", "tool_use_id": id, "content": f"content of {id}"}]


def test_claude_code_joins_the_lines_of_a_message_and_puts_results_behind_it() -> None:
    """Parallel calls in lines of their own, results between them: one message, one answer."""
    thinking = [{"type": "thinking", "thinking": "hm", "signature": "sig"}]
    made, path = the_one(
        lines(
            {"type": "summary", "summary": "Two files", "leafUuid": "r2"},
            claude("u1", None, "user", "read a and b"),
            claude("a1", "u1", "assistant", thinking, id="m1"),
            claude("a2", "a1", "assistant", use("a"), id="m1"),
            claude("r1", "a2", "user", seen("a")),
            claude("a3", "a2", "assistant", use("b"), id="m1"),
            claude("r2", "a3", "user", seen("b")),
            claude("a4", "r1", "assistant", [{"type": "text", "text": "done"}], id="m2"),
        ),
        "claude-code",
    )
    assert roles(path) == "uata"
    assert path[1].content[0] == Reasoning("hm", signature="sig", origin="anthropic.messages")
    assert [result.text for result in path[2].tool_results] == ["content of a", "content of b"]
    assert kinds(made) == {RepairKind.JOINED_MESSAGE: 2}
    assert made.title == "Two files"
    assert made.created_at == 1772355900.0
    assert (made.model, made.custom) == (
        "anthropic:claude-sonnet-4-5",
        {"session": "s", "folder": "/w"},
    )
    assert len(made.messages) == 4


def test_claude_code_keeps_branches_and_leaves_sub_agents_out() -> None:
    """Somebody went back and asked something else: both are there, the later one is the head."""
    made, path = the_one(
        lines(
            claude("u1", None, "user", "hello"),
            claude("a1", "u1", "assistant", [{"type": "text", "text": "hi"}]),
            claude("u2", "a1", "user", "first question"),
            claude("s1", None, "user", "do this", isSidechain=True),
            claude("s2", "s1", "assistant", use("x"), isSidechain=True),
            claude("a2", "u2", "assistant", [{"type": "text", "text": "first answer"}]),
            {"type": "system", "uuid": "y", "parentUuid": "a1", "subtype": "note"},
            claude("u3", "y", "user", "second question"),
            claude("a3", "u3", "assistant", [{"type": "text", "text": "second answer"}]),
        ),
        "claude-code",
    )
    assert [message.text for message in path] == ["hello", "hi", "second question", "second answer"]
    assert {message.text for message in made.messages} >= {"first question", "first answer"}
    assert kinds(made) == {RepairKind.SIDECHAIN: 1}


def test_claude_code_an_interrupted_turn_is_partial() -> None:
    """The call that was under way is answered, and its message flagged."""
    made, path = the_one(
        lines(
            claude("u1", None, "user", "go"),
            claude("a1", "u1", "assistant", use("a")),
            claude("u2", "a1", "user", [{"type": "text", "text": "[Request interrupted by user]"}]),
        ),
        "claude-code",
    )
    assert Flag.PARTIAL in path[1].flags
    assert kinds(made) == {RepairKind.ABORTED_TURN: 1, RepairKind.UNANSWERED_CALL: 1}


def test_claude_code_a_file_of_a_sub_agent_is_a_conversation() -> None:
    """Where everything is a sidechain, nothing is."""
    made, path = the_one(lines(claude("u", None, "user", "do", isSidechain=True)), "claude-code")
    assert [message.text for message in path] == ["do"]
    assert not made.repairs


def item(kind: str, **fields: Any) -> dict[str, Any]:
    return {"timestamp": "2026-03-01T09:05:00Z", "type": "response_item"} | {
        "payload": {"type": kind, **fields}
    }


def test_codex_items_of_one_response_are_one_message() -> None:
    """Thinking, text and calls belong together; free text of a custom tool is wrapped."""
    sealed = {"id": "rs_1", "summary": [{"type": "summary_text", "text": "plan"}]}
    made, path = the_one(
        lines(
            {
                "timestamp": "2026-03-01T09:05:00Z",
                "type": "session_meta",
                "payload": {"id": "x", "cwd": "/w", "instructions": "be good"},
            },
            {"type": "turn_context", "payload": {"model": "gpt-5-codex"}},
            item("message", role="user", content=[{"type": "input_text", "text": "go"}]),
            {"type": "event_msg", "payload": {"type": "user_message", "message": "go"}},
            item("reasoning", encrypted_content="gAAA", **sealed),
            item("message", role="assistant", content=[{"type": "output_text", "text": "I look"}]),
            item("function_call", call_id="c1", name="shell", arguments='{"command":["ls"]}'),
            item("custom_tool_call", call_id="c2", name="apply_patch", input="*** Begin Patch"),
            item("function_call_output", call_id="c1", output="a.txt"),
            item(
                "custom_tool_call_output", call_id="c2", output={"content": "no", "success": False}
            ),
            item("local_shell_call", call_id="c3", action={"type": "exec", "command": ["pwd"]}),
            {"type": "event_msg", "payload": {"type": "turn_aborted", "reason": "interrupted"}},
        ),
        "codex",
    )
    assert roles(path) == "uatat"
    thought = path[1].content[0]
    assert isinstance(thought, Reasoning)
    assert (thought.text, thought.encrypted, thought.id) == ("plan", "gAAA", "rs_1")
    assert json.loads(thought.native)["type"] == "reasoning"
    assert path[1].tool_calls[0].arguments == '{"command":["ls"]}'
    assert path[1].tool_calls[1].parsed() == {"input": "*** Begin Patch"}
    assert [result.failed for result in path[2].tool_results] == [False, True]
    assert path[3].stop is StopReason.ABORTED
    assert (made.system, made.model) == ("be good", "openai:gpt-5-codex")


def test_codex_reads_the_first_versions() -> None:
    """Bare items, and all items in one object."""
    said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go"}]}
    head = {"id": "x", "timestamp": "2025-05-01T00:00:00Z", "instructions": None}
    for data in (
        lines(head, {"record_type": "state"}, said),
        lines({"session": head, "items": [said]}),
    ):
        made, path = the_one(data, "codex")
        assert path[0].text == "go"
        assert made.custom == {"session": "x"}


def test_gemini_calls_come_with_their_results() -> None:
    """Session files and checkpoints give the same conversation."""
    response = {"functionResponse": {"id": "1", "name": "ls", "response": {"output": "a.txt"}}}
    call = {
        "id": "1",
        "name": "ls",
        "args": {"path": "."},
        "status": "success",
        "result": [response],
    }
    session = {
        "sessionId": "s",
        "projectHash": "p",
        "startTime": "2026-03-01T09:05:00Z",
        "messages": [
            {"type": "user", "content": "list"},
            {
                "type": "gemini",
                "content": "I look.",
                "thoughts": [{"subject": "Plan", "description": "look"}],
                "model": "gemini-2.5-pro",
                "toolCalls": [call],
            },
            {"type": "info", "content": "compressed"},
            {"type": "gemini", "content": "a.txt", "model": "gemini-2.5-pro"},
        ],
    }
    checkpoint = [
        {"role": "user", "parts": [{"text": "list"}]},
        {
            "role": "model",
            "parts": [{"text": "I look."}, {"functionCall": {"name": "ls", "args": {"path": "."}}}],
        },
        {
            "role": "user",
            "parts": [{"functionResponse": {"name": "ls", "response": {"output": "a.txt"}}}],
        },
        {"role": "model", "parts": [{"text": "a.txt"}]},
    ]
    for data in (json.dumps(session, indent=1).encode(), json.dumps(checkpoint).encode()):
        made, path = the_one(data, "gemini-cli")
        assert roles(path) == "uata"
        assert path[1].tool_calls[0].parsed() == {"path": "."}
        assert path[2].tool_results[0].text == "a.txt"
        assert not made.repairs


def entry(id: str, parent: str | None, message: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "id": id, "parentId": parent, "message": message}


def test_pi_keeps_aborted_turns_branches_and_pictures() -> None:
    """What had come until the abort stays, flagged; entries name their parents."""
    picture = {"type": "image", "data": base64.b64encode(b"png").decode(), "mimeType": "image/png"}
    about = {"api": "openai-responses", "provider": "openai", "model": "gpt-5.1"}
    cut = [
        {"type": "text", "text": "I will"},
        {"type": "toolCall", "id": "call_1|fc_1", "name": "bash", "arguments": {}},
    ]
    made, path = the_one(
        lines(
            {"type": "session", "id": "s", "timestamp": "2026-03-01T09:05:00Z", "cwd": "/w"},
            entry(
                "1", None, {"role": "user", "content": [{"type": "text", "text": "see"}, picture]}
            ),
            entry(
                "2", "1", {"role": "assistant", "content": cut, "stopReason": "aborted", **about}
            ),
            {"type": "thinking_level_change", "id": "3", "parentId": "1", "thinkingLevel": "high"},
            entry("4", "3", {"role": "assistant", "content": [], "stopReason": "stop", **about}),
            entry("5", "4", {"role": "user", "content": "again"}),
        ),
        "pi",
    )
    shown = path[0].content[1]
    assert isinstance(shown, Image)
    assert shown.blob is not None
    assert made.blobs[shown.blob] == b"png"
    assert [message.text for message in path] == ["see", "again"]
    aborted = next(m for m in made.messages if m.role is Role.ASSISTANT)
    assert Flag.PARTIAL in aborted.flags
    assert aborted.tool_calls[0].id == "call_1"
    assert kinds(made)[RepairKind.EMPTY_MESSAGE] == 1


def test_cline_files_become_blobs() -> None:
    """The newer file with its system prompt and the older bare list are read."""
    messages = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "fix"},
                {"type": "file", "path": "a.py", "content": "x = 1"},
            ],
            "ts": 1783376868634,
        },
        {"role": "assistant", "content": [{"type": "text", "text": "I do"}, *use("t")]},
        {"role": "user", "content": [*seen("t"), {"type": "text", "text": "and?"}]},
    ]
    wrapped = {"version": 1, "agent": "lead", "system_prompt": "You are", "messages": messages}
    for data in (json.dumps(wrapped).encode(), json.dumps(messages).encode()):
        made, path = the_one(data, "cline")
        assert roles(path) == "uatu"
        file = path[0].content[1]
        assert isinstance(file, File)
        assert file.blob is not None
        assert made.blobs[file.blob] == b"x = 1"
        assert path[3].text == "and?"


def test_openhands_pairs_by_cause() -> None:
    """Observations are results of the action that they name, whatever stands between."""
    events = [
        {"id": 0, "source": "agent", "action": "system", "args": {"content": "You are"}},
        {"id": 1, "source": "user", "action": "message", "args": {"content": "go"}},
        {
            "id": 2,
            "source": "agent",
            "action": "run",
            "args": {"command": "ls", "thought": "I look"},
        },
        {
            "id": 3,
            "source": "agent",
            "observation": "agent_state_changed",
            "content": "",
            "extras": {},
        },
        {
            "id": 4,
            "cause": 2,
            "observation": "run",
            "content": "a",
            "extras": {"metadata": {"exit_code": 2}},
        },
        {"id": 5, "source": "agent", "action": "finish", "args": {"final_thought": "done"}},
    ]
    made, path = the_one(json.dumps(events).encode(), "openhands")
    assert roles(path) == "uata"
    assert made.system == "You are"
    assert path[1].content[0] == Text("I look")
    assert path[1].tool_calls[0].parsed() == {"command": "ls"}
    assert path[2].tool_results[0].failed
    assert path[3].text == "done"


def test_swe_agent_commands_are_calls() -> None:
    """Histories and bare steps: thought, command, observation."""
    history = [
        {"role": "system", "content": "You are", "agent": "main"},
        {"role": "user", "content": "fix it", "agent": "main"},
        {
            "role": "assistant",
            "content": "I look.\n```\nls -l\n```",
            "thought": "I look.",
            "action": "ls -l\n",
            "agent": "main",
        },
        {"role": "user", "content": "a.py", "agent": "main"},
    ]
    step = {
        "action": "ls -l",
        "thought": "I look.",
        "observation": "a.py",
        "response": "I look.\nls -l",
    }
    for record in ({"trajectory": [], "history": history, "info": {}}, {"trajectory": [step]}):
        _, path = the_one(json.dumps(record).encode(), "swe-agent")
        calls = [call for message in path for call in message.tool_calls]
        assert [call.parsed() for call in calls] == [{"command": "ls -l"}]
        results = [result.text for message in path for result in message.tool_results]
        assert results == ["a.py"]
        assert "I look." in [message.text for message in path]
        assert isinstance(path[-2].content[1], ToolCall)


AIDER = """
# aider chat started at 2026-03-01 09:05:00

> Aider v0.47.2~~
> Main model: claude-3-5-sonnet with diff edit format~~

#### write it~~
####     indented~~

Here:

```python
# a comment
> no quote
```
#### A heading of the answer

> Tokens: 12 sent~~

#### cut~~

```python
x =

#### next~~

# aider chat started at 2026-03-02 09:05:00

> only the program spoke~~
""".replace("~~", "  ")
"""The two spaces that aider writes behind its lines are `~~` here."""


def test_aider_sessions_of_one_file() -> None:
    """Headings part sessions; code stays whole; a block that was cut does not swallow the rest."""
    made, path = the_one(AIDER.encode(), "aider")
    assert path[0].text == "write it\n    indented"
    assert "# a comment\n> no quote" in path[1].text
    assert [message.text for message in path if message.role is Role.USER][-2:] == ["cut", "next"]
    assert made.created_at == 1772355900.0
    assert made.model == "aider:claude-3-5-sonnet"
