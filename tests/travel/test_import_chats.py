"""Collections of chats and of service dialogues: trees, people's tools, plain turns."""

import json
from typing import Any

from palaver.domain.messages import Role
from palaver.testing import valid_history
from palaver.travel.base import RepairKind
from palaver.travel.detect import read
from palaver.travel.repair import BEGINNING
from tests.travel.collected import path_of


def reply(id: str, role: str, *replies: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"message_id": id, "role": role, "text": f"text {id}", "replies": list(replies), **more}


def test_oasst_trees_keep_every_branch_and_end_at_the_best() -> None:
    """The head follows the best rank; the flat form gives the same."""
    best = reply("c", "assistant", reply("d", "prompter"), rank=0)
    tree = {
        "message_tree_id": "a",
        "prompt": reply("a", "prompter", reply("b", "assistant", rank=1), best),
    }
    flat = [
        {
            "message_tree_id": "a",
            "parent_id": above,
            "message_id": id,
            "role": role,
            "text": f"text {id}",
        }
        | ({"rank": rank} if rank is not None else {})
        for id, above, role, rank in (
            ("a", None, "prompter", None),
            ("b", "a", "assistant", 1),
            ("c", "a", "assistant", 0),
            ("d", "c", "prompter", None),
        )
    ]
    for records in ([tree], flat):
        (made,) = read("\n".join(map(json.dumps, records)).encode())
        assert made.format == "oasst"
        assert [message.text for message in path_of(made)] == ["text a", "text c", "text d"]
        assert {message.text for message in made.messages} == {f"text {id}" for id in "abcd"}


def test_tau_calls_of_the_person_are_text() -> None:
    """The agent's calls stay calls; it never could call what the person calls."""
    messages = [
        {"role": "assistant", "content": "Hi!"},
        {
            "role": "user",
            "content": None,
            "tool_calls": [{"id": "1", "name": "look", "arguments": {}, "requestor": "user"}],
        },
        {"role": "tool", "id": "1", "content": "bars: 4", "requestor": "user", "error": False},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "2", "name": "find", "arguments": {"id": "L"}, "requestor": "assistant"}
            ],
        },
        {"role": "tool", "id": "2", "content": "nobody", "requestor": "assistant", "error": True},
    ]
    for record in (
        {"id": "x", "messages": messages},
        {"simulations": [{"id": "x", "messages": messages}]},
    ):
        (made,) = read(json.dumps(record).encode())
        path = path_of(made)
        assert made.format == "tau"
        assert valid_history(path) == []
        assert path[0].text == BEGINNING
        assert path[2].text == "[look {}]\nbars: 4"
        assert path[3].tool_calls[0].parsed() == {"id": "L"}
        assert path[4].tool_results[0].failed
        assert {r.kind for r in made.repairs} == {RepairKind.MISSING_USER, RepairKind.MISPLACED}


def test_tau_airline_reads_openai_calls() -> None:
    """The system prompt is the conversation's; calls keep their arguments as written."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":  1}'}}
    messages = [
        {"role": "system", "content": "policy"},
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "name": "f", "content": ""},
    ]
    (made,) = read(json.dumps([{"task_id": 3, "reward": 1.0, "traj": messages}]).encode())
    assert made.format == "tau"
    assert made.system == "policy"
    assert path_of(made)[1].tool_calls[0].arguments == '{"a":  1}'


def test_taskmaster_services_are_calls() -> None:
    """What the annotations say was called is called, and answered."""
    notes = [
        {"name": "api_call", "value": "order", "context": "api_call_0"},
        {"name": "request", "value": '{"n": 1}', "context": "api_call_0"},
        {"name": "api_response", "value": "order", "context": "api_response_0"},
        {"name": "response", "value": '{"ok": true}', "context": "api_response_0"},
    ]
    dialogue = {
        "conversation_id": "d",
        "utterances": [
            {"speaker": "user", "text": "one tea", "annotations": notes},
            {"speaker": "assistant", "text": "here", "annotations": []},
        ],
    }
    (made,) = read(json.dumps(dialogue).encode())
    path = path_of(made)
    assert [message.role for message in path] == [
        Role.USER,
        Role.ASSISTANT,
        Role.TOOL,
        Role.ASSISTANT,
    ]
    assert path[1].tool_calls[0].parsed() == {"n": 1}
    assert path[2].tool_results[0].text == '{"ok": true}'


def test_plain_turns_under_many_names() -> None:
    """Speakers and fields differ; the conversation is the same."""
    records = [
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
        {"task": "X", "history": [{"user": "a", "bot": "b"}]},
        {"turns": [{"speaker": "Customer", "text": "a"}, {"speaker": "Agent", "text": "b"}]},
    ]
    made = read("\n".join(map(json.dumps, records)).encode(), format="plain")
    assert [[m.text for m in path_of(one)] for one in made] == [["a", "b"]] * 3
    assert {one.format for one in read(json.dumps(records[0]).encode())} <= {"plain", "openai"}
