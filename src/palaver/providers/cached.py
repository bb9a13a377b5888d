"""An earlier answer, given again as if it were streamed: it stands in when no model can be reached.

It is whole, it called nothing, and it says exactly what it said then.
"""

import asyncio
from collections.abc import AsyncIterator

from palaver.domain.errors import StreamTruncated
from palaver.domain.messages import Block, Message, StopReason, Text
from palaver.domain.values import Usage
from palaver.providers.base import Finished, ModelEvent, TextPart

CACHE = "cache"
"""Who answers then, in place of a model's name."""


class CachedStream:
    """A `ModelStream` of one earlier message."""

    def __init__(self, message: Message) -> None:
        self.request_id = ""
        self._content = tuple(b for b in message.content if isinstance(b, Text) and b.text)
        self._stop = message.stop or StopReason.END_TURN
        self._came: tuple[Block, ...] = ()
        self._is_closed = False

    async def __aiter__(self) -> AsyncIterator[list[ModelEvent]]:
        """A batch for each block, and the end."""
        for count, block in enumerate(self._content, 1):
            await asyncio.sleep(0)  # a cancel is noticed
            if self._is_closed:
                raise StreamTruncated("the answer was closed before its end", in_stream=True)
            self._came = self._content[:count]
            yield [TextPart(block.text)]
        yield [Finished(self._content, self._stop, Usage(estimated=True), model=CACHE)]

    def partial(self) -> tuple[Block, ...]:
        """What has come so far."""
        return self._came

    def usage(self) -> Usage | None:
        """Nothing was used."""
        return Usage(estimated=True)

    async def aclose(self) -> None:
        """Say nothing more."""
        self._is_closed = True
