"""Continuing an answer whose stream broke.

What was shown cannot be taken back, so its text stands. Unfinished reasoning, and every call of the
message, complete or not, is made anew: a call belongs to a message that its model has ended. The
rest of the text comes in one of these ways, the first that is possible:

    the provider goes on     it kept the answer (`ResumableStream`)                exact
    the model is prefilled   the request ends with what it said                    exact
    the model is asked       to begin with a given end of what it said (anchor)    exact if it does

The request that asks is not part of the conversation: it never enters the log.
"""

from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from palaver.domain.history import History
from palaver.domain.messages import Block, Flag, Message, Reasoning, Refusal, Text, ToolCall
from palaver.providers.base import ModelInfo, ModelRequest
from palaver.recovery.join import Joiner

QUOTED = 200
"""Characters of the end that are quoted to the model."""
ANCHOR = 60
"""Characters at most that it is asked to repeat: enough to be found once, cheap to say."""
_LEAST_ANCHOR = 16
_INSTRUCTION = """\
Your last message was cut off by a technical fault. It ended with:

<quote>
{quote}
</quote>

Go on from exactly there. First repeat what stands between the tags below, character by character \
and without the tags, then continue at once. Say nothing about the fault, do not greet, and do not \
begin anew.

<anchor>{anchor}</anchor>"""


class Standing(msgspec.Struct, frozen=True):
    """What stands of an answer that broke: finished reasoning, and the text that was shown."""

    reasoning: tuple[Reasoning, ...] = ()
    texts: tuple[Text, ...] = ()
    joins: int = 0
    """Breaks that it was continued behind so far."""
    is_exact: bool = True
    """Whether nothing is missing or twice at any of them."""

    @property
    def text(self) -> str:
        """All of the text."""
        return "".join(block.text for block in self.texts)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """As the beginning of a message."""
        return (*self.reasoning, *self.texts)

    @property
    def flags(self) -> tuple[Flag, ...]:
        """What a reader of the message must know."""
        if not self.joins:
            return ()
        return (Flag.JOINED,) if self.is_exact else (Flag.JOINED, Flag.JOIN_UNVERIFIED)


def standing(partial: Iterable[Block]) -> Standing:
    """What of an unfinished message stands. Reasoning without text behind it does not."""
    blocks = tuple(partial)
    texts = tuple(block for block in blocks if isinstance(block, Text) and block.text)
    reasoning = tuple(block for block in blocks if isinstance(block, Reasoning))
    return Standing(reasoning, texts) if texts else Standing()


def as_shown(partial: Sequence[Block], shown: str) -> tuple[Block, ...]:
    """An unfinished message with the text that was shown, where its stream knows of another one: a
    batch that was lost with the stream was read by nobody."""
    said = "".join(block.text for block in partial if isinstance(block, Text | Refusal))
    if said == shown:
        return tuple(partial)
    others = [block for block in partial if not isinstance(block, Text | Refusal)]
    at = next((i for i, block in enumerate(others) if not isinstance(block, Reasoning)), None)
    text = (Text(shown),) if shown else ()
    return (*others, *text) if at is None else (*others[:at], *text, *others[at:])


def can_stand(partial: Iterable[Block]) -> bool:
    """Whether an unfinished message can be continued: refusals and what only its provider knows
    (its own searches and their results) cannot."""
    return all(isinstance(block, Text | Reasoning | ToolCall) for block in partial)


def can_prefill(info: ModelInfo, request: ModelRequest, said: Standing) -> bool:
    """Whether the model goes on by itself behind an unfinished message. Not while it thinks:
    providers refuse both together."""
    thinks = said.reasoning or request.settings.reasoning not in (None, "off")
    return info.prefill and not thinks and bool(said.text.strip())


