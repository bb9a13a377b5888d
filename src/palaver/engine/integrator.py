"""Tools while the model speaks: which calls may start before their message is complete.

A call starts early when nothing can be lost by it: the tool only reads or is idempotent, asks
nobody, and its arguments satisfy its schema. Everything else waits until the message has ended
well. Results are kept here until the message that holds their calls is durable.
"""

import asyncio
from collections.abc import Iterable
from functools import partial
from hashlib import sha256

from palaver.domain.errors import ToolError
from palaver.domain.ids import CallId, ConversationId, TurnId
from palaver.domain.messages import ToolCall, ToolResult
from palaver.domain.stream import StreamEvent, ToolFinished, ToolProgress, ToolStarted
from palaver.domain.values import Effect
from palaver.engine.closing import UNKNOWN_OUTCOME, synthetic_result
from palaver.engine.inbox import Progressed, ToolDone
from palaver.engine.ports import TurnPorts
from palaver.engine.route import is_withheld, last_answer
from palaver.tools.definition import ExecutionContext, ToolDefinition


class StreamingToolIntegrator:
    """The calls of one assistant message, from request to result."""

    def __init__(self, ports: TurnPorts, conversation: ConversationId, turn: TurnId) -> None:
        self._ports, self._conversation, self._turn = ports, conversation, turn
        self.results: dict[CallId, ToolResult] = {}
        self.durations: dict[CallId, float] = {}
        self.running: dict[CallId, ToolCall] = {}
        self._tasks: dict[CallId, asyncio.Task[None]] = {}
        self._begun: list[ToolCall] = []

    def definition(self, call: ToolCall) -> ToolDefinition | None:
        """The called tool's definition; None when it is the client's, or there is no such tool or
        it is disabled."""
        opened = self._ports.latest().turn
        if opened is not None and opened.is_clients(call.name):
            return None
        try:
            return self._ports.tools.get(call.name)
        except ToolError:
            return None

    def is_valid(self, call: ToolCall) -> bool:
        """Whether the arguments satisfy the tool's schema."""
        try:
            self._ports.tools.validate(call)
        except ToolError:
            return False
        return True

    def start_early(self, call: ToolCall) -> list[StreamEvent]:
        """Start a call whose arguments have just become complete, if that is safe."""
        definition = self.definition(call)
        if definition is None or not definition.may_start_early or not self.is_valid(call):
            return []
        if is_withheld(self._ports.latest(), definition):
            return []
        return self.start((call,), early=True)

    def start(self, calls: Iterable[ToolCall], *, early: bool = False) -> list[StreamEvent]:
        """Run calls in the background; each ends as a `ToolDone` in the inbox."""
        shown: list[StreamEvent] = []
        for call in calls:
            self.running[call.id] = call
            self._begun.append(call)
            work = self._ports.inbox.spawn(self._run(call), name=f"tool {call.name}")
            self._tasks[call.id] = work
            shown.append(ToolStarted(call.id, call.name, call.arguments, early))
        return shown

    def finish(self, done: ToolDone) -> ToolFinished:
        """Keep a result."""
        call = self.running.pop(done.call_id)
        self.results[call.id] = done.result
        self.durations[call.id] = done.duration_s
        return ToolFinished(call.id, call.name, done.result, done.duration_s)

    def stopped(self, why: str) -> dict[CallId, ToolResult]:
        """Results for the calls that ran, after all were cancelled: the real ones where there are
        any. An effect that was cut off may have happened, and is said to be of unknown outcome."""
        results = dict(self.results)
        for call in self.running.values():
            definition = self.definition(call)
            unknown = definition is None or definition.effect is Effect.EFFECT
            text = UNKNOWN_OUTCOME if unknown else why
            results[call.id] = synthetic_result(call, text, unknown=unknown)
        return results

    async def discard(self) -> None:
        """End what runs and forget every result: the message that made these calls is not going to
        be complete. Only calls that may start early can have begun."""
        under_way = [task for task in self._tasks.values() if not task.done()]
        for task in under_way:
            task.cancel()
        if under_way:
            await asyncio.wait(under_way)
        self._ports.inbox.drop(self._tasks)
        for kept in (self._tasks, self.running, self.results, self.durations):
            kept.clear()

    def progress(self, item: Progressed) -> list[StreamEvent]:
        """What to show of a progress report; nothing when its call has ended."""
        if item.call_id not in self.running:
            return []
        return [ToolProgress(item.call_id, item.text, item.fraction)]

    async def _run(self, call: ToolCall) -> None:
        clock = self._ports.clock
        began = clock.monotonic()
        result = await self._ports.tools.execute_tool(call, self._context(call))
        self._ports.inbox.put(ToolDone(call.id, result, clock.monotonic() - began))

    def _context(self, call: ToolCall) -> ExecutionContext:
        ports = self._ports
        return ExecutionContext(
            scope=ports.scope,
            conversation=self._conversation,
            turn=self._turn,
            call_id=call.id,
            history=ports.latest().messages,
            clock=ports.clock,
            progress=partial(self._report, call.id),
            keep=ports.keep,
            idempotency_key=self._key(call),
        )

    def _key(self, call: ToolCall) -> str:
        """The same for the same work, however often the message that asks for it is made: after a
        broken stream, or a restart, providers give a call another id."""
        state = self._ports.latest()
        answer = last_answer(state) if state.pending_calls else None
        step = (0 if state.turn is None else state.turn.steps) + (answer is None)
        known = self.running.keys() | self.results.keys()
        begun = (c for c in self._begun if c.id in known)
        siblings = begun if answer is None else answer.tool_calls
        twins = [c.id for c in siblings if (c.name, c.arguments) == (call.name, call.arguments)]
        what = sha256(f"{call.name}\0{call.arguments}".encode()).hexdigest()[:16]
        return f"{self._turn}:{step}:{what}:{twins.index(call.id)}"

    def _report(self, call_id: CallId, text: str, fraction: float | None = None) -> None:
        self._ports.inbox.put(Progressed(call_id, text, fraction))
