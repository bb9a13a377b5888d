"""Tokens and the prompt cache, by a simple and honest model.

Four characters are a token, an image or file 1,500. The cache knows prefixes: it is written at
Anthropic's breakpoints and read where one of the up to 20 blocks before a breakpoint was written
before; OpenAI's caches every prefix by itself, in steps of 128. Below 1,024 tokens nothing is kept.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from palaver.domain.values import Usage

CACHE_MINIMUM = 1024
_LOOK_BACK = 20
_OPENAI_STEP = 128
_BINARY_TOKENS = 1500


def tokens(value: object) -> int:
    """What a part of a request weighs."""
    return -(-_characters(value) // 4)


def _characters(value: object) -> int:
    # Decoded JSON only; long histories are counted often, and `Mapping` is slow to ask for.
    if isinstance(value, str):
        return _BINARY_TOKENS * 4 if value.startswith("data:") else len(value)
    if isinstance(value, dict):
        return sum(
            _BINARY_TOKENS * 4 if key == "data" else _characters(item)
            for key, item in value.items()
            if key != "cache_control"
        )
    if isinstance(value, list):
        return sum(map(_characters, value))
    return 1 if value is not None else 0


class PromptCache:
    """Remembers prefixes of requests as hashes."""

    def __init__(self) -> None:
        self._written: set[bytes] = set()

    def anthropic(self, body: Mapping[str, Any]) -> Usage:
        """What a request reads, creates and pays in full. Remembers what it creates."""
        points = list(_prefixes(body.get("model"), _anthropic_blocks(body)))
        total = points[-1][1] if points else 0
        marked = [i for i, (_, _, is_marked) in enumerate(points) if is_marked]
        if not marked or points[marked[-1]][1] < CACHE_MINIMUM:
            return Usage(input=total)
        read = 0
        for mark in marked:
            for digest, count, _ in points[max(0, mark - _LOOK_BACK) : mark + 1]:
                if digest in self._written:
                    read = max(read, count)
        self._written.update(points[i][0] for i in marked if points[i][1] >= CACHE_MINIMUM)
        end = points[marked[-1]][1]
        return Usage(input=total - end, cache_read=read, cache_creation=end - read)

    def openai(self, model: object, blocks: Iterable[object]) -> Usage:
        """What a request reads and pays in full. Remembers every prefix."""
        points = list(_prefixes(model, ((block, False) for block in blocks)))
        total = points[-1][1] if points else 0
        read = max((count for digest, count, _ in points if digest in self._written), default=0)
        self._written.update(d for d, count, _ in points if count >= CACHE_MINIMUM)
        read = read // _OPENAI_STEP * _OPENAI_STEP
        return Usage(input=total - read, cache_read=read)


def _prefixes(
    model: object, blocks: Iterable[tuple[object, bool]]
) -> Iterator[tuple[bytes, int, bool]]:
    digest, count = hashlib.sha256(str(model).encode()), 0
    for block, is_marked in blocks:
        digest.update(msgspec.json.encode(block))
        count += tokens(block)
        yield digest.digest(), count, is_marked


def _anthropic_blocks(body: Mapping[str, Any]) -> Iterator[tuple[object, bool]]:
    """Tools, system, messages: the order in which Anthropic builds the prompt."""
    for tool in body.get("tools") or ():
        yield _unmarked(tool)
    yield from _content(body.get("system") or [])
    for message in body["messages"]:
        for block, is_marked in _content(message["content"]):
            yield [message["role"], block], is_marked


def _content(content: object) -> Iterator[tuple[object, bool]]:
    if isinstance(content, str):
        yield {"type": "text", "text": content}, False
    elif isinstance(content, list):
        for block in content:
            yield _unmarked(block)


def _unmarked(block: Mapping[str, Any]) -> tuple[object, bool]:
    return {k: v for k, v in block.items() if k != "cache_control"}, bool(
        block.get("cache_control")
    )
