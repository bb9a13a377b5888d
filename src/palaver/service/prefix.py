"""How much of a history that a client sends is ours already.

A client of a stateless protocol sends its whole history with each request. It knows less than we
do: no ids, no reasoning, nothing of tools that ran here, and what a turn said between such tools it
may hold as one message. So two histories are *the same* when a client could not tell them apart:

- the same speakers say the same text, with the same attachments;
- calls that the client ran have the same names, arguments (as JSON) and results, in the same order;
- messages that only lead to calls that ran here may be missing, or be one with the answer behind
  them.

The client's messages are compared, not hashed: it had to send every one, and comparing equal text
costs less than a hash of it. Of all branches the one that agrees longest wins, before others the
active one.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import msgspec

from palaver.domain.ids import CallId, MessageId
from palaver.domain.messages import (
    Block,
    File,
    Image,
    Message,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from palaver.domain.state import ConversationState
from palaver.domain.text import clean

Shown: TypeAlias = tuple[str, tuple[str, ...]]
"""What a message or a result shows: its text, and its attachments by blob or address."""
_VISIBLE = (Text, Refusal)


class Matched(msgspec.Struct, frozen=True):
    """Where a client's history and ours part.

    The first `count` of the client's messages are the same here, and the last of ours among them is
    `at` (None: they agree in nothing). `is_answer`: that is an assistant's. `is_open`: its calls
    still wait for results, of which the client brings `results`.
    """

    count: int = 0
    at: MessageId | None = None
    is_answer: bool = False
    results: tuple[ToolResult, ...] = ()
    is_open: bool = False


def matched(state: ConversationState, messages: Sequence[Message]) -> Matched:
    """The longest beginning of `messages` that is the active path's, or another branch's.

    System messages and messages without content are nowhere part of it.
    """
    plain = _plainly_same(state, messages)
    return _Search(state, tuple(_said(messages, plain)), plain).best


class _Said(msgspec.Struct, frozen=True, gc=False):
    """A message of the client, with the results of its calls. `end`: how many of the client's
    messages it and those before it are."""

    is_user: bool
    shown: Shown
    calls: tuple[ToolCall, ...]
    results: dict[CallId, ToolResult]
    end: int


class _Step(msgspec.Struct, frozen=True, gc=False):
    """Ours at position `at` of `line` comes next, the client's `said` next; of that, `before` was
    said by messages of ours already."""

    line: int
    at: int
    said: int = 0
    before: str = ""


class _Search:
    """Goes along all branches as far as they agree."""

    def __init__(self, state: ConversationState, said: tuple[_Said, ...], plain: int) -> None:
        self._state, self._said = state, said
        self._lines: list[Sequence[Message]] = [state.messages]
        self._lines += [tail.messages for tail in state.aside]
        self._begins = _begins(state)
        self._plain, self.best = plain, Matched()
        last = state.messages[plain - 1] if plain else None
        if last is not None:
            self.best = Matched(plain, last.id, last.role is Role.ASSISTANT)
        behind = self._begins.get(None if last is None else last.id, ())
        self._steps = [*(_Step(n, 0) for n in behind), _Step(0, plain)]
        self._run()

    def _run(self) -> None:
        seen: set[tuple[int, int, int, int]] = set()
        while self._steps:
            step = self._steps.pop()
            key = (step.line, step.at, step.said, len(step.before))
            if key in seen or step.at >= len(self._lines[step.line]):
                continue
            seen.add(key)
            if self._lines[step.line][step.at].role is Role.ASSISTANT:
                self._take_answer(step)
            else:
                self._take_other(step)

    def _take_other(self, step: _Step) -> None:
        ours = self._lines[step.line][step.at]
        said = self._next(step)
        if said is None or step.before or ours.role is not Role.USER or not said.is_user:
            return
        if said.shown == _shown(ours.content):
            self._agree(said, ours)
            self._go_on(_Step(step.line, step.at, step.said + 1))

    def _take_answer(self, step: _Step) -> None:
        line = self._lines[step.line]
        ours, at = line[step.at], step.at
        results: dict[CallId, ToolResult] = {}
        if ours.tool_calls and at + 1 < len(line) and line[at + 1].role is Role.TOOL:
            at += 1
            results = {r.call_id: r for r in line[at].tool_results}
        text, attached = _shown(ours.content)
        text = step.before + text
        known = [c for c in ours.tool_calls if self._is_known(c, results)]
        said = self._next(step)
        if said is not None and not said.is_user and said.shown == (text, attached):
            for calls in (ours.tool_calls, known):
                if self._same_calls(said, calls, results):
                    self._agree_calls(said, line[at], calls, results)
                    if len(results) == len(ours.tool_calls):
                        self._go_on(_Step(step.line, at, step.said + 1))
                    break
        if known or len(results) < len(ours.tool_calls):
            return
        if said is not None and not said.is_user and said.shown[0].startswith(text):
            self._go_on(_Step(step.line, at, step.said, text))
        if not text.strip():
            self._pass_over(_Step(step.line, at, step.said))

    def _pass_over(self, step: _Step) -> None:
        """A message of ours that no client sees. Where nothing follows it, it stays: what its calls
        did is not to be done again."""
        self._go_on(step)
        before = self._said[step.said - 1].end if step.said else self._plain
        path = self._state.messages
        if step.line == 0 and step.at + 1 == len(path) and 0 < before == self.best.count:
            self.best = Matched(before, path[-1].id, path[-1].role is Role.ASSISTANT)

    def _is_known(self, call: ToolCall, results: dict[CallId, ToolResult]) -> bool:
        """Whether the client ran the call, or is to."""
        if call.id in results:
            return results[call.id].by_client
        opened = self._state.turn
        return opened is not None and opened.is_clients(call.name)

    def _same_calls(
        self, said: _Said, calls: Sequence[ToolCall], results: dict[CallId, ToolResult]
    ) -> bool:
        if len(said.calls) != len(calls):
            return False
        for theirs, ours in zip(said.calls, calls, strict=True):
            if theirs.name != ours.name or not _same_arguments(theirs, ours):
                return False
            if ours.id in results:
                given = said.results.get(theirs.id)
                if given is None or _client(given.content) != _shown(results[ours.id].content):
                    return False
        return True

    def _agree_calls(
        self,
        said: _Said,
        at: Message,
        calls: Sequence[ToolCall],
        results: dict[CallId, ToolResult],
    ) -> None:
        waiting = [
            (theirs, ours)
            for theirs, ours in zip(said.calls, calls, strict=True)
            if ours.id not in results
        ]
        brought = tuple(
            msgspec.structs.replace(said.results[theirs.id], call_id=ours.id, name=ours.name)
            for theirs, ours in waiting
            if theirs.id in said.results
        )
        self._agree(said, at, brought, is_open=bool(waiting))

    def _agree(
        self,
        said: _Said,
        at: Message,
        results: tuple[ToolResult, ...] = (),
        *,
        is_open: bool = False,
    ) -> None:
        if said.end > self.best.count:
            self.best = Matched(said.end, at.id, at.role is Role.ASSISTANT, results, is_open)

    def _next(self, step: _Step) -> _Said | None:
        return self._said[step.said] if step.said < len(self._said) else None

    def _go_on(self, step: _Step) -> None:
        """Look at what follows ours at this step's position, on its line and on others."""
        behind = self._lines[step.line][step.at].id
        for line in reversed(self._begins.get(behind, ())):
            self._steps.append(_Step(line, 0, step.said, step.before))
        self._steps.append(_Step(step.line, step.at + 1, step.said, step.before))


