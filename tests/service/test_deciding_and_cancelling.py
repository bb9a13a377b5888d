"""A held turn that is cancelled at the moment at which somebody lets it go on."""

import asyncio
from pathlib import Path

import pytest

from palaver import Scope, tool
from palaver.domain.errors import PalaverError
from palaver.domain.ids import CallId
from palaver.domain.messages import ToolResult
from palaver.domain.stream import TERMINAL
from palaver.domain.values import ClientTool
from palaver.service.conversation import Conversation
from palaver.streams.cursor import unpack
from palaver.testing import Call, Pause, Say, ScriptedModel
from tests.service.conftest import Opened


@pytest.mark.parametrize("way", ["decide", "provide"])
async def test_one_of_them_comes_first(opened: Opened, tmp_path: Path, way: str) -> None:
    """Whichever comes first, and however many steps lie between them: the turn ends, nobody has
    seen an event that is not stored, and a call that ran is not told to have been cancelled."""
    acted: list[str] = []

    @tool(effect="effect")
    async def act(item: str) -> str:
        """Act."""
        acted.append(item)
        return "acted"

    model = ScriptedModel()
    model.when(
        "",
        lambda request: (
            [Say("Done "), Pause(0.0), Say("now.")]
            if request.messages[-1].tool_results
            else [Call("act" if way == "decide" else "mine", {"item": request.messages[-1].text})]
        ),
    )
    path = tmp_path / "palaver.db"
    manager = await opened(model, path=path, tools=[act], builtin_tools=False)

    async def go_on(conversation: Conversation, call: CallId) -> None:
        if way == "decide":
            await conversation.decide(call, approve=True)
        else:
            await conversation.provide([ToolResult(call, "", ())])

    async def later(steps: int, conversation: Conversation, call: CallId | None) -> None:
        await asyncio.sleep(steps / 5000)
        try:
            await (conversation.cancel() if call is None else go_on(conversation, call))
        except PalaverError:
            assert call is not None  # it came too late

    async def both(first: int, second: int) -> None:
        conversation = await manager.create()
        text = f"{first} {second}"
        session = await conversation.start(text, client_tools=[ClientTool("mine")])
        _ = [event async for event in session.events(until_suspended=True)]
        assert conversation.state.turn is not None
        call = conversation.state.turn.waiting[0]
        await asyncio.gather(later(first, conversation, call), later(second, conversation, None))
        assert conversation.state.turn is None
        seen = [numbered async for numbered in session.numbered()]
        rows = await manager.store.read_run(Scope(), session.turn)
        stored = [event for batch in unpack(rows, 0) for event in batch.events]
        assert [numbered.event for numbered in seen] == stored
        assert isinstance(stored[-1], TERMINAL)
        assert acted.count(text) <= 1

    for steps in range(30):
        await both(0, steps)
        await both(steps, 0)
