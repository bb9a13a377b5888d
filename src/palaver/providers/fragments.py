"""Messages as they were encoded for a wire, so that a turn does not encode its whole history again.

A request repeats every message of the one before it. Each message is encoded once; a body is the
join of what is kept here and a few new pieces.
"""

from collections import OrderedDict

from palaver.domain.messages import Block, Message

DEFAULT_BYTES = 32 * 1024 * 1024
"""Kept per model: some 40 conversations of 200,000 tokens. Larger single messages are not kept."""


class Fragments:
    """Encoded messages, the least recently used leave first; `capacity` bounds their bytes.

    A message that changed under its id (a growing tool message) is another content and a miss.
    """

    def __init__(self, capacity: int = DEFAULT_BYTES) -> None:
        self._capacity = capacity
        self._size = 0
        self._kept: OrderedDict[tuple[str, int], tuple[tuple[Block, ...], bytes]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """Bytes kept."""
        return self._size

    def get(self, message: Message) -> bytes | None:
        """The encoding of exactly this message, or None."""
        key = (message.id, id(message.content))
        found = self._kept.get(key)
        # The entry holds the content, so its address cannot belong to another one meanwhile.
        if found is None or found[0] is not message.content:
            return None
        self._kept.move_to_end(key)
        return found[1]

    def put(self, message: Message, encoded: bytes) -> None:
        """Keep the encoding of `message`, and let go of old ones until all fit."""
        if len(encoded) > self._capacity:
            return
        key = (message.id, id(message.content))
        before = self._kept.pop(key, None)
        if before is not None:
            self._size -= len(before[1])
        self._kept[key] = (message.content, encoded)
        self._size += len(encoded)
        while self._size > self._capacity:
            _, (_, old) = self._kept.popitem(last=False)
            self._size -= len(old)
