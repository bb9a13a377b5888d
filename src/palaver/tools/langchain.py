"""LangChain's tools as tools of ours: `@tool`, `StructuredTool`, any `BaseTool`.

Name, description and schema are what LangChain tells a model; parameters that it injects are
hidden. A tool counts as `effect`, so that it asks first, unless its metadata or the caller say what
it does: `metadata={"effect": "read"}`. Nothing of LangChain is imported before a tool is adopted.
"""

import base64
import functools
import re
from typing import Any

import msgspec

from palaver.domain.errors import InvalidInput, ToolArgumentsError, ToolExecutionError
from palaver.domain.messages import Image, ResultContent, Text
from palaver.domain.values import Effect
from palaver.tools.definition import ExecutionContext, Keep, Tool, ToolDefinition, ToolOutput
from palaver.tools.threads import in_thread

_BASE = ("langchain_core.tools.base", "BaseTool")
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")


def is_langchain_tool(value: Any) -> bool:
    """Whether `value` is a LangChain tool. Imports nothing."""
    return any((c.__module__, c.__name__) == _BASE for c in type(value).__mro__)


def adopted(value: Any, effect: Effect | str | None = None) -> Tool:
    """The LangChain tool `value` as a Tool. Raises InvalidInput when it cannot be described."""
    from langchain_core.utils.function_calling import convert_to_openai_tool

    try:
        described = convert_to_openai_tool(value)["function"]
    except Exception as error:
        raise InvalidInput(f"the LangChain tool {value.name!r} has no usable schema") from error
    schema = {"type": "object", "properties": {}, **described.get("parameters", {})}
    definition = ToolDefinition(
        name=_NOT_IN_NAMES.sub("_", described["name"])[:64],
        description=described.get("description") or described["name"],
        parameters_schema=schema,
        effect=_effect(effect or (value.metadata or {}).get("effect")),
    )
    return LangChainTool(value, definition)


class LangChainTool(Tool):
    """Runs a LangChain tool: awaited where it is asynchronous, else in a thread."""

    def __init__(self, tool: Any, definition: ToolDefinition) -> None:
        super().__init__(definition)
        self._tool = tool
        self._is_async = _is_async(tool)

    async def execute(self, arguments: dict[str, Any], context: ExecutionContext) -> Any:
        """What the tool says to the model; its artifact, if any, is for programs and is dropped.

        Raises ToolArgumentsError when its own validation refuses, ToolExecutionError for a
        ToolException.
        """
        name = self._tool.name
        call = {"type": "tool_call", "id": context.call_id, "name": name, "args": arguments}
        try:
            if self._is_async:
                said = await self._tool.ainvoke(call)
            else:
                said = await in_thread(functools.partial(self._tool.invoke, call))
        except Exception as error:
            raise _translated(error) from error
        if not hasattr(said, "tool_call_id"):
            raise ToolExecutionError(f"{name} returned a {type(said).__name__}, which is no result")
        content = await _content(said.content, context.keep)
        return ToolOutput(content, failed=said.status == "error")


def _effect(name: Any) -> Effect:
    try:
        return Effect(name)
    except ValueError:
        return Effect.EFFECT


def _is_async(tool: Any) -> bool:
    if hasattr(tool, "coroutine"):
        return tool.coroutine is not None
    base = next(c for c in type(tool).__mro__ if (c.__module__, c.__name__) == _BASE)
    return type(tool)._arun is not base._arun  # type: ignore[attr-defined]


def _translated(error: Exception) -> Exception:
    names = {kind.__name__ for kind in type(error).__mro__}
    if "ToolException" in names:
        return ToolExecutionError(str(error) or "the tool failed")
    if "ValidationError" in names:
        return ToolArgumentsError(str(error))
    return error


async def _content(content: Any, keep: Keep) -> tuple[ResultContent, ...]:
    if isinstance(content, str):
        return (Text(content),)
    made: list[ResultContent] = []
    for block in content:
        if isinstance(block, str):
            made.append(Text(block))
        elif block.get("type") == "text":
            made.append(Text(str(block.get("text", ""))))
        else:
            made.append(await _picture(block, keep))
    return tuple(made)


async def _picture(block: dict[str, Any], keep: Keep) -> ResultContent:
    kind = block.get("type")
    if kind not in ("image", "image_url"):
        return Text(msgspec.json.encode(block).decode())
    nested = block.get("image_url") or block.get("source") or block
    url = nested if isinstance(nested, str) else nested.get("url")
    data = None if isinstance(nested, str) else nested.get("base64") or nested.get("data")
    media_type = "" if isinstance(nested, str) else nested.get("mime_type", "")
    if isinstance(url, str) and url.startswith("data:"):
        head, _, data = url.partition(";base64,")
        media_type = head.removeprefix("data:")
    if not data:
        return Image(media_type, url=str(url or ""))
    return Image(media_type or "image/png", await keep(base64.b64decode(data)))
