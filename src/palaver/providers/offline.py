"""The model without a model: an honest responder that needs no key and no network.

It understands requests by patterns (`offline_intents`), lets the engine run the tools that they
need, as any model would, and reports the results word for word. It picks sentences for a summary
and finds what was said before. To everything else it answers that it cannot, and how to set a key.
The same request always gives the same answer.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence

import msgspec

from palaver.domain.errors import InvalidRequest, StreamTruncated
from palaver.domain.ids import CallId
from palaver.domain.messages import Block, Message, Role, StopReason, Text, ToolCall
from palaver.domain.values import Usage
from palaver.providers.base import (
    CallArguments,
    CallCompleted,
    CallStarted,
    Finished,
    ModelEvent,
    ModelInfo,
    ModelRequest,
    TextPart,
    ToolSpec,
)
from palaver.providers.catalogue import OFFLINE
from palaver.providers.offline_calls import Note, Wanted, explicit
from palaver.providers.offline_intents import wishes
from palaver.providers.offline_replies import (
    ASK_AGAIN,
    KEY_HELP,
    STANDS_IN,
    cannot,
    local,
    report,
    small_talk,
)

_SENTENCE = re.compile(r".*?(?:[.!?:]\s+|\n+|$)", re.DOTALL)
_WORD = re.compile(r"\S+\s*|\s+")


class OfflineModel:
    """A `Model` that is no language model and says so. `stands_in`: for a model that cannot be
    reached, which each of its answers begins with."""

    def __init__(self, *, stands_in: bool = False) -> None:
        self._stands_in = stands_in

    @property
    def name(self) -> str:
        """`offline`."""
        return OFFLINE.name

    @property
    def info(self) -> ModelInfo:
        """Tools, and nothing else that a model can do; it costs nothing."""
        return OFFLINE

    def stream(self, request: ModelRequest) -> "OfflineStream":
        """Begin an answer."""
        return OfflineStream(request, stands_in=self._stands_in)

    async def aclose(self) -> None:
        """There is nothing to give back."""


class OfflineStream:
    """One answer, in words; a batch is about a sentence."""

    def __init__(self, request: ModelRequest, *, stands_in: bool = False) -> None:
        self.request_id = ""
        self._request, self._stands_in = request, stands_in
        self._said: list[str] = []
        self._calls: list[ToolCall] = []
        self._usage: Usage | None = None
        self._is_closed = False

    async def __aiter__(self) -> AsyncIterator[list[ModelEvent]]:
        """The batches. Raises InvalidRequest for structured output."""
        if self._request.output is not None:
            raise InvalidRequest(
                "the offline responder cannot fill in a schema",
                hint="Choose a language model for structured output: set ANTHROPIC_API_KEY or "
                "OPENAI_API_KEY, or pass a model.",
            )
        answer = _answer(self._request, stands_in=self._stands_in)
        for sentence in _SENTENCE.findall(answer.text):
            if sentence:
                await self._go_on()
                self._said.append(sentence)
                yield [TextPart(word) for word in _WORD.findall(sentence)]
        for call in answer.calls:
            await self._go_on()
            self._calls.append(call)
            yield _events(call)
        await self._go_on()
        self._usage = answer.usage
        stop = StopReason.TOOL_USE if answer.calls else StopReason.END_TURN
        yield [Finished(self.partial(), stop, answer.usage, model=OFFLINE.name)]

    def partial(self) -> tuple[Block, ...]:
        """What has come so far."""
        text = "".join(self._said)
        return (*((Text(text),) if text else ()), *self._calls)

    def usage(self) -> Usage | None:
        """An estimate, at the end."""
        return self._usage

    async def aclose(self) -> None:
        """Say nothing more."""
        self._is_closed = True

    async def _go_on(self) -> None:
        await asyncio.sleep(0)  # others run between batches, so an abort is noticed
        if self._is_closed:
            raise StreamTruncated("the answer was closed before its end", in_stream=True)


class _Answer(msgspec.Struct, frozen=True):
    text: str
    calls: tuple[ToolCall, ...]
    usage: Usage


def _answer(request: ModelRequest, *, stands_in: bool) -> _Answer:
    answer = _answer_alone(request, stands_in=stands_in)
    if not stands_in or not answer.text:
        return answer
    return msgspec.structs.replace(answer, text=f"{STANDS_IN}\n\n{answer.text}")


def _answer_alone(request: ModelRequest, *, stands_in: bool) -> _Answer:
    last = request.messages[-1] if request.messages else None
    if last is not None and last.role is Role.TOOL:
        asked = request.messages[-2].tool_calls if len(request.messages) > 1 else ()
        read = sum(len(result.text) for result in last.tool_results)
        return _answered(report(asked, last.tool_results), (), read)
    message = _asked(request.messages)
    text = "" if message is None else message.text
    said, wanted = _considered(request, text, message, away=stands_in)
    calls = tuple(
        ToolCall(
            # Unique in the conversation: no other message has this number.
            CallId(f"offline_{len(request.messages)}_{i}"),
            wish.tool,
            msgspec.json.encode(wish.arguments).decode(),
        )
        for i, wish in enumerate(wanted)
    )
    return _answered(said, calls, len(text))


def _answered(text: str, calls: tuple[ToolCall, ...], read: int) -> _Answer:
    written = len(text) + sum(len(call.name) + len(call.arguments) for call in calls)
    usage = Usage(input=read // 4 + 1, output=written // 4 + 1, estimated=True)
    return _Answer(text, calls, usage)


def _asked(messages: Sequence[Message]) -> Message | None:
    """The newest user message."""
    return next((m for m in reversed(messages) if m.role is Role.USER), None)


def _considered(
    request: ModelRequest, text: str, message: Message | None, *, away: bool
) -> tuple[str, list[Wanted]]:
    """What to say, and what to call."""
    choice = request.settings.tool_choice
    tools = () if choice == "none" else request.tools
    found = local(text, request.messages)
    if found is not None:
        return found, []
    asked = wishes(text, tools) or _forced(text, tools, choice)
    notes = [wish.text for wish in asked if isinstance(wish, Note)]
    wanted = [wish for wish in asked if isinstance(wish, Wanted)]
    if notes or wanted:
        if not wanted:
            notes.append("I am no language model; `help` says what I can do.")
        return "\n\n".join(dict.fromkeys(notes)), wanted
    advice = ASK_AGAIN if away else KEY_HELP
    said = small_talk(text, tools, advice=advice) or cannot(message, tools, advice=advice)
    return said, []


def _forced(text: str, tools: Sequence[ToolSpec], choice: str) -> list[Wanted | Note]:
    """The call of the tool that the caller insists on, if the text can be its argument."""
    tool = next((tool for tool in tools if tool.name == choice), None)
    return [] if tool is None else [explicit(tool, text, 0)]


def _events(call: ToolCall) -> list[ModelEvent]:
    return [
        CallStarted(call.id, call.name),
        CallArguments(call.id, call.arguments),
        CallCompleted(call),
    ]
