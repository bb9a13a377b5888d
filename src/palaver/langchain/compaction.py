"""Compaction for agents of LangChain: `create_agent(…, middleware=[CompactionMiddleware(…)])`.

The model is sent a window; the agent's messages stay as they are, every one. Between compactions
the window only grows at its end. Needs the package `langchain`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, NotRequired, TypeVar

from langchain.agents.middleware.types import (
    AgentMiddleware,
    AgentState,
    ExtendedModelResponse,
    ModelRequest,
    ModelResponse,
    PrivateStateAttr,
)
from langchain.chat_models import init_chat_model
from langchain_core.exceptions import ContextOverflowError
from langchain_core.language_models import BaseChatModel
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.types import Command

from palaver.context.compactor import ConversationCompactor
from palaver.context.counting import Counter
from palaver.context.draft import Draft
from palaver.context.kinds_parts import json_text
from palaver.context.rolling import TARGET, TRIGGER
from palaver.context.tokens import TOOL_OVERHEAD, text_tokens
from palaver.domain.errors import ConfigurationError, ContextWindowExceeded, InvalidInput
from palaver.langchain.compacted import AgentWindow, Reading
from palaver.langchain.recall import recall_tool
from palaver.langchain.summarising import ChatSummariser, finished, limits_of
from palaver.settings import CompactionSettings

R = TypeVar("R")
KEY = "palaver_window"
"""In the agent's state: what the newest compaction decided, as JSON."""
_READINGS = 8
"""Conversations whose reading is kept between requests; others are read anew."""
_OVERFLOWED = 0.6
"""Of the size of a request that the provider found too large: what is tried once more."""


class CompactionState(AgentState[R]):
    """The agent's state, with a field that only this middleware uses."""

    palaver_window: NotRequired[Annotated[str, PrivateStateAttr]]


class CompactionMiddleware(AgentMiddleware[CompactionState[Any], Any, Any]):
    """Keeps what an agent's model is sent within `budget_tokens`, system prompt and tools included.

    Above `trigger` of the budget the window is compacted to at most `target` of it (shares).
    `budget_tokens`: by default the model's input window, where LangChain knows it. `model`: a chat
    model, or its name, that writes summaries; without one compaction is offline. `count`: as for
    `palaver.context.compact`. `instructions`: what a summary is to keep or drop, in words.
    `with_recall`: the agent gets a tool that brings back originals.

    `state["messages"]` is never shortened. A request that must not be smaller raises
    ContextWindowExceeded before it is sent; where the provider itself finds one too large, it is
    made smaller without a model and sent once more.
    """

    state_schema = CompactionState

    def __init__(
        self,
        budget_tokens: int | None = None,
        *,
        trigger: float = TRIGGER,
        target: float = TARGET,
        model: str | BaseChatModel | None = None,
        count: Callable[[Any], float] | object | None = None,
        instructions: str = "",
        settings: CompactionSettings | None = None,
        with_recall: bool = True,
    ) -> None:
        super().__init__()
        if not 0 < target <= trigger <= 1:
            raise InvalidInput(
                f"trigger {trigger} and target {target} are no shares of the budget",
                hint="0 < target <= trigger <= 1, for example 0.6 and 0.85.",
            )
        self._budget, self._trigger, self._target = budget_tokens, trigger, target
        self._writer = init_chat_model(model) if isinstance(model, str) else model
        self._counter = Counter(count)
        self._instructions = instructions
        self._compactor = ConversationCompactor(settings)
        self._readings: dict[int, Reading] = {}
        self._schemas: dict[int, tuple[object, int]] = {}
        self.tools = [recall_tool(self._counter)] if with_recall else []

    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ModelResponse[Any] | ExtendedModelResponse[Any]:
        """The request goes on with the window in place of all messages."""
        call = _Call(self, request)
        if call.is_due:
            writer = self._writer
            made = finished(call.summarised(writer, is_blocking=True)) if writer else None
            call.compact(made)
        try:
            response = handler(call.request())
        except ContextOverflowError:
            if not call.can_shrink():
                raise
            response = handler(call.request())
        return call.responded(response)

    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any] | ExtendedModelResponse[Any]:
        """The same without holding the event loop."""
        call = await asyncio.to_thread(_Call, self, request)
        if call.is_due:
            writer = self._writer
            made = await call.summarised(writer, is_blocking=False) if writer else None
            await asyncio.to_thread(call.compact, made)
        try:
            response = await handler(call.request())
        except ContextOverflowError:
            if not await asyncio.to_thread(call.can_shrink):
                raise
            response = await handler(call.request())
        return call.responded(response)

    def _reading(self, messages: list[Any]) -> Reading:
        """What is known of this conversation, up to date. One request uses it at a time."""
        key = id(messages[0]) if messages else 0
        reading = self._readings.pop(key, None)
        if reading is None or not reading.goes_on(messages):
            reading = Reading(self._counter)
        reading.read(messages)
        return reading

    def _keep(self, reading: Reading) -> None:
        if reading.given:
            self._readings[id(reading.given[0])] = reading
        while len(self._readings) > _READINGS:
            self._readings.pop(next(iter(self._readings)), None)

    def _tool_tokens(self, tool: Any) -> int:
        known = self._schemas.get(id(tool))
        if known is None or known[0] is not tool:
            tokens = TOOL_OVERHEAD + text_tokens(json_text(_schema(tool)))
            known = self._schemas[id(tool)] = (tool, tokens)
        return known[1]

    def _limit(self, model: BaseChatModel) -> int:
        limit = self._budget or limits_of(model).window
        if limit is None:
            raise ConfigurationError(
                "the window of this model is not known",
                hint="Pass budget_tokens to CompactionMiddleware.",
            )
        return limit


