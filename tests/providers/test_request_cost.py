"""What a request costs depends on what is new, on all three wires."""

import asyncio
import sys
from collections.abc import Coroutine, Iterator
from types import FrameType
from typing import Any, ClassVar, Protocol, TypeVar

import pytest
from hypothesis import given, settings, strategies as st

from palaver.domain.history import History
from palaver.domain.ids import BlobId, CallId, ConversationId, MessageId
from palaver.domain.messages import Block, Image, Message, Role, Text, ToolCall, ToolResult
from palaver.providers.anthropic_request import RequestEncoder
from palaver.providers.base import ModelInfo, ModelRequest, ToolSpec
from palaver.providers.fragments import (
    KEPT_CONVERSATIONS,
    RUN_BYTES,
    Body,
    EncodedMessages,
    Kept,
    Latest,
    same_tools,
)
from palaver.providers.openai_chat_request import ChatRequests
from palaver.providers.openai_request import Refused, Server
from palaver.providers.openai_responses_request import ResponsesRequests

TALK = ConversationId("c1")
WIRES = ("anthropic", "chat", "responses")
MARK = b',"cache_control":{"type":"ephemeral"}'
TOOLS = tuple(ToolSpec(f"tool{n}", "Does.", {"type": "object"}) for n in range(3))
T = TypeVar("T")


class Writes(Protocol):
    async def body(self, request: ModelRequest) -> Body: ...


class Anthropic(RequestEncoder):
    body = RequestEncoder.encode


def writer(wire: str) -> Writes:
    if wire == "anthropic":
        info = ModelInfo("anthropic:claude-sonnet-4-5")
        return Anthropic(model="claude-sonnet-4-5", info=info, provider="anthropic")
    requests = ChatRequests if wire == "chat" else ResponsesRequests
    server = Server("https://api.openai.com/v1")
    return requests(model="m", server=server, info=ModelInfo("openai:m"), refused=Refused())


class Counted(Message, frozen=True, gc=False):
    """A message that counts who looks into it."""

    looks: ClassVar[int] = 0

    def __getattribute__(self, name: str) -> Any:
        if name == "content":
            Counted.looks += 1
        return super().__getattribute__(name)


def turn(number: int) -> Iterator[list[Message]]:
    """The messages before the turn's first request, and those before its second."""
    call = ToolCall(CallId(f"call_{number}"), "tool0", '{"x":1}')
    result = ToolResult(call.id, "tool0", (Text("r" * 200),))
    yield [Counted(Role.USER, (Text("q" * 300),), MessageId(f"u{number}"))]
    yield [
        Counted(Role.ASSISTANT, (call,), MessageId(f"a{number}")),
        Counted(Role.TOOL, (result,), MessageId(f"t{number}")),
    ]


def answer(number: int) -> Message:
    return Counted(Role.ASSISTANT, (Text("a" * 1200),), MessageId(f"b{number}"))


