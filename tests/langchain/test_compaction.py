"""`CompactionMiddleware` in LangChain's own agents."""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

pytest.importorskip("langchain.agents")
pytest.importorskip("langgraph")
from langchain.agents import create_agent
from langchain_core.exceptions import ContextOverflowError
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import ConfigDict, PrivateAttr

from palaver.context import count
from palaver.domain.errors import ConfigurationError, ContextWindowExceeded
from palaver.langchain import CompactionMiddleware

BUDGET = 3_000


@tool
def look_up(order: str) -> str:
    """Look an order up."""
    return json.dumps({"order": order, "status": "shipped", "notes": f"parcel of {order} " * 12})


class Loop(BaseChatModel):
    """Calls `look_up` for one order after the other, `width` at a time, then answers. Refuses what
    a provider refuses, and remembers what it was sent."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    rounds: int = 30
    width: int = 2
    window: int = 0
    _sent: list[list[BaseMessage]] = PrivateAttr(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "loop"

    @property
    def sent(self) -> list[list[BaseMessage]]:
        return self._sent

    def bind_tools(self, tools: Sequence[Any], **options: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        if self.window and count(messages) > self.window:
            raise ContextOverflowError("prompt is too long")
        assert_valid(messages)
        self._sent.append(messages)
        said = _since_user(self._sent)
        answer = AIMessage("All done.")
        if said <= self.rounds:
            calls = [
                {"name": "look_up", "args": {"order": f"ORD{said:03}-{n}"}, "id": f"c{said}_{n}"}
                for n in range(self.width)
            ]
            answer = AIMessage("", tool_calls=calls)
        return ChatResult(generations=[ChatGeneration(message=answer)])


def _since_user(sent: list[list[BaseMessage]]) -> int:
    latest = next(m.content for m in reversed(sent[-1]) if _is_request(m))
    return sum(any(m.content == latest for m in each if _is_request(m)) for each in sent)


def _is_request(message: BaseMessage) -> bool:
    return isinstance(message, HumanMessage) and str(message.content).startswith("Request")


def assert_valid(messages: Sequence[BaseMessage]) -> None:
    """Each call is answered once, right behind it; the user speaks first."""
    waiting: list[str] = []
    spoken = [m for m in messages if not isinstance(m, SystemMessage)]
    assert isinstance(spoken[0], HumanMessage)
    for message in spoken:
        if isinstance(message, ToolMessage):
            assert message.tool_call_id in waiting
            waiting.remove(message.tool_call_id)
            continue
        assert waiting == []
        waiting = [c["id"] or "" for c in getattr(message, "tool_calls", ())]
    assert waiting == []


def agent(model: BaseChatModel, middleware: Any, **options: Any) -> Any:
    return create_agent(
        model,
        tools=[look_up],
        system_prompt="You look orders up.",
        middleware=[middleware],
        **options,
    )


REQUEST = {"messages": [HumanMessage("Request: look all orders up, never twice.", id="u1")]}
LIMIT: Any = {"recursion_limit": 500}


def assert_kept_within(sent: list[list[BaseMessage]], budget: int) -> int:
    """The window was valid and within the budget each time, and mostly grew at its end only.
    Returns how often it did not."""
    breaks = 0
    for before, after in pairwise(sent):
        breaks += [_bytes(m) for m in after[: len(before)]] != [_bytes(m) for m in before]
    assert all(count(messages) <= budget for messages in sent)
    return breaks


def _bytes(message: BaseMessage) -> str:
    return message.model_dump_json(exclude={"id"})


def test_a_long_loop_of_tools_stays_within_the_budget() -> None:
    """Valid, within the budget, prefix stable between compactions, the agent's messages whole."""
    model = Loop(rounds=40)
    made = agent(model, CompactionMiddleware(BUDGET)).invoke(REQUEST, LIMIT)
    assert len(model.sent) == 41
    breaks = assert_kept_within(model.sent, BUDGET)
    assert 1 <= breaks <= 12
    assert len(made["messages"]) == 1 + 40 * 3 + 1
    for messages in model.sent:
        assert messages[0].content == "You look orders up."
        assert messages[1].content == REQUEST["messages"][0].content
    assert "palaver_window" not in made


async def test_an_asynchronous_agent_is_sent_the_same() -> None:
    """Both ways give the same windows."""
    one, other = Loop(rounds=20), Loop(rounds=20)
    agent(one, CompactionMiddleware(BUDGET)).invoke(REQUEST, LIMIT)
    await agent(other, CompactionMiddleware(BUDGET)).ainvoke(REQUEST, LIMIT)
    assert [[_bytes(m) for m in s] for s in one.sent] == [
        [_bytes(m) for m in s] for s in other.sent
    ]


def test_parallel_calls_are_never_parted_from_their_results() -> None:
    """Five calls at a time, compacted wherever it falls: no orphan, none unanswered.

    LangChain's own middleware took any shared id for a whole pair (langchain#38352, #34282).
    """
    for budget in range(2_000, 4_400, 400):
        model = Loop(rounds=12, width=5)
        agent(model, CompactionMiddleware(budget)).invoke(REQUEST, LIMIT)
        assert_kept_within(model.sent, budget)


