"""One call of one tool: in time, tried again where that is safe, stopped when told to.

A tool runs in a task of its own. When time is up or the turn is aborted, the task is cancelled and
has a short grace to end; what ignores that is left behind, and somebody is told.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from palaver import log
from palaver.domain.errors import (
    NotExecuted,
    ToolArgumentsError,
    ToolError,
    ToolExecutionError,
    ToolTimeoutError,
)
from palaver.domain.values import Effect
from palaver.tools.definition import ExecutionContext, Tool, ToolDefinition

GRACE_S = 2.0
"""Between the wish that a tool ends and leaving it behind."""

Abandoned = Callable[[str, ExecutionContext], None]
"""`abandoned(tool name, context)`: the tool goes on although it was told to stop."""


class _StillRunning(ToolTimeoutError):
    """A second try would run beside the first."""


class ToolRunner:
    """Runs calls within bounds. Failures are ToolErrors, whatever the tool raised."""

    def __init__(self, *, grace_s: float = GRACE_S, abandoned: Abandoned | None = None) -> None:
        self._grace_s = grace_s
        self._told = abandoned
        self._left: set[asyncio.Task[Any]] = set()

    async def run(
        self,
        tool: Tool,
        definition: ToolDefinition,
        arguments: dict[str, Any],
        context: ExecutionContext,
        *,
        timeout_s: float,
    ) -> Any:
        """What the tool returned. Raises ToolError; `timeout_s` holds for each try."""
        policy, tried = definition.retry_policy, 0
        while True:
            tried += 1
            try:
                return await self._attempt(tool, definition, arguments, context, timeout_s)
            except ToolError as failure:
                if tried >= policy.attempts or not _may_repeat(definition, failure):
                    raise
            await context.clock.sleep(policy.wait_s * policy.factor ** (tried - 1))

    async def _attempt(
        self,
        tool: Tool,
        definition: ToolDefinition,
        arguments: dict[str, Any],
        context: ExecutionContext,
        timeout_s: float,
    ) -> Any:
        name = definition.name
        task = asyncio.create_task(_guarded(tool, name, arguments, context), name=f"tool {name}")
        try:
            await asyncio.wait({task}, timeout=timeout_s)
        except asyncio.CancelledError:
            await self._stop(task, name, context)
            raise
        if not task.done():
            has_ended = await self._stop(task, name, context)
            raise _timeout(definition, timeout_s, has_ended=has_ended)
        if task.cancelled():
            raise ToolExecutionError(f"{name} cancelled itself")
        return task.result()

    async def _stop(self, task: asyncio.Task[Any], name: str, context: ExecutionContext) -> bool:
        """Whether the task ended within the grace; otherwise it is left behind and reported."""
        task.cancel()
        try:
            await asyncio.wait({task}, timeout=self._grace_s)
        finally:
            if not task.done():
                self._leave(task, name, context)
            elif not task.cancelled():
                task.exception()  # seen; asyncio would complain otherwise
        return task.done()

    def _leave(self, task: asyncio.Task[Any], name: str, context: ExecutionContext) -> None:
        self._left.add(task)
        task.add_done_callback(self._ended_late)
        log.get("tools").warning("tool_left_behind", tool=name, call=context.call_id)
        if self._told is not None:
            self._told(name, context)

    def _ended_late(self, task: asyncio.Task[Any]) -> None:
        self._left.discard(task)
        if not task.cancelled():
            task.exception()


async def _guarded(
    tool: Tool, name: str, arguments: dict[str, Any], context: ExecutionContext
) -> Any:
    try:
        return await tool.execute(arguments, context)
    except ToolError:
        raise
    except SystemExit as error:
        # In a task it would end the event loop, and with it every other turn.
        raise ToolExecutionError(f"{name} tried to end the program") from error
    except (Exception, BaseExceptionGroup) as error:
        log.get("tools").info("tool_failed", tool=name, error=repr(error))
        raise ToolExecutionError(describe(error)) from error


def describe(error: BaseException) -> str:
    """A foreign exception in one line."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - any foreign __str__ may run here
        text = ""
    if isinstance(error, BaseExceptionGroup):
        text = "; ".join(describe(part) for part in error.exceptions[:3])
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def _may_repeat(definition: ToolDefinition, failure: ToolError) -> bool:
    if isinstance(failure, NotExecuted):
        return True
    is_final = isinstance(failure, ToolArgumentsError | _StillRunning)
    return definition.effect is not Effect.EFFECT and not is_final


def _timeout(definition: ToolDefinition, timeout_s: float, *, has_ended: bool) -> ToolTimeoutError:
    suggestions = ["Ask for less at once, or go on without this result."]
    if definition.effect is Effect.EFFECT:
        suggestions.insert(0, "It may have had its effect: check before doing it again.")
    text = f"{definition.name} took longer than {timeout_s:g} s"
    if has_ended:
        return ToolTimeoutError(f"{text} and was stopped", suggestions=suggestions)
    return _StillRunning(f"{text} and did not stop when told to", suggestions=suggestions)