def finished(work: Coroutine[Any, Any, T]) -> T:
    """The outcome of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise AssertionError("it waited")


def counted(work: Coroutine[Any, Any, T]) -> tuple[T, int]:
    """The outcome, and the number of functions that were called for it."""
    calls = 0

    def note(_: FrameType, event: str, __: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        return finished(work), calls
    finally:
        sys.setprofile(before)


@pytest.mark.parametrize("wire", WIRES)
def test_turn_500_looks_at_as_much_as_turn_10(wire: str) -> None:
    """Neither messages looked at, nor functions called, nor bytes made grow with the history."""
    kept = writer(wire)
    history: History[Message] = History()
    looks: dict[int, list[int]] = {10: [], 500: []}
    calls: dict[int, list[int]] = {10: [], 500: []}
    before: Body = []
    for number in range(505):
        for new in turn(number):
            for message in new:
                history = history.append(message)
            # As the engine does: equal tools, made anew for each request.
            tools = tuple(ToolSpec(t.name, t.description, t.schema) for t in TOOLS)
            request = ModelRequest(history, "Be brief.", tools, conversation=TALK)
            Counted.looks = 0
            body, made = counted(kept.body(request))
            for mark in (10, 500):
                if abs(number - mark) < 5:
                    looks[mark].append(Counted.looks)
                    calls[mark].append(made)
            fresh = [piece for piece in body if not any(piece is old for old in before)]
            assert sum(map(len, fresh)) < 3 * RUN_BYTES
            before = body
        history = history.append(answer(number))
    assert looks[10] == looks[500]
    assert looks[10][0] > 0
    assert sorted(calls[500])[9] <= sorted(calls[10])[9]
    assert sum(map(len, before)) > 5 * RUN_BYTES


@pytest.mark.parametrize("wire", WIRES)
def test_what_was_sent_begins_what_is_sent(wire: str) -> None:
    """Each request repeats the bytes of the one before it, but for cache marks."""
    kept = writer(wire)
    history: History[Message] = History()
    before = b""
    for number in range(120):
        for new in turn(number):
            for message in new:
                history = history.append(message)
            request = ModelRequest(history, "Be brief.", TOOLS, conversation=TALK)
            body = b"".join(finished(kept.body(request)))
            plain = body.replace(MARK, b"")
            # Behind the last message of before stood what ends the body, and perhaps its turn.
            assert plain.startswith(before.rstrip(b"]}"))
            assert body.count(MARK) <= 4
            before = plain
        history = history.append(answer(number))


SAID = st.sampled_from(["", "short", "long " * 4000])


def asked(number: int, text: str, *, called: bool, blob: bool) -> list[Message]:
    """A round: said, answered, and perhaps a call with its result."""
    content: list[Block] = [Text(text)]
    if blob:
        content.append(Image("image/png", blob=BlobId("b")))
    made = [Message(Role.USER, tuple(content), MessageId(f"u{number}"))]
    if called:
        call = ToolCall(CallId(f"c{number % 3}"), "tool0", "{}")
        result = ToolResult(call.id, "tool0", (Text(text),))
        made.append(Message(Role.ASSISTANT, (call,), MessageId(f"a{number}")))
        made.append(Message(Role.TOOL, (result,), MessageId(f"t{number}")))
    return [*made, Message(Role.ASSISTANT, (Text(text or "ok"),), MessageId(f"b{number}"))]


@pytest.mark.parametrize("wire", WIRES)
@settings(deadline=None, max_examples=30)
@given(
    rounds=st.lists(st.tuples(SAID, st.booleans(), st.booleans()), min_size=1, max_size=8),
    cuts=st.lists(st.integers(0, 12), min_size=8, max_size=8),
    plain=st.booleans(),
)
def test_kept_or_not_the_bytes_are_the_same(
    wire: str, rounds: list[tuple[str, bool, bool]], cuts: list[int], plain: bool
) -> None:
    """Grown, cut, folded, taken in turns, as history or tuple: as a fresh writer writes it."""

    async def read(_: BlobId) -> bytes:
        return b"x" * 50_000

    async def run() -> None:
        kept = writer(wire)
        path: History[Message] = History()
        for number, ((text, called, blob), cut) in enumerate(zip(rounds, cuts, strict=False)):
            for message in asked(number, text, called=called, blob=blob):
                path = path.append(message)
            summary = Message.user("What was said so far.", id="s")
            sequences = [
                path.append(Message.user("next", id=f"n{number}")),
                History([summary, *path[min(cut, len(path)) :]]),
                path.first(max(1, len(path) - cut)),
                path,
            ]
            for messages in sequences:
                given = tuple(messages) if plain else messages
                request = ModelRequest(given, "s", TOOLS, conversation=TALK, read_blob=read)
                body = b"".join(await kept.body(request))
                assert body == b"".join(await writer(wire).body(request))

    asyncio.run(run())


@pytest.mark.parametrize("wire", WIRES)
def test_two_sequences_of_a_conversation_do_not_push_each_other_out(wire: str) -> None:
    """What two of them, asked in turns, have in common is encoded twice at most, and then only what
    is new of either."""
    kept = writer(wire)
    main: History[Message] = History()
    for number in range(100):
        for message in (*next(turn(number)), answer(number)):
            main = main.append(message)
    Counted.looks = 0
    finished(kept.body(ModelRequest(main, conversation=TALK)))
    whole = Counted.looks
    aside = main.append(Message.user("What was said so far?", id="s"))
    Counted.looks = 0
    for number in range(100, 120):
        for message in (answer(number), *next(turn(number))):
            main, aside = main.append(message), aside.append(message)
        for messages in (aside, main, main):
            finished(kept.body(ModelRequest(messages, conversation=TALK)))
    assert Counted.looks < 2 * whole


def encoded(size: int, *messages: Message) -> EncodedMessages:
    made = EncodedMessages()
    made.add(b"x" * size)
    made.messages = History(messages)
    return made


def test_what_is_kept_is_bounded() -> None:
    """The conversations that were quiet for longest leave first; what is larger than all is not
    kept."""
    kept = Kept(EncodedMessages, capacity=10)
    a, b, c = (Message.user(name, id=name) for name in "abc")
    for message in (a, b):
        kept.put(ConversationId(message.id), encoded(4, message))
    again = kept.take(ConversationId("a"), History([a, c]))
    assert (again.size, kept.size, len(kept)) == (4, 4, 1)
    kept.put(ConversationId("a"), again)
    kept.put(ConversationId("c"), encoded(4, c))
    assert (kept.size, len(kept)) == (8, 2)
    assert kept.take(ConversationId("b"), History([b])).size == 0
    assert kept.take(ConversationId("c"), History([c])).size == 4
    kept.put(ConversationId("d"), encoded(11, c))
    assert (kept.size, len(kept)) == (0, 0)
    for number in range(KEPT_CONVERSATIONS + 5):
        kept.put(ConversationId(str(number)), encoded(0, c))
    assert len(kept) == KEPT_CONVERSATIONS


def test_only_the_very_messages_are_a_beginning() -> None:
    """Equal messages are others; the longest beginning is taken; unused ones are let go."""
    kept = Kept(EncodedMessages)
    a, b = Message.user("a", id="a"), Message.user("b", id="b")
    kept.put(TALK, encoded(1, a))
    kept.put(TALK, encoded(2, a, b))
    assert kept.take(TALK, History([Message.user("a", id="a"), b])).size == 0
    assert kept.take(None, History([a, b])).size == 0
    longest = kept.take(TALK, History([a, b]))
    assert longest.size == 2
    for _ in range(3):
        kept.put(TALK, longest)
        longest = kept.take(TALK, History([a, b]))
    assert (kept.size, len(kept)) == (0, 0)


def test_tools_are_told_apart() -> None:
    """Tools that are made anew are the same; another schema is another, even an equal one."""
    encodings = 0

    def encode(tools: tuple[ToolSpec, ...]) -> bytes:
        nonlocal encodings
        encodings += 1
        return b"x"

    latest = Latest(encode, same=same_tools)
    schema = {"type": "object", "default": 1}
    for _ in range(3):
        latest.of((ToolSpec("a", "A", schema),))
    assert encodings == 1
    latest.of((ToolSpec("a", "A", {**schema, "default": True}),))
    latest.of((ToolSpec("b", "A", schema),))
    latest.of(())
    assert encodings == 4
