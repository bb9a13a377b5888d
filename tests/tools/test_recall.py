"""What `recall` promises: any message of the record, word for word, within bounds."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from palaver.domain.errors import ToolArgumentsError
from palaver.domain.ids import CallId
from palaver.domain.messages import Message, Role, Text, ToolCall, ToolResult
from palaver.tools.builtin.recall import OUTPUT_CHARS, recall_tool
from palaver.tools.definition import ExecutionContext
from palaver.tools.manager import ToolManager

PATH = (
    Message.user("Where is the Lampenladen in Zürich?"),
    Message.assistant((ToolCall(CallId("a"), "find", '{"what":"lamps"}'),)),
    Message(Role.TOOL, (ToolResult(CallId("a"), "find", (Text("Bahnhofstrasse 12"),)),)),
    Message.assistant("In the Bahnhofstrasse, number 12."),
    Message.user("上海的灯具店在哪里？"),
    Message.assistant("在南京路。"),
    Message.user("Где магазин ламп в Москве? Арбат?"),
    Message.assistant("На Арбате."),
)


async def _asked(
    context: ExecutionContext, path: Sequence[Message] = PATH, **arguments: object
) -> str:
    made = recall_tool()
    return str(await made.execute(dict(arguments), replace(context, history=path)))


@pytest.mark.parametrize(
    "name, shown",
    [
        ("m1", ["Lampenladen"]),
        ("m2-m3", ["find", '{"what":"lamps"}', "Bahnhofstrasse 12"]),
        ("m1, m5", ["Lampenladen", "上海"]),
        ("[m7]", ["Арбат?"]),
        ("m5 m8", ["灯具店", "На Арбате."]),
        ("m2 – m3", ["Bahnhofstrasse 12"]),
    ],
)
async def test_handles(context: ExecutionContext, name: str, shown: list[str]) -> None:
    """A handle, a range or several give the messages as they were said."""
    told = await _asked(context, messages=name)
    assert all(text in told for text in shown)


@pytest.mark.parametrize(
    "query, first",
    [
        ("LAMPENLADEN", "m1"),
        ("bahnhofstrasse number", "m4"),
        ("灯具店", "m5"),
        ("南京路在哪", "m6"),
        ("арбате", "m8"),
        ("ZURICH lampen", "m1"),
    ],
)
async def test_words(context: ExecutionContext, query: str, first: str) -> None:
    """Words are found in any script and case, also within longer words; the best comes first."""
    assert (await _asked(context, query=query)).startswith(f"[{first}, ")


async def test_what_is_not_there(context: ExecutionContext) -> None:
    """Words that nobody said give a sentence, a wrong handle or nothing at all an error that says
    what would be right."""
    assert "Nothing was found" in await _asked(context, query="quokka")
    for wrong in ("m9", "m3-m2", "x", ""):
        with pytest.raises(ToolArgumentsError) as caught:
            await _asked(context, messages=wrong)
        assert caught.value.suggestions


async def test_long_messages_are_paged(context: ExecutionContext) -> None:
    """What does not fit is said, and reading on with the offset that is named gives all of it."""
    text = "".join(f"line {n}\n" for n in range(4_000))
    path = (Message.user(text), Message.user("after it"))
    told = await _asked(context, path, messages="m1-m2")
    assert len(told) < OUTPUT_CHARS + 300
    read, offset = "", 0
    while offset < len(text):
        told = await _asked(context, path, messages="m1", offset=offset)
        read += told.partition("\n")[2].partition("\n\n[…")[0]
        offset = len(read)
    assert read == text


async def test_it_does_not_find_itself(context: ExecutionContext) -> None:
    """What an earlier recall has given is no second source."""
    call = Message.assistant((ToolCall(CallId("r"), "recall", '{"query":"quokka"}'),))
    answer = Message(Role.TOOL, (ToolResult(CallId("r"), "recall", (Text("a quokka"),)),))
    assert "Nothing" in await _asked(context, (*PATH, call, answer), query="quokka")


async def test_offered_only_where_there_is_something_to_recall() -> None:
    """Beside other built-in tools it is always there; elsewhere with the first compaction."""
    tools = ToolManager([recall_tool(only_compacted=True)])
    assert [d.only_compacted for d in tools.specs()] == [True]
    assert tools.definitions() == ()