def _begins(state: ConversationState) -> dict[MessageId | None, list[int]]:
    """Tails by the message behind which they begin, as lines of the search."""
    begins: dict[MessageId | None, list[int]] = {}
    for number, tail in enumerate(state.aside, 1):
        begins.setdefault(tail.parent, []).append(number)
    return begins


def _plainly_same(state: ConversationState, messages: Sequence[Message]) -> int:
    """How many messages of the path are the client's one by one, up to a user who speaks: there is
    nothing to search in them. Nearly all of a long history is."""
    begins, at = _begins(state), 0
    before: Message | None = None
    for number, (ours, theirs) in enumerate(zip(state.messages, messages, strict=False)):
        if ours.role is Role.USER:
            at = number
        behind = begins.get(None if before is None else before.id, ()) if begins else ()
        could_be = any(state.aside[n - 1].messages[0].role is ours.role for n in behind)
        if (could_be and ours.role is not Role.USER) or not _is_plain(ours, theirs, before):
            return at
        if any(_said_alike(state.aside[n - 1].messages[0], ours) for n in behind):
            return at
        before = ours
    return at


def _is_plain(ours: Message, theirs: Message, before: Message | None) -> bool:
    """Whether they are the same whatever comes before and behind them."""
    if ours.role is not theirs.role:
        return False
    if ours.role is Role.TOOL:
        one, other = ours.tool_results, theirs.tool_results
        calls = () if before is None else before.tool_calls
        return len(one) == len(other) == len(calls) and all(
            a.by_client and a.call_id == b.call_id and _shown(a.content) == _client(b.content)
            for a, b in zip(one, other, strict=True)
        )
    if before is not None and before.role is ours.role is Role.ASSISTANT:
        return False
    if ours.content == theirs.content:
        return bool(ours.content)
    if ours.role is Role.USER or not _said_alike(ours, theirs):
        return False
    one_by_one = zip(ours.tool_calls, theirs.tool_calls, strict=False)
    same = (a.id == b.id and a.name == b.name and a.arguments == b.arguments for a, b in one_by_one)
    return len(ours.tool_calls) == len(theirs.tool_calls) and all(same)


def _said_alike(one: Message, other: Message) -> bool:
    return _shown(one.content) == _shown(other.content)


def _said(messages: Sequence[Message], at: int) -> Iterator[_Said]:
    """What a client says behind its first `at` messages, as far as they make sense: each call with
    its result."""
    while at < len(messages):
        message = messages[at]
        at += 1
        results: dict[CallId, ToolResult] = {}
        if message.role is Role.ASSISTANT:
            ids = {call.id for call in message.tool_calls}
            if len(ids) < len(message.tool_calls):
                return
            while at < len(messages) and messages[at].role is Role.TOOL:
                for block in messages[at].content:
                    if not isinstance(block, ToolResult) or block.call_id not in ids:
                        return
                    ids.remove(block.call_id)
                    results[block.call_id] = block
                at += 1
        elif message.role is not Role.USER:
            return
        shown = _client(message.content)
        if message.tool_calls or shown[0].strip() or shown[1]:
            yield _Said(message.role is Role.USER, shown, message.tool_calls, results, at)


def _client(content: Sequence[Block]) -> Shown:
    """The same of what is not stored yet."""
    text, attached = _shown(content)
    return clean(text)[0], attached


def _shown(content: Sequence[Block]) -> Shown:
    if len(content) == 1 and isinstance(content[0], Text):
        return content[0].text, ()
    text = "".join([b.text for b in content if isinstance(b, _VISIBLE)])
    attached = tuple([f"{b.blob or b.url}" for b in content if isinstance(b, Image | File)])
    return text, attached


def _same_arguments(one: ToolCall, other: ToolCall) -> bool:
    if one.arguments == other.arguments:
        return True
    try:
        return one.parsed() == other.parsed()
    except (ValueError, RecursionError):
        return False
