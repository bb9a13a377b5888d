"""Runs of AG-UI, read with the protocol's own types."""

from typing import Any

import pytest
from ag_ui.core import Event
from pydantic import TypeAdapter

from palaver import tool
from palaver.domain.errors import AuthenticationFailed
from palaver.testing import Call, Cut, Fail, Say, ScriptedModel, Think
from tests.server.conftest import Served, Serving

EVENTS: TypeAdapter[Any] = TypeAdapter(Event)


class Thread:
    """What a client of the protocol keeps: the messages of its thread."""

    def __init__(self, served: Served, name: str = "thread-1") -> None:
        self.served, self.name = served, name
        self.messages: list[dict[str, Any]] = []
        self.runs = 0

    def say(self, text: str) -> None:
        self.messages.append({"id": f"u{len(self.messages)}", "role": "user", "content": text})

    def answer(self, call: str, text: str) -> None:
        number = len(self.messages)
        self.messages.append(
            {"id": f"t{number}", "role": "tool", "toolCallId": call, "content": text}
        )

    async def run(self, **more: Any) -> list[dict[str, Any]]:
        """Run the thread; every event is one of the protocol."""
        self.runs += 1
        body = {
            "threadId": self.name,
            "runId": f"run-{self.runs}",
            "messages": self.messages,
            "state": {},
            "tools": [],
            "context": [],
            "forwardedProps": {},
            **more,
        }
        async with self.served.http.post("/api/ag-ui", json=body) as answer:
            assert answer.status == 200, await answer.text()
            raw = await answer.read()
        lines = [line[6:] for line in raw.split(b"\n") if line.startswith(b"data: ")]
        events = [EVENTS.validate_json(line) for line in lines]
        plain = [e.model_dump(mode="json", by_alias=True, exclude_none=True) for e in events]
        self._fold(plain)
        return plain

    def _fold(self, events: list[dict[str, Any]]) -> None:
        """As clients do: messages grow by what is streamed."""
        by_id: dict[str, dict[str, Any]] = {}
        calls: dict[str, dict[str, Any]] = {}
        for event in events:
            match event["type"]:
                case "TEXT_MESSAGE_START":
                    made = {"id": event["messageId"], "role": "assistant", "content": ""}
                    by_id[event["messageId"]] = made
                    self.messages.append(made)
                case "TEXT_MESSAGE_CONTENT":
                    by_id[event["messageId"]]["content"] += event["delta"]
                case "TOOL_CALL_START":
                    parent = by_id.get(event["parentMessageId"])
                    if parent is None:
                        parent = {"id": event["parentMessageId"], "role": "assistant"}
                        by_id[event["parentMessageId"]] = parent
                        self.messages.append(parent)
                    function = {"name": event["toolCallName"], "arguments": ""}
                    call = {"id": event["toolCallId"], "type": "function", "function": function}
                    parent.setdefault("toolCalls", []).append(call)
                    calls[call["id"]] = call
                case "TOOL_CALL_ARGS":
                    calls[event["toolCallId"]]["function"]["arguments"] += event["delta"]
                case "TOOL_CALL_RESULT":
                    self.answer(event["toolCallId"], event["content"])
                case "MESSAGES_SNAPSHOT":
                    self.messages = list(event["messages"])
                case _:
                    pass


def kinds(events: list[dict[str, Any]]) -> list[str]:
    found: list[str] = []
    for event in events:
        if not found or found[-1] != event["type"] or not event["type"].endswith("CONTENT"):
            found.append(event["type"])
    return found


@tool(effect="read")
def double(number: int) -> int:
    """Twice the number."""
    return number * 2


@tool(effect="effect")
async def send(to: str) -> str:
    """Send it."""
    return f"sent to {to}"


BROWSER = {
    "name": "colour",
    "description": "Change the page's colour.",
    "parameters": {"type": "object", "properties": {"to": {"type": "string"}}},
}


async def test_text_and_reasoning(serving: Serving) -> None:
    """A run begins, thinks, says, and ends; the next one goes on with the same conversation."""
    model = ScriptedModel([[Think("Hm. "), Say("Good day.")], "Again."])
    thread = Thread(await serving(model))
    thread.say("Hello")
    events = await thread.run()
    assert kinds(events) == [
        "RUN_STARTED",
        "REASONING_START",
        "REASONING_MESSAGE_START",
        "REASONING_MESSAGE_CONTENT",
        "REASONING_MESSAGE_END",
        "REASONING_END",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "RUN_FINISHED",
    ]
    assert events[0]["protocolVersion"] == "1.0"
    assert events[-1]["outcome"] == {"type": "success"}
    assert events[-1]["usage"][0]["outputTokens"] > 0
    thread.say("And?")
    await thread.run()
    assert thread.messages[-1]["content"] == "Again."
    assert [m.text for m in model.requests[1].messages] == ["Hello", "Good day.", "And?"]
    async with thread.served.server.tenants.use("local") as manager:
        assert len((await manager.list()).items) == 1


