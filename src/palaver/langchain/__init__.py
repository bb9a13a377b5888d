"""For programs that use LangChain: messages both ways, and Runnables that answer conversations.

    from palaver.langchain import RunnableModel, from_langchain, to_langchain

    async with palaver.open("chat.db", model=RunnableModel(prompt | model | parser)) as manager:
        ...

Chat models and tools need nothing from here: `palaver.open` takes them as they are. Needs the extra
`palaver[langchain]`; `CompactionMiddleware` for LangChain's own agents needs `langchain`, too.
"""

from typing import TYPE_CHECKING, Any

from palaver.langchain.incoming import from_langchain, stored
from palaver.langchain.outgoing import to_langchain
from palaver.langchain.runnable import RunnableModel
from palaver.providers.langchain.model import LangChainModel
from palaver.tools.langchain import LangChainTool, adopted as adopt_tool

if TYPE_CHECKING:
    from palaver.langchain.compaction import CompactionMiddleware as CompactionMiddleware

__all__ = [
    "CompactionMiddleware",
    "LangChainModel",
    "LangChainTool",
    "RunnableModel",
    "adopt_tool",
    "from_langchain",
    "stored",
    "to_langchain",
]


def __getattr__(name: str) -> Any:
    # Agents take a second to import; who only converts messages must not wait for them.
    if name != "CompactionMiddleware":
        raise AttributeError(f"module 'palaver.langchain' has no attribute {name!r}")
    from palaver.langchain.compaction import CompactionMiddleware

    return CompactionMiddleware
