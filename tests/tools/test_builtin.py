"""The set of tools that comes with Palaver."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from jsonschema import Draft202012Validator

from palaver.domain.ids import CallId
from palaver.domain.messages import ToolCall
from palaver.domain.values import Effect, Scope
from palaver.tools.builtin import builtin_tools
from palaver.tools.builtin.history import Passage
from palaver.tools.definition import ExecutionContext
from palaver.tools.manager import ToolManager


async def nothing(scope: Scope, query: str, limit: int) -> Sequence[Passage]:
    return ()


def test_all_are_harmless_and_described(tmp_path: Path) -> None:
    """Each has a valid schema, describes itself and its parameters, and changes nothing."""
    tools = builtin_tools(folders=[tmp_path], search=nothing)
    manager = ToolManager(tools)
    assert [d.name for d in manager.definitions()] == [
        "calculator",
        "current_time",
        "convert_time",
        "date_difference",
        "fetch_url",
        "recall",
        "read_file",
        "list_files",
        "search_files",
        "search_conversations",
    ]
    for definition in manager.definitions():
        Draft202012Validator.check_schema(definition.parameters_schema)
        assert definition.effect is Effect.READ
        assert definition.may_start_early
        assert len(definition.description) > 20
        if definition.name not in ("list_files",):
            assert all(
                "description" in p or p["type"] in ("boolean", "string")
                for p in definition.parameters_schema["properties"].values()
            )


def test_what_needs_a_port_is_left_out() -> None:
    """Without folders and search there are no tools for them."""
    names = {tool.definition.name for tool in builtin_tools()}
    assert names.isdisjoint({"read_file", "list_files", "search_files", "search_conversations"})


def test_start_is_cheap(tmp_path: Path) -> None:
    """Making and registering the tools imports no HTTP client, no validator, no parser."""
    program = (
        "import sys; from pathlib import Path; from palaver.tools.builtin import builtin_tools;"
        "from palaver.tools.manager import ToolManager;"
        f"ToolManager(builtin_tools(folders=[Path({str(tmp_path)!r})]));"
        "print(*[m for m in ('aiohttp', 'jsonschema', 'yarl', 'html.parser', 'pydantic')"
        " if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == ""


async def test_search_sees_the_caller_only(
    make_context: Callable[..., ExecutionContext],
) -> None:
    """The search is asked on behalf of the call's scope; what it finds is shown with its place."""
    asked = []

    async def search(scope: Scope, query: str, limit: int) -> Sequence[Passage]:
        asked.append((scope, query, limit))
        return [
            Passage(conversation="conv_9", title="Trip", role="user", snippet="to Oslo", at=86400)
        ]

    manager = ToolManager(builtin_tools(search=search))
    call = ToolCall(CallId("c"), "search_conversations", '{"query": "Oslo", "limit": 2}')
    result = await manager.execute_tool(call, make_context(scope=Scope("t", "a")))
    assert result.text == "[conv_9: Trip, user, 1970-01-02]\nto Oslo"
    assert asked == [(Scope("t", "a"), "Oslo", 2)]
    manager = ToolManager(builtin_tools(search=nothing))
    assert "Nothing was found" in (await manager.execute_tool(call, make_context())).text
