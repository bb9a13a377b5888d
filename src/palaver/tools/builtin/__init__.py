"""The tools that come with Palaver: nothing in here changes the world.

What they need is imported when they are made or called, so that starting a chat stays quick.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from palaver.tools.builtin.history import Search
    from palaver.tools.definition import Tool


def builtin_tools(
    *,
    folders: Sequence[Path] = (),
    search: "Search | None" = None,
    allow_private_addresses: bool = False,
) -> "tuple[Tool, ...]":
    """Calculator, times, `fetch_url`, `recall`, file tools within `folders`,
    `search_conversations`.

    Without folders there are no file tools, without `search` no search of conversations.
    `allow_private_addresses` lets `fetch_url` reach this machine and its network: only for
    programs whose users own both. Raises ConfigurationError for a folder that is none.
    """
    from palaver.tools.builtin.calculator import calculator
    from palaver.tools.builtin.fetch import fetch_tool
    from palaver.tools.builtin.recall import recall_tool
    from palaver.tools.builtin.times import convert_time, current_time, date_difference
    from palaver.tools.builtin.web import Web

    web = Web(refused=lambda _: "") if allow_private_addresses else Web()
    tools: list[Tool] = [calculator, current_time, convert_time, date_difference, fetch_tool(web)]
    tools.append(recall_tool())
    if folders:
        from palaver.tools.builtin.files import file_tools
        from palaver.tools.builtin.folders import Folders

        tools += file_tools(Folders(folders))
    if search is not None:
        from palaver.tools.builtin.history import conversation_search

        tools.append(conversation_search(search))
    return tuple(tools)
