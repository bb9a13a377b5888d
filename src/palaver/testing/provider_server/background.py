"""Responses in background mode: their events are kept, and can be read again from any of them."""

import re
from collections.abc import Iterator, Sequence

from palaver.testing.provider_server.faults import Fault
from palaver.testing.provider_server.refusal import Refused
from palaver.testing.provider_server.reply import Signal

_NUMBER = re.compile(rb'"sequence_number":(\d+)')


class Background:
    """What a server keeps. `faults`: of the next readings, one tuple for each; `cancelled`: ids."""

    def __init__(self) -> None:
        self.faults: list[tuple[Fault, ...]] = []
        self.cancelled: list[str] = []
        self._kept: dict[str, list[bytes]] = {}

    def keep(self, response: str, frames: Sequence[bytes | Signal]) -> None:
        """Remember all that will be said, also what no connection lives to hear."""
        self._kept[response] = [frame for frame in frames if isinstance(frame, bytes)]

    @property
    def newest(self) -> str:
        """The id of the newest response; empty where there is none."""
        return next(reversed(self._kept), "")

    def after(self, response: str, number: int) -> Iterator[bytes]:
        """The events behind the one with this number. Raises Refused."""
        return (frame for frame in self._found(response) if _number(frame) > number)

    def cancel(self, response: str) -> None:
        """End it. Raises Refused."""
        self._found(response)
        self.cancelled.append(response)

    def next_faults(self) -> tuple[Fault, ...]:
        """What goes wrong with the next reading."""
        return self.faults.pop(0) if self.faults else ()

    def _found(self, response: str) -> list[bytes]:
        if response not in self._kept:
            text = f"Response with id '{response}' not found."
            raise Refused(404, "invalid_request_error", text)
        return self._kept[response]


def _number(frame: bytes) -> int:
    found = _NUMBER.search(frame)
    return int(found[1]) if found else -1
