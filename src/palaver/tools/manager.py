"""All tools of a program: what there is, what is switched on, and the running of a call.

`execute_tool` is the engine's way and never raises: a failure is a result that the model can read
and react to. `run` is the way for programs and raises typed errors.
"""

import difflib
import re
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

import msgspec

from palaver.domain.errors import (
    InvalidInput,
    NotExecuted,
    PalaverError,
    ToolArgumentsError,
    ToolDisabledError,
    ToolError,
    ToolExecutionError,
    ToolNotFoundError,
)
from palaver.domain.messages import Text, ToolCall, ToolResult
from palaver.domain.values import Effect
from palaver.settings import ToolSettings, TurnLimits
from palaver.tools import langchain
from palaver.tools.decorator import FunctionTool, tool
from palaver.tools.definition import ExecutionContext, Tool, ToolDefinition, ToolOutput
from palaver.tools.gate import Gate
from palaver.tools.output import shaped
from palaver.tools.runner import GRACE_S, Abandoned, ToolRunner, describe
from palaver.tools.validation import check_schema, compile_schema

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class _Entry:
    """A registered tool, its present definition and its compiled schema."""

    def __init__(self, tool: Tool, definition: ToolDefinition) -> None:
        self.tool, self.definition = tool, definition
        self._validate: Callable[[dict[str, Any]], None] | None = None

    def validate(self, arguments: dict[str, Any]) -> None:
        if self._validate is None:
            self._validate = compile_schema(self.definition.parameters_schema)
        self._validate(arguments)


