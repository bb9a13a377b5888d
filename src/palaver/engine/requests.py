"""Making the next request fit its model: measured, made smaller where needed, built."""

from collections.abc import AsyncIterator

from palaver.context.need import Need
from palaver.context.window import ContextWindow
from palaver.domain.errors import ContextOverflow, PalaverError, ProviderError
from palaver.engine.assemble import (
    build_request,
    left_out,
    offered_tools,
    system_prompt,
    tool_specs,
)
from palaver.engine.inbox import Stop
from palaver.engine.ports import Emission, TurnPorts
from palaver.engine.room import RoomMaker
from palaver.providers.base import Model, ModelRequest


class RequestMaker:
    """Requests of one turn. `refusal`: why the newest one cannot be made."""

    def __init__(self, ports: TurnPorts) -> None:
        self._ports = ports
        self.refusal: Stop | PalaverError | None = None

    async def make_room(self, model: Model) -> AsyncIterator[Emission]:
        """Make the window smaller where `model` or the settings ask for it."""
        measured = self._measured(model)
        need = self._ports.shrinker.due(self._ports.latest(), measured)
        async for emission in self._meet(need, model, measured, None):
            yield emission

    async def make_smaller(self, model: Model, failure: ProviderError) -> AsyncIterator[Emission]:
        """The provider refused the request as too long: only a smaller one may be sent."""
        measured = self._measured(model)
        need = self._ports.window.after_overflow(measured)
        async for emission in self._meet(need, model, measured, failure):
            yield emission

    async def show_left_out(self, model: Model) -> AsyncIterator[Emission]:
        """What `model` is not sent of a history that another provider's has answered last."""
        adapted = left_out(self._ports.latest(), model.name)
        if adapted is not None:
            yield [adapted]

    def request(self, model: Model) -> ModelRequest:
        """The request as things stand."""
        ports, state = self._ports, self._ports.latest()
        return build_request(
            state,
            tool_specs(offered_tools(state, ports.tools)) if model.info.tools else (),
            settings=state.preferences.generation,
            output=ports.output,
            read_blob=ports.read_blob,
        )

    def explained(self, failure: ProviderError, model: Model) -> ProviderError:
        """A provider's overflow with what takes the room; others as they are."""
        if isinstance(failure, ContextOverflow):
            state = self._ports.latest()
            failure.hint = self._ports.window.explained(state, self._measured(model))
        return failure

    async def _meet(
        self,
        need: Need | None,
        model: Model,
        measured: ContextWindow,
        failure: ProviderError | None,
    ) -> AsyncIterator[Emission]:
        before = self._ports.latest().compaction
        room = RoomMaker(self._ports)
        if need is not None:
            async for emission in room.make(need):
                yield emission
            measured = self._measured(model)
        state = self._ports.latest()
        self.refusal = room.stopped
        if self.refusal is None and failure is not None and state.compaction is before:
            self.refusal = self.explained(failure, model)
        if self.refusal is None:
            self.refusal = self._ports.window.refusal(state, measured)

    def _measured(self, model: Model) -> ContextWindow:
        ports, state = self._ports, self._ports.latest()
        return ports.window.measure(
            state,
            model.info,
            system=system_prompt(state),
            tools=offered_tools(state, ports.tools),
        )