class _Call:
    """One request on its way to the model."""

    def __init__(self, owner: CompactionMiddleware, request: ModelRequest[Any]) -> None:
        self._owner, self._request = owner, request
        self._reading = owner._reading(list(request.messages))
        self._window = AgentWindow(
            self._reading,
            owner._counter,
            request.state.get(KEY),  # type: ignore[arg-type]
        )
        self._limit = owner._limit(request.model)
        self._fixed = sum(map(owner._tool_tokens, request.tools))
        if request.system_message is not None:
            self._fixed += owner._counter.message(request.system_message)
        self._stored: str | None = None

    @property
    def is_due(self) -> bool:
        """Whether the window has grown beyond the trigger."""
        return self._fixed + self._window.tokens > self._owner._trigger * self._limit

    async def summarised(self, writer: BaseChatModel, *, is_blocking: bool) -> Draft | None:
        """What a model makes of it; None where nothing came of that."""
        owner = self._owner
        task = self._window.task(self._target(owner._target), owner._instructions)
        result = await owner._compactor.run(
            task,
            summariser=ChatSummariser(writer, is_blocking=is_blocking),
            limits=limits_of(writer),
            limit=self._target(1.0),
        )
        return result.draft if result.draft.tiers else None

    def compact(self, draft: Draft | None) -> None:
        """The window of `draft`, or an offline one. Raises ContextWindowExceeded when the request
        is too large and must not be smaller."""
        draft = draft or self._offline()
        if draft is not None and draft.tiers:
            self._stored = self._window.take(draft)

    def can_shrink(self) -> bool:
        """Makes the window smaller than the one that the provider found too large, if it can."""
        try:
            draft = self._window.offline(int(self._window.tokens * _OVERFLOWED))
        except ContextWindowExceeded:
            return False
        self._stored = self._window.take(draft)
        return True

    def request(self) -> ModelRequest[Any]:
        """The request with the window."""
        return self._request.override(messages=self._window.messages())

    def responded(
        self, response: ModelResponse[Any]
    ) -> ModelResponse[Any] | ExtendedModelResponse[Any]:
        """The response; a new compaction goes into the agent's state with it."""
        self._owner._keep(self._reading)
        if self._stored is None:
            return response
        return ExtendedModelResponse(response, Command(update={KEY: self._stored}))

    def _target(self, share: float) -> int:
        return int(share * self._limit) - self._fixed

    def _offline(self) -> Draft | None:
        try:
            return self._window.offline(self._target(self._owner._target))
        except ContextWindowExceeded:
            if self._fixed + self._window.tokens <= self._limit:
                return None  # it fits, and cannot be made much smaller
        return self._window.offline(self._target(1.0))


def _schema(tool: Any) -> dict[str, Any]:
    if isinstance(tool, dict):
        return tool
    return convert_to_openai_tool(tool)
