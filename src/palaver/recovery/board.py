"""A board in memory: breakers that several managers of one process share. A board between processes
has the same methods over something that they all reach."""

from collections.abc import Callable

from palaver.recovery.breaker import Heard


class MemoryBoard:
    """A `Board`. Whoever listens hears the others, not itself."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._listeners: list[Heard] = []
        self._probes: dict[str, tuple[float, Heard]] = {}

    def listen(self, heard: Heard) -> None:
        """Call `heard` for what others say."""
        self._listeners.append(heard)

    async def opened(self, name: str, seconds: float, error: str, *, by: Heard) -> None:
        """Tell the others that `name` is to be left alone for so long."""
        self._probes.pop(name, None)
        self._tell(name, seconds, error, by)

    async def closed(self, name: str, *, by: Heard) -> None:
        """Tell the others that `name` answers again."""
        self._probes.pop(name, None)
        self._tell(name, 0.0, "", by)

    async def take_probe(self, name: str, seconds: float, *, by: Heard) -> bool:
        """Whether the one probe is `by`'s, now or already; it expires after `seconds`."""
        now = self._monotonic()
        until, whose = self._probes.get(name, (0.0, by))
        if now < until and whose != by:
            return False
        self._probes[name] = (now + seconds, by)
        return True

    def _tell(self, name: str, seconds: float, error: str, by: Heard) -> None:
        for listener in self._listeners:
            if listener != by:
                listener(name, seconds, error)
