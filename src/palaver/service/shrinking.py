"""What turns get when they need room: what was prepared, else what can be made now."""

from palaver.context.need import Need
from palaver.context.window import ContextWindow, ContextWindowManager
from palaver.domain.errors import PalaverError
from palaver.domain.state import ConversationState
from palaver.engine.ports import Shrunk
from palaver.service.compaction import Compactions, Wish
from palaver.service.preparation import Preparations


class TurnShrinker:
    """The engine's `Shrinker`, for every conversation of one scope."""

    def __init__(
        self, window: ContextWindowManager, compactions: Compactions, preparations: Preparations
    ) -> None:
        self._window = window
        self._compactions, self._preparations = compactions, preparations

    def due(self, state: ConversationState, measured: ContextWindow) -> Need | None:
        """See `Shrinker`. While a preparation is under way and there is room, it is waited for
        without holding up anything: the request goes out as it is."""
        self._preparations.consider(state, measured)
        need = self._window.should_compact(state, measured)
        if need is None or need.is_urgent or not self._preparations.is_under_way(state.id):
            return need
        return None

    def prepared(self, state: ConversationState, need: Need) -> Shrunk | None:
        """See `Shrinker`."""
        return None if need.reason == "overflow" else self._preparations.take(state, need)

    async def shrink(self, state: ConversationState, need: Need) -> Shrunk:
        """See `Shrinker`. Recovery from an overflow never depends on another model's success."""
        self._preparations.drop(state.id)
        by_model = need.reason == "auto" and self._window.settings.summaries == "inline"
        try:
            return await self._compactions.planned(state, need, Wish(by_model=by_model))
        except PalaverError as error:
            return Shrunk(None, error.message)
