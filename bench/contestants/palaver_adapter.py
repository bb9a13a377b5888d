"""Palaver's provider adapter alone: what a stream costs before engine, log and subscriber."""

from pathlib import Path
from typing import Any

from bench.contestants.base import Heard
from bench.contestants.palaver_engine import model
from bench.wire import Api


class PalaverAdapter:
    """`Model.stream`; answers no calls."""

    def __init__(self) -> None:
        self._model: Any = None
        self._messages: tuple[Any, ...] = ()

    async def begin(self, api: Api, url: str, folder: Path, *, tools: bool) -> None:
        await self.aclose()
        self._model = model(api, url)

    async def another(self) -> "PalaverAdapter":
        made = PalaverAdapter()
        made._model = self._model
        return made

    async def say(self, text: str, heard: Heard) -> None:
        from palaver.domain.ids import MessageId
        from palaver.domain.messages import Message, Role, Text
        from palaver.providers.base import ModelRequest, TextPart

        message = Message(Role.USER, (Text(text),), MessageId("msg_bench"))
        stream = self._model.stream(ModelRequest((message,)))
        async for batch in stream:
            for event in batch:
                if type(event) is TextPart:
                    heard(event.text)
        await stream.aclose()

    async def fill(self, turns: int) -> None:
        raise NotImplementedError("Palaver lives through every turn")

    async def aclose(self) -> None:
        if self._model is not None:
            await self._model.aclose()
            self._model = None
