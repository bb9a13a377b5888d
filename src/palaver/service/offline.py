"""What works for a conversation while no provider can be reached: `Conversation.offline`.

Nothing here asks a model or needs a network, so all of it also works when everything is well.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from palaver.domain.errors import ContextWindowExceeded, ToolNotFoundError
from palaver.domain.ids import CallId, MessageId, TurnId
from palaver.domain.messages import Message, Role, ToolResult
from palaver.domain.state import ConversationState
from palaver.domain.values import Usage
from palaver.engine.assemble import build_request, offered_tools, tool_specs
from palaver.service.inbound import MessageInput, user_message
from palaver.service.output import shape_of
from palaver.service.state import StateManager
from palaver.store.base import SearchHit
from palaver.system import new_id
from palaver.tools.definition import ExecutionContext, ToolDefinition, ToolExecutionType

if TYPE_CHECKING:
    from palaver.service.turns import TurnRunner

_WHO = {Role.USER: "User", Role.ASSISTANT: "Model", Role.TOOL: "Tool", Role.SYSTEM: "System"}


class OfflineStatistics(msgspec.Struct, frozen=True):
    """Numbers of a conversation. Tokens are estimates; `usage` is what providers reported."""

    messages: dict[str, int]
    """By role."""
    tokens: int
    tool_requests: int
    tool_failures: int
    tools: dict[str, int]
    """Calls by tool, the one that was called most first."""
    topics: int
    usage: Usage
    began_at: float
    """Seconds since 1970."""
    changed_at: float


class OfflineCapabilities:
    """See the module."""

    def __init__(self, states: StateManager, runner: "TurnRunner") -> None:
        self._states, self._runner = states, runner

    @property
    def tools(self) -> Sequence[ToolDefinition]:
        """The tools that run on this machine and are switched on."""
        local = ToolExecutionType.LOCAL
        definitions = self._runner.tools.definitions()
        return tuple(d for d in definitions if d.is_enabled and d.execution_type is local)

    async def run_tool(self, name: str, arguments: dict[str, Any]) -> ToolResult:
        """Run one of `tools` now. It is the caller's own doing: no model asked for it, nobody is
        asked to allow it, and it enters no history. Raises ToolError."""
        if name not in {definition.name for definition in self.tools}:
            raise ToolNotFoundError(f"no tool {name!r} runs on this machine")
        context = ExecutionContext(
            scope=self._runner.scope,
            conversation=self._states.id,
            turn=TurnId(new_id("turn")),
            call_id=CallId(new_id("call")),
            history=self._state.messages,
            clock=self._runner.clock,
            progress=lambda text, fraction: None,
            keep=self._runner.keep_blob,
        )
        return await self._runner.tools.run(name, arguments, context)

    async def cached(self, said: MessageInput, *, output: Any = None) -> Message | None:
        """The answer that this message would be given from earlier ones, if it were said now and no
        model could be reached. None where the same was not asked before."""
        runner, state = self._runner, self._state
        taken, limit = await runner.taken_in(said), runner.settings.message_bytes
        asked = state.with_message(user_message(taken, id=MessageId(""), limit_bytes=limit))
        shape = shape_of(output)
        request = build_request(
            asked,
            tool_specs(offered_tools(state, runner.tools)),
            settings=state.preferences.generation,
            output=None if shape is None else shape.schema,
            read_blob=runner.read_blob,
        )
        return await runner.answers.find(request)

    async def search(self, query: str, *, limit: int = 20) -> tuple[SearchHit, ...]:
        """Messages of this conversation with all words of `query`, the best first."""
        return await self._runner.search(query, self._states.id, limit)

    async def summary(self, *, tokens: int = 600) -> str:
        """What was said in about so many tokens, in its own words: the first and the newest request
        whole where they fit, of the rest the sentences that say most. Empty where nothing was."""
        messages = tuple(self._state.messages)
        if not messages:
            return ""
        return await asyncio.to_thread(_summary, messages, tokens)

    async def topics(self) -> list[str]:
        """A line for each topic: its messages, what it is about, what it goes back to."""
        return (await self._runner.compactions.analysed(self._state)).topic_map()

    async def statistics(self) -> OfflineStatistics:
        """Messages, tokens, tools and topics, counted."""
        state = self._state
        analysis = await self._runner.compactions.analysed(state)
        topics = await asyncio.to_thread(lambda: len(analysis.topics))
        called = Counter(use.name for use in analysis.tools)
        return OfflineStatistics(
            messages={role.value: len(at) for role, at in analysis.by_role.items() if at},
            tokens=analysis.total_tokens,
            tool_requests=analysis.tool_requests,
            tool_failures=len(analysis.errors),
            tools=dict(called.most_common()),
            topics=topics,
            usage=state.usage,
            began_at=state.created_at,
            changed_at=state.updated_at,
        )

    @property
    def _state(self) -> ConversationState:
        return self._states.state


def _summary(messages: Sequence[Message], tokens: int) -> str:
    from palaver.context.alone import compact  # what few conversations need, no start waits for

    try:
        small = compact(messages, tokens)
    except ContextWindowExceeded as error:  # the two requests alone are longer than that
        return _summary(messages, max(2 * tokens, error.tokens))
    return "\n\n".join(f"{_WHO[m.role]}: {said}" for m in small if (said := _said(m)))


def _said(message: Message) -> str:
    results = "\n".join(result.text for result in message.tool_results)
    calls = ", ".join(f"{call.name}({call.arguments})" for call in message.tool_calls)
    return "\n".join(part for part in (message.text, calls, results) if part.strip())
