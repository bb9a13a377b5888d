"""Making windows smaller on behalf of turns and people: what the pure tiers need done for them.

Tiers are computed in a thread, from immutable state, so the event loop goes on meanwhile. Whatever
they propose is checked by the reducer's own rule before anybody makes a fact of it.
"""

import asyncio
from collections.abc import Callable

from msgspec.structs import replace

from palaver import log
from palaver.context.draft import Draft, Task
from palaver.context.need import Need
from palaver.context.proposal import proposed, refusal
from palaver.context.window import ContextWindow, ContextWindowManager
from palaver.domain.compaction import check
from palaver.domain.errors import ContextWindowExceeded, InvalidTransition
from palaver.domain.ids import CompactionId
from palaver.domain.state import ConversationState
from palaver.engine.assemble import offered_tools, system_prompt
from palaver.engine.ports import Shrunk
from palaver.providers.base import Model
from palaver.system import new_id
from palaver.tools.manager import ToolManager


class Compactions:
    """Plans compactions for every conversation of one scope."""

    def __init__(
        self,
        *,
        window: ContextWindowManager,
        model: Callable[[str], Model],
        tools: ToolManager,
    ) -> None:
        self._window, self._model, self._tools = window, model, tools
        self._settings = window.settings

    def measured(self, state: ConversationState) -> ContextWindow:
        """How full the window of the conversation's model is."""
        return self._window.measure(
            state,
            self._model(state.preferences.model).info,
            system=system_prompt(state),
            tools=offered_tools(state, self._tools),
        )

    def prepared(self, state: ConversationState, need: Need) -> Shrunk | None:
        """See `Shrinker`."""
        return None

    async def shrink(self, state: ConversationState, need: Need) -> Shrunk:
        """See `Shrinker`."""
        return await self.planned(state, need)

    async def planned(
        self, state: ConversationState, need: Need, *, instructions: str = ""
    ) -> Shrunk:
        """A compaction of `state` that meets `need`, as far as that goes; nothing is changed."""
        task = Task(
            messages=state.messages,
            target=need.target,
            count=self._window.counter(self._model(state.preferences.model).name),
            pins=frozenset(state.pins),
            previous=state.compaction,
            instructions=instructions,
        )
        return await asyncio.to_thread(_offline, state, task, need, self._settings.min_gain)


def _offline(state: ConversationState, task: Task, need: Need, min_gain: float) -> Shrunk:
    from palaver.context.offline import compact

    why = ""
    for target in (task.target, need.limit):
        try:
            draft = compact(replace(task, target=target))
        except ContextWindowExceeded as error:
            why = f"{error.message}. {error.hint}"
        else:
            return _accepted(state, draft, need, min_gain, task.instructions)
    return Shrunk(None, why)


def _accepted(
    state: ConversationState, draft: Draft, need: Need, min_gain: float, instructions: str
) -> Shrunk:
    why = refusal(draft, need, min_gain)
    if why:
        return Shrunk(None, why)
    compaction = proposed(
        CompactionId(new_id("cmp")),
        state.messages,
        draft,
        reason=need.reason,
        instructions=instructions,
    )
    try:
        check(state.messages, compaction)
    except InvalidTransition as error:
        log.get("context").error("compaction_invalid", reason=error.message)
        return Shrunk(None, error.message)
    return Shrunk(compaction)