class ToolManager:
    """Registers tools and runs calls of them.

    Calls of one turn (tenant, conversation and turn of the context) run beside each other, at most
    `limits.parallel_tools`, and an exclusive tool alone; turns do not wait for each other.
    """

    def __init__(
        self,
        tools: "Iterable[Tool | Callable[..., Any] | BaseTool]" = (),
        *,
        settings: ToolSettings | None = None,
        limits: TurnLimits | None = None,
        grace_s: float = GRACE_S,
        abandoned: Abandoned | None = None,
    ) -> None:
        self._settings = settings or ToolSettings()
        self._parallel = (limits or TurnLimits()).parallel_tools
        self._runner = ToolRunner(grace_s=grace_s, abandoned=abandoned)
        self._entries: dict[str, _Entry] = {}
        # A turn's gate lives as long as one of its calls.
        self._gates: weakref.WeakValueDictionary[tuple[str, str, str], Gate] = (
            weakref.WeakValueDictionary()
        )
        for each in tools:
            self.register_tool(each)

    def register_tool(self, tool_or_function: "Tool | Callable[..., Any] | BaseTool") -> Tool:
        """Add a tool; a plain function or a LangChain tool is wrapped and counts as `effect`.

        Raises InvalidInput for a bad or taken name, and for a schema that no object satisfies.
        """
        if isinstance(tool_or_function, Tool):
            added = tool_or_function
        elif langchain.is_langchain_tool(tool_or_function):
            added = langchain.adopted(tool_or_function)
        else:
            added = tool(cast("Callable[..., Any]", tool_or_function))
        definition = added.definition
        if not _NAME.fullmatch(definition.name):
            raise InvalidInput(
                f"{definition.name!r} cannot be a tool's name",
                hint="Use 1 to 64 letters, digits, `_` and `-`.",
            )
        if definition.name in self._entries:
            raise InvalidInput(
                f"there is a tool named {definition.name!r} already",
                hint="Unregister it first, or register this one under another name.",
            )
        # What was read from a signature is valid by construction; importing jsonschema can wait.
        if not isinstance(added, FunctionTool):
            check_schema(definition.parameters_schema, definition.name)
        self._entries[definition.name] = _Entry(added, definition)
        return added

    def unregister(self, name: str) -> None:
        """Forget a tool. Calls that run go on. Raises ToolNotFoundError."""
        self._entry(name)
        del self._entries[name]

    def enable(self, name: str) -> None:
        """Switch a tool on. Raises ToolNotFoundError."""
        self._change(name, is_enabled=True)

    def disable(self, name: str) -> None:
        """Switch a tool off: models no longer see it, calls fail. Raises ToolNotFoundError."""
        self._change(name, is_enabled=False)

    def hide(self, name: str) -> None:
        """List a tool to people no more; models still call it. Raises ToolNotFoundError."""
        self._change(name, is_hidden=True)

    def show(self, name: str) -> None:
        """List a tool to people again. Raises ToolNotFoundError."""
        self._change(name, is_hidden=False)

    def definitions(self, *, include_hidden: bool = False) -> tuple[ToolDefinition, ...]:
        """What people see: all tools in order of registration, disabled ones included."""
        every = (entry.definition for entry in self._entries.values())
        return tuple(d for d in every if include_hidden or not d.is_hidden)

    def specs(self) -> tuple[ToolDefinition, ...]:
        """What models may call: every enabled tool, hidden ones included, in a stable order."""
        every = (entry.definition for entry in self._entries.values())
        return tuple(d for d in every if d.is_enabled)

    def get(self, name: str) -> ToolDefinition:
        """The definition of a tool that may be called.

        Raises ToolNotFoundError (with similar names) and ToolDisabledError.
        """
        return self._callable(name).definition

    def validate(self, call: ToolCall) -> dict[str, Any]:
        """The call's arguments, which satisfy the tool's schema.

        Raises ToolNotFoundError, ToolDisabledError, and ToolArgumentsError with text for the model.
        """
        entry = self._callable(call.name)
        try:
            arguments = call.parsed()
        except (ValueError, RecursionError) as error:
            raise ToolArgumentsError(
                f"{error}"
                if isinstance(error, ValueError)
                else "the arguments are nested too deeply",
                suggestions=("Send the arguments as one JSON object.",),
            ) from error
        entry.validate(arguments)
        return arguments

    async def execute_tool(self, call: ToolCall, context: ExecutionContext) -> ToolResult:
        """The result of one call. Only CancelledError is raised: a failure is a failed result."""
        try:
            entry, arguments = self._callable(call.name), self.validate(call)
            value = await self._run(entry, arguments, context)
            return await self._result(call, value, context)
        except ToolError as failure:
            return await self._failure(call, failure, context)
        except Exception as error:  # noqa: BLE001 - whatever it was, the model gets its answer
            return await self._failure(call, ToolExecutionError(describe(error)), context)

    async def run(
        self, name: str, arguments: dict[str, Any], context: ExecutionContext
    ) -> ToolResult:
        """The same for programs. Raises ToolError in place of a failed result."""
        entry = self._callable(name)
        entry.validate(arguments)
        value = await self._run(entry, arguments, context)
        result = await self._result(ToolCall(context.call_id, name), value, context)
        if result.failed:
            raise ToolExecutionError(result.text)
        return result

    async def _run(
        self, entry: _Entry, arguments: dict[str, Any], context: ExecutionContext
    ) -> Any:
        definition = entry.definition
        timeout_s = (
            self._settings.timeout_s if definition.timeout_s is None else definition.timeout_s
        )
        gate = self._gate(context)
        async with gate.enter(exclusive=definition.is_exclusive):
            return await self._runner.run(
                entry.tool, definition, arguments, context, timeout_s=timeout_s
            )

    def _gate(self, context: ExecutionContext) -> Gate:
        key = (context.scope.tenant, context.conversation, context.turn)
        gate = self._gates.get(key)
        if gate is None:
            gate = self._gates[key] = Gate(self._parallel)
        return gate

    async def _result(self, call: ToolCall, value: Any, context: ExecutionContext) -> ToolResult:
        content, failed, full = await shaped(
            value, limit=self._settings.output_chars, keep=context.keep
        )
        return ToolResult(call.id, call.name, content, failed=failed, full=full)

    async def _failure(
        self, call: ToolCall, failure: ToolError, context: ExecutionContext
    ) -> ToolResult:
        text = failure_text(failure, self._effect(call.name))
        output = ToolOutput((Text(text),), failed=True)
        return await self._result(call, output, context)

    def _effect(self, name: str) -> Effect:
        entry = self._entries.get(name)
        return entry.definition.effect if entry else Effect.READ

    def _change(self, name: str, **fields: bool) -> None:
        entry = self._entry(name)
        entry.definition = msgspec.structs.replace(entry.definition, **fields)

    def _callable(self, name: str) -> _Entry:
        entry = self._entry(name)
        if not entry.definition.is_enabled:
            raise ToolDisabledError(
                f"the tool {name!r} is switched off",
                hint="Enable it first.",
                suggestions=("Go on without this tool, or say that it is not available.",),
            )
        return entry

    def _entry(self, name: str) -> _Entry:
        entry = self._entries.get(name)
        if entry is not None:
            return entry
        known = [d.name for d in self.specs()]
        close = difflib.get_close_matches(name[:100], known, n=3, cutoff=0.5)
        listed = ", ".join(close or known[:20])
        hint = f"Did you mean {' or '.join(close)}?" if close else ""
        suggestion = f"Use one of: {listed}." if listed else "There are no tools: answer without."
        raise ToolNotFoundError(
            f"there is no tool named {name[:100]!r}", hint=hint, suggestions=(suggestion,)
        )


def failure_text(failure: PalaverError, effect: Effect) -> str:
    """A failure as the model reads it: what happened, and what to do about it."""
    suggestions = list(getattr(failure, "suggestions", ()))
    if not suggestions:
        suggestions = [failure.hint] if failure.hint else _suggestions(failure, effect)
    lines = [f"Error ({failure.code}): {failure.message}"]
    lines.extend(f"- {suggestion}" for suggestion in suggestions)
    return "\n".join(lines)


def _suggestions(failure: PalaverError, effect: Effect) -> list[str]:
    match failure:
        case NotExecuted():
            return ["Nothing was done; the call may be repeated."]
        case ToolArgumentsError():
            return ["Correct the arguments and call the tool again."]
        case ToolExecutionError() if effect is Effect.EFFECT:
            return ["It may have had part of its effect: check before doing it again."]
        case ToolExecutionError():
            return ["Try other arguments or another way; do not repeat the same call unchanged."]
        case _:
            return []
