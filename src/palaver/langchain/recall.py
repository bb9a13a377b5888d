"""The tool by which an agent brings back what its window no longer holds."""

from typing import Any

from langchain.tools import BaseTool, ToolRuntime, tool

from palaver.context.counting import Counter
from palaver.context.handles import handle, position_of
from palaver.context.identifiers import texts
from palaver.context.rolling import excerpts
from palaver.langchain.compacted import Reading

_MOST = 8_000
"""Characters that one call gives back."""


def recall_tool(counter: Counter) -> BaseTool:
    """A tool named `recall` over the whole history of the agent that calls it."""

    @tool
    def recall(query: str, runtime: ToolRuntime[Any, Any]) -> str:
        """Read earlier messages that are no longer shown in full.

        Args:
            query: A handle such as m12, or words to search for.
        """
        reading = Reading(counter)
        reading.read(runtime.state["messages"])
        at = position_of(query)
        if at is None:
            return _found(reading, query)
        if not 0 <= at < len(reading.messages):
            return f"There is no message {query}."
        said = "\n".join(texts(reading.messages[at]))
        cut = f"\n[… {len(said) - _MOST:,} characters more …]" if len(said) > _MOST else ""
        return f"{handle(at)} ({reading.messages[at].role}):\n{said[:_MOST]}{cut}"

    return recall


def _found(reading: Reading, query: str) -> str:
    found = excerpts(reading.messages, query, limit=10)
    if not found:
        return "Nothing was found."
    return "\n".join(f"{handle(at)} {reading.messages[at].role}: {said}" for at, said in found)