def test_a_checkpointer_carries_the_window_to_another_process() -> None:
    """A new middleware goes on with the very window that the first one made."""
    saver = InMemorySaver()
    config = {"configurable": {"thread_id": "t"}, **LIMIT}
    first, second = Loop(rounds=20), Loop(rounds=1)
    agent(first, CompactionMiddleware(BUDGET), checkpointer=saver).invoke(REQUEST, config)
    more = {"messages": [HumanMessage("Request: one more.", id="u2")]}
    made = agent(second, CompactionMiddleware(BUDGET), checkpointer=saver).invoke(more, config)
    last = first.sent[-1]
    assert [_bytes(m) for m in second.sent[0][: len(last)]] == [_bytes(m) for m in last]
    assert len(made["messages"]) == 62 + 1 + 3 + 1
    assert second.sent[0][-1].content == "Request: one more."


def test_history_that_was_changed_is_compacted_anew() -> None:
    """A stored window of other messages is not used."""
    saver = InMemorySaver()
    config = {"configurable": {"thread_id": "t"}, **LIMIT}
    made = agent(Loop(rounds=20), CompactionMiddleware(BUDGET), checkpointer=saver)
    made.invoke(REQUEST, config)
    fourth = made.get_state(config).values["messages"][1]
    dropped = [RemoveMessage(id=m.id) for m in made.get_state(config).values["messages"][1:4]]
    made.update_state(config, {"messages": dropped})
    model = Loop(rounds=1)
    agent(model, CompactionMiddleware(BUDGET), checkpointer=saver).invoke(
        {"messages": [HumanMessage("Request: again.", id="u2")]}, config
    )
    assert all(m.id != fourth.id for m in model.sent[0])
    assert_kept_within(model.sent, BUDGET)


class Writer(BaseChatModel):
    """Writes summaries, or whatever it is told to."""

    text: str = ""
    error: str = ""
    _asked: list[str] = PrivateAttr(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "writer"

    def _generate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        self._asked.append(str(messages[-1].content))
        if self.error:
            raise RuntimeError(self.error)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self.text))])


GOOD = "## Goal\nLook all orders up, never twice.\n## Done\nThe first orders are shipped."


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_a_model_can_write_the_summaries(is_async: bool) -> None:
    """Its text stands in the window, in place of what went."""
    model, writer = Loop(rounds=25), Writer(text=GOOD)
    made = agent(model, CompactionMiddleware(BUDGET, model=writer))
    if is_async:
        await made.ainvoke(REQUEST, LIMIT)
    else:
        made.invoke(REQUEST, LIMIT)
    assert writer._asked
    assert any("The first orders are shipped." in str(m.content) for m in model.sent[-1])
    assert_kept_within(model.sent, BUDGET)


@pytest.mark.parametrize(
    "writer",
    [Writer(), Writer(error="down"), Writer(text="word " * 20_000)],
    ids=["nothing", "error", "too-much"],
)
def test_a_writer_that_fails_stops_nothing(writer: Writer) -> None:
    """The window is compacted without it."""
    model = Loop(rounds=15)
    agent(model, CompactionMiddleware(BUDGET, model=writer)).invoke(REQUEST, LIMIT)
    assert len(model.sent) == 16
    assert_kept_within(model.sent, BUDGET)


def test_the_agent_can_recall_what_went() -> None:
    """By handle and by word, from the whole history; what is not there is said."""
    tools = {t.name: t for t in CompactionMiddleware(BUDGET).tools}
    recall = tools["recall"]
    assert isinstance(recall, BaseTool)
    assert list(recall.tool_call_schema.model_json_schema()["properties"]) == ["query"]  # type: ignore[union-attr]
    saver = InMemorySaver()
    config = {"configurable": {"thread_id": "t"}, **LIMIT}
    agent(Loop(rounds=20), CompactionMiddleware(BUDGET), checkpointer=saver).invoke(REQUEST, config)

    class Asks(Loop):
        query: str = "m3"

        def _generate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
            self._sent.append(messages)
            call = {"name": "recall", "args": {"query": self.query}, "id": f"r_{self.query}"}
            is_first = len(self._sent) == 1
            answer = AIMessage("", tool_calls=[call]) if is_first else AIMessage("I see.")
            return ChatResult(generations=[ChatGeneration(message=answer)])

    for query, expected in (("m3", "ORD001-0"), ("ORD002-1", "m"), ("m999", "no message")):
        model = Asks(query=query)
        agent(model, CompactionMiddleware(BUDGET), checkpointer=saver).invoke(
            {"messages": [HumanMessage(f"Request: {query}")]}, config
        )
        told = model.sent[-1][-1]
        assert isinstance(told, ToolMessage)
        assert expected in str(told.content)


def test_what_the_provider_finds_too_large_is_sent_smaller_once() -> None:
    """Estimates may be wrong: the provider's word counts."""
    model = Loop(rounds=12, window=1_500)
    agent(model, CompactionMiddleware(BUDGET, with_recall=False)).invoke(REQUEST, LIMIT)
    assert len(model.sent) == 13
    assert_kept_within(model.sent, 1_500)


def test_what_cannot_shrink_is_named() -> None:
    """The request is not sent."""
    model = Loop()
    long = {"messages": [HumanMessage("Request: " + "word " * 5_000)]}
    with pytest.raises(ContextWindowExceeded) as caught:
        agent(model, CompactionMiddleware(BUDGET)).invoke(long, LIMIT)
    assert "message of the user" in caught.value.part
    assert model.sent == []


def test_an_unknown_window_needs_a_budget() -> None:
    """A model that LangChain knows nothing of."""
    with pytest.raises(ConfigurationError):
        agent(Loop(), CompactionMiddleware()).invoke(REQUEST, LIMIT)
