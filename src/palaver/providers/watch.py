"""The first-token and idle clocks of one answer.

A timer for each read would cost more than the read. There is one timer handle and a deadline that
content moves; when the handle fires too early it goes to sleep again. Bytes that hold no content
(pings, comments) do not move the deadline: a stalled provider sends them too.
"""

import asyncio
from typing import TYPE_CHECKING

from palaver.domain.errors import ProviderTimeout
from palaver.settings import Clocks

if TYPE_CHECKING:
    import aiohttp


class Watch:
    """Wakes the reader of an answer with ProviderTimeout. `content`: whether any has been seen."""

    __slots__ = ("_clocks", "_deadline", "_response", "_timer", "content")

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._response: aiohttp.ClientResponse | None = None
        self.content = False

    def start(self, response: "aiohttp.ClientResponse", started: float) -> None:
        """The request went out at `started` (loop time); the first-token clock runs since then."""
        self._response = response
        self._deadline = started + self._clocks.first_token_s
        self._timer = asyncio.get_running_loop().call_at(self._deadline, self._look)

    def content_seen(self) -> None:
        """From now on the idle clock counts."""
        timer, response = self._timer, self._response
        if timer is None or response is None:
            self.content = True
            return
        loop = asyncio.get_running_loop()
        self._deadline = loop.time() + self._clocks.idle_s
        if not self.content:
            self.content = True
            if self._deadline < timer.when():
                timer.cancel()
                self._timer = loop.call_at(self._deadline, self._look)

    def stop(self) -> None:
        """No clock runs any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._deadline:
            self._timer = loop.call_at(self._deadline, self._look)
            return
        self._timer = None
        assert self._response is not None
        # The reader wakes with this error; it closes the connection.
        self._response.content.set_exception(_late(self._clocks, content=self.content))


def _late(clocks: Clocks, *, content: bool) -> ProviderTimeout:
    if content:
        text = f"the provider sent nothing new for {clocks.idle_s:g} s"
        return ProviderTimeout(text, clock="idle", in_stream=True)
    text = f"the provider did not begin to answer within {clocks.first_token_s:g} s"
    return ProviderTimeout(text, clock="first_token")