def continuation(
    request: ModelRequest, said: Standing, *, prefill: bool
) -> tuple[ModelRequest, Joiner]:
    """The request for the rest, and what joins it to `said`."""
    text = said.text
    kept = text.rstrip()
    if not kept:
        return request, Joiner(text, continues=True)
    messages = History.of(request.messages).append(Message.assistant(kept))
    if prefill:
        return replace(request, messages=messages), Joiner(text, continues=True)
    anchor = anchor_of(kept)
    told = _INSTRUCTION.format(quote=kept[-QUOTED:], anchor=anchor)
    asked = replace(request, messages=messages.append(Message.user(told)))
    return asked, Joiner(text, anchor=anchor)


def anchor_of(text: str) -> str:
    """The end of `text` (without white space behind it) that the model is to begin with: its last
    line, or the last words of it. A line that is too short takes more in front of it."""
    end = text[-ANCHOR:]
    line = end[end.rfind("\n") + 1 :].lstrip()
    if len(line) >= _LEAST_ANCHOR and len(line) < len(end):
        return line
    if len(text) > ANCHOR and not text[-ANCHOR - 1].isspace():
        first = next((i for i, char in enumerate(end) if char.isspace()), 0)
        if len(end) - first > _LEAST_ANCHOR:
            end = end[first:]
    return end.lstrip()


class Rejoining:
    """The second half of an answer while it comes."""

    def __init__(self, said: Standing, joiner: Joiner) -> None:
        self._said, self._joiner = said, joiner
        self.heard = False
        """Whether the second half said anything."""
        self._new: list[str] = []

    def add(self, text: str) -> str:
        """What of the text is new and clear by now."""
        self.heard = True
        return self._shown(self._joiner.add(text))

    def end(self) -> str:
        """What is left when the second half is over."""
        return self._shown(self._joiner.end())

    def partial(self, blocks: Sequence[Block]) -> tuple[Block, ...]:
        """Both halves as far as they were shown; `blocks` is what came of the second one."""
        new = "".join(self._new)
        texts: tuple[Text, ...] = (Text(new),) if new else ()
        reasoning = tuple(b for b in blocks if isinstance(b, Reasoning)) if texts else ()
        calls = tuple(b for b in blocks if isinstance(b, ToolCall))
        return (*self._said.reasoning, *reasoning, *_joined(self._said.texts, texts), *calls)

    def whole(self, blocks: Sequence[Block]) -> tuple[Block, ...]:
        """Both halves as one message; `blocks` is all of the second one."""
        joined = self._joiner.joined
        left = 0 if joined is None else joined.overlap
        before: list[Block] = []
        behind: list[Block] = []
        for block in blocks:
            if isinstance(block, Reasoning) and not behind:
                before.append(block)
            elif isinstance(block, Text):
                cut = block.text[left:]
                left -= len(block.text) - len(cut)
                if cut:
                    behind.append(replace(block, text=cut))
            else:
                behind.append(block)
        first = behind[:1] if behind and isinstance(behind[0], Text) else []
        texts = _joined(self._said.texts, tuple(b for b in first if isinstance(b, Text)))
        return (*self._said.reasoning, *before, *texts, *behind[len(first) :])

    def stands(self, blocks: Sequence[Block]) -> Standing:
        """What stands when this half broke, too."""
        made = standing(self.partial(blocks))
        return replace(made, joins=self._joins, is_exact=self._is_exact)

    @property
    def flags(self) -> tuple[Flag, ...]:
        """What a reader of the whole must know."""
        return replace(self._said, joins=self._joins, is_exact=self._is_exact).flags

    @property
    def _joins(self) -> int:
        return self._said.joins + (self._joiner.joined is not None)

    @property
    def _is_exact(self) -> bool:
        joined = self._joiner.joined
        return self._said.is_exact and (joined is None or joined.is_exact)

    def _shown(self, text: str) -> str:
        if text:
            self._new.append(text)
        return text


def _joined(first: tuple[Text, ...], second: tuple[Text, ...]) -> tuple[Text, ...]:
    """Both, with one block at the join; citations keep blocks apart."""
    if not first or not second or first[-1].annotations or second[0].annotations:
        return (*first, *second)
    middle = Text(first[-1].text + second[0].text)
    return (*first[:-1], middle, *second[1:])
