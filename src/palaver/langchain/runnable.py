"""Any Runnable as what answers a conversation: a chain, an agent, a graph, a function.

What it streams is the answer: text, message chunks (whose tool calls run as Palaver's), or some
other value, of which the last one is shown as JSON. A graph of LangGraph runs its own tools; of it
only the text and thinking of its models are shown.
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.runnables import Runnable
from msgspec.structs import replace

from palaver.providers.base import ModelInfo, ModelRequest
from palaver.providers.langchain.history import history
from palaver.providers.langchain.pieces import encoded
from palaver.providers.langchain.recognise import Spoken, Wire
from palaver.providers.langchain.stream import LangChainStream
from palaver.settings import Clocks

_CLOCKS = Clocks()
_PARAGRAPH = "\n\n"


class RunnableModel:
    """A `Model` that asks a Runnable. `name` must not change between runs of the program.

    It is given the conversation as LangChain messages, system prompt first; graphs are given
    `{"messages": […]}`, and `wrap` makes any other input of the messages. A Runnable tells no stop
    reason and no window: `info` may say what is known.
    """

    def __init__(
        self,
        runnable: Runnable[Any, Any],
        *,
        name: str = "runnable:langchain",
        info: ModelInfo | None = None,
        clocks: Clocks = _CLOCKS,
        wrap: Callable[[list[BaseMessage]], Any] | None = None,
    ) -> None:
        self._runnable = runnable
        self._is_graph = any(kind.__name__ == "Pregel" for kind in type(runnable).__mro__)
        self._wrap = wrap or (_state if self._is_graph else _as_it_is)
        self._info = replace(info, name=name) if info is not None else ModelInfo(name)
        self.clocks = clocks
        self.spoken = Spoken(Wire.PLAIN, "runnable", "", "langchain.runnable")
        self.tells_its_end = False

    def __repr__(self) -> str:
        return f"RunnableModel({self.name!r})"

    @property
    def name(self) -> str:
        """What was given."""
        return self._info.name

    @property
    def info(self) -> ModelInfo:
        """What was given, else nothing."""
        return self._info

    def stream(self, request: ModelRequest) -> LangChainStream:
        """Begin an attempt; the Runnable is not called before the first step of the iteration."""
        return LangChainStream(self, request)

    async def aclose(self) -> None:
        """Nothing: what the Runnable holds is its maker's."""

    async def chunks(self, request: ModelRequest) -> AsyncIterator[Any]:
        """The Runnable's answer as message chunks."""
        asked = self._wrap(await history(request, self.spoken, self._info))
        if self._is_graph:
            stream: Any = self._runnable.astream(asked, stream_mode="messages")
            return _of_graph(stream)
        return _of_values(self._runnable.astream(asked))


def _as_it_is(messages: list[BaseMessage]) -> Any:
    return messages


def _state(messages: list[BaseMessage]) -> Any:
    return {"messages": messages}


async def _of_values(stream: Any) -> AsyncGenerator[AIMessage, None]:
    last: Any = None
    said = False
    async with contextlib.aclosing(stream):
        async for value in stream:
            if isinstance(value, AIMessage):
                said = True
                yield value
            elif isinstance(value, str):
                said = True
                yield AIMessageChunk(content=value)
            else:
                last = value  # parsers stream what they know so far, each time the whole
    if not said and last is not None:
        yield AIMessageChunk(content=_written(last))


def _written(value: Any) -> str:
    if isinstance(value, dict) and isinstance(value.get("messages"), list) and value["messages"]:
        value = value["messages"][-1]
    if isinstance(value, BaseMessage):
        return str(value.text)
    if hasattr(value, "model_dump_json"):
        return str(value.model_dump_json())
    return encoded(value)


async def _of_graph(stream: Any) -> AsyncGenerator[AIMessage, None]:
    """Text and thinking of the graph's models, one paragraph for each message with text."""
    speaking: str | None = None
    async with contextlib.aclosing(stream):
        async for message, _ in stream:
            if not isinstance(message, AIMessage):
                continue
            text = str(message.text)
            if text and speaking not in (None, message.id):
                text = _PARAGRAPH + text
            if text:
                speaking = message.id
            thought = "".join(
                str(block.get("reasoning", ""))
                for block in message.content_blocks
                if block["type"] == "reasoning"
            )
            more = {"reasoning_content": thought} if thought else {}
            yield AIMessageChunk(
                content=text, additional_kwargs=more, usage_metadata=message.usage_metadata
            )