async def test_tools_of_the_server_and_of_the_client(serving: Serving) -> None:
    """The server runs its own; the client is left with its own, and its result goes on."""
    first = [Call("double", {"number": 21}), Call("colour", {"to": "red"})]
    thread = Thread(await serving(ScriptedModel([first, "Red, and 42."]), tools=[double]))
    thread.say("Go")
    events = await thread.run(tools=[BROWSER])
    results = [e for e in events if e["type"] == "TOOL_CALL_RESULT"]
    assert [e["content"] for e in results] == ["42"]
    pending = events[-1]["outcome"]["pendingToolCallIds"]
    assert len(pending) == 1
    thread.answer(pending[0], "it is red")
    events = await thread.run(tools=[BROWSER])
    assert kinds(events) == [
        "RUN_STARTED",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "RUN_FINISHED",
    ]
    assert thread.messages[-1]["content"] == "Red, and 42."


async def test_an_effect_is_an_interrupt(serving: Serving) -> None:
    """A call that a person has to allow interrupts the run; the answer resumes it."""
    thread = Thread(
        await serving(ScriptedModel([[Call("send", {"to": "Ada"})], "Ok."]), tools=[send])
    )
    thread.say("Send it")
    events = await thread.run()
    (interrupt,) = events[-1]["outcome"]["interrupts"]
    assert interrupt["reason"] == "tool_approval"
    entry = {"interruptId": interrupt["id"], "status": "resolved", "payload": {"approved": True}}
    events = await thread.run(resume=[entry])
    assert not [e for e in events if e["type"] == "TOOL_CALL_START"]
    assert [e["content"] for e in events if e["type"] == "TOOL_CALL_RESULT"] == ["sent to Ada"]
    assert thread.messages[-1]["content"] == "Ok."


async def test_what_a_client_drops_is_a_branch(serving: Serving) -> None:
    """A client that edits its history goes on from there; the record keeps both."""
    thread = Thread(await serving(ScriptedModel(["One.", "Two.", "Three."])))
    thread.say("first")
    await thread.run()
    thread.say("second")
    await thread.run()
    del thread.messages[2:]
    thread.say("another second")
    await thread.run()
    async with thread.served.server.tenants.use("local") as manager:
        conversation = await manager.find("last")
        assert [m.text for m in conversation.messages] == [
            "first",
            "One.",
            "another second",
            "Three.",
        ]
        assert len(conversation.branches()) == 2


async def test_a_failure_is_a_run_error(serving: Serving) -> None:
    """A turn that fails ends the run with its code and what to do."""
    thread = Thread(await serving(ScriptedModel([[Fail(AuthenticationFailed("no"))]])))
    thread.say("Hello")
    events = await thread.run()
    assert events[-1]["type"] == "RUN_ERROR"
    assert events[-1]["code"] == "provider_auth"


async def test_a_torn_stream_is_put_right(serving: Serving) -> None:
    """What a broken stream showed of a call is taken back by a snapshot; the client's messages are
    those of the conversation."""
    model = ScriptedModel([[Say("Let me. "), Call("double", {"number": 1}), Cut()], ["whole"]])
    thread = Thread(await serving(model, tools=[double]))
    thread.say("Go")
    events = await thread.run()
    assert events[-1]["type"] == "RUN_FINISHED"
    said = "".join(m.get("content") or "" for m in thread.messages if m["role"] == "assistant")
    assert said == "Let me. whole"
    assert not [m for m in thread.messages if m.get("toolCalls")]


@pytest.mark.parametrize(
    "body", [{}, {"threadId": "x", "runId": "y"}, {"threadId": 1, "runId": "y", "messages": []}]
)
async def test_bad_input(serving: Serving, body: dict[str, Any]) -> None:
    """What is no RunAgentInput is refused, with the field that is wrong."""
    served = await serving()
    async with served.http.post("/api/ag-ui", json=body) as answer:
        assert answer.status == 422
        assert (await answer.json())["code"] == "invalid_input"


async def test_nothing_to_answer(serving: Serving) -> None:
    """A thread that ends with an answer has nothing to run."""
    thread = Thread(await serving(ScriptedModel(["One."])))
    thread.say("first")
    await thread.run()
    body = {"threadId": "thread-1", "runId": "r", "messages": thread.messages}
    async with thread.served.http.post("/api/ag-ui", json=body) as answer:
        assert answer.status == 422
