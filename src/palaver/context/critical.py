"""What a conversation must not lose, found in the words of its messages.

Only what a person typed binds: constraints and corrections are looked for in messages of the user,
never in what tools returned, so a fetched page cannot plant one. Decisions are looked for in both
speakers' words. Pasted code, quotes and logs are passed over, and of a very long message only its
beginning and end are read, where people put what they want.
"""

import re
from bisect import bisect_right

import msgspec

from palaver.context.critical_cues import CHOICE, CONSTRAINT, CORRECTION, DECISION, INSTEAD
from palaver.context.words import sentences
from palaver.domain.messages import Flag, Message, Role

_HEAD, _TAIL = 4_000, 2_000
_SHORTEST, _LONGEST = 4, 400
"""Characters of a sentence that is quoted; a shorter one says nothing by itself."""
_MOST = 12
"""Sentences of one message; who forbids more at once wrote a document, and is quoted elsewhere."""
_FENCED = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|<(\w+)>.*?</\1>", re.DOTALL)
_QUOTED = re.compile(r"^(?:>|\s{4,}|\t|\S+:\d+:|\d{4}-\d\d-\d\d).*$", re.MULTILINE)


class Statement(msgspec.Struct, frozen=True, gc=False):
    """One sentence that counts: `kind` as in `CriticalFact`."""

    kind: str
    text: str


def statements(message: Message) -> tuple[Statement, ...]:
    """The binding sentences of a message, in order, each once with its strongest kind.

    A question binds nothing, unless it holds a correction.
    """
    if message.role not in _SPEAKERS or Flag.SYNTHETIC in message.flags:
        return ()
    text = _typed(message.text)
    folded = text.lower().replace("’", "'")
    if not folded.strip() or len(folded) != len(text):  # a few letters grow when they are lowered
        folded = text
    kinds = _USER if message.role is Role.USER else _ASSISTANT
    hits = [(kind, cue.starts(folded)) for kind, cue in kinds]
    if not any(starts for _, starts in hits):
        return ()
    return _sentences_at(text, hits)


def _sentences_at(text: str, hits: list[tuple[str, list[int]]]) -> tuple[Statement, ...]:
    spans = sentences(text, longest=_LONGEST)
    starts = [start for start, _ in spans]
    kinds: dict[int, str] = {}
    for kind, places in hits:
        for place in places:
            at = bisect_right(starts, place) - 1
            if at >= 0 and at not in kinds and _binds(text[slice(*spans[at])], kind):
                kinds[at] = kind
    found = [Statement(kinds[at], text[slice(*spans[at])]) for at in sorted(kinds)]
    return tuple(found if len(found) <= _MOST else (*found[: _MOST // 2], *found[-_MOST // 2 :]))


def _binds(sentence: str, kind: str) -> bool:
    if len(sentence) < _SHORTEST:
        return False
    return kind == "correction" or sentence[-1] not in "?？؟;"


def _typed(text: str) -> str:
    """`text` without what was pasted into it, as far as that can be told."""
    if len(text) > _HEAD + _TAIL:
        text = f"{text[:_HEAD]}\n\n{text[-_TAIL:]}"
    if "```" in text or "~~~" in text or "</" in text:
        text = _FENCED.sub("\n\n", text)
    return _QUOTED.sub("", text) if "\n" in text or text.startswith(">") else text


_SPEAKERS = (Role.USER, Role.ASSISTANT)
# The strongest reading first. "Instead" takes something back, unless the sentence also forbids
# something; "I'll use …" settles a matter where a person says it, and is a step of an agent's work.
_USER = (
    ("correction", CORRECTION),
    ("constraint", CONSTRAINT),
    ("correction", INSTEAD),
    ("decision", DECISION),
    ("decision", CHOICE),
)
_ASSISTANT = (("decision", DECISION),)
