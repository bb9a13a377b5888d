"""Compaction, topics and counting without the rest of Palaver: messages in, messages out.

Offline and deterministic. What comes in is arranged into valid history (`arranging`), made smaller
by the tier that no model has a part in (`offline`), and given back in the kind that it came in.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

from palaver.context.arranging import Arrangement
from palaver.context.counting import Counter
from palaver.context.draft import Task
from palaver.context.kind_of import kind_of
from palaver.context.kinds_parts import blocks
from palaver.context.pieces import Sizes, earlier, first_and_latest, shrunk
from palaver.context.segment import segment as boundaries
from palaver.context.tokens import text_tokens
from palaver.domain.errors import InvalidInput
from palaver.domain.ids import MessageId
from palaver.domain.messages import Message, Text

M = TypeVar("M")
_NONE: Collection[int] = ()


def compact(
    messages: Iterable[M],
    budget_tokens: int,
    *,
    count: Callable[[Any], float] | object | None = None,
    model: str = "",
    keep: Collection[int] = _NONE,
) -> list[M]:
    """The conversation within `budget_tokens`, as valid history for Anthropic and OpenAI.

    Takes dictionaries of chat completions, LangChain's messages, or Palaver's; a new list comes
    back, of the same kind. Messages that are kept are the very objects that came in, nothing is
    changed in place. System messages, the first and the latest message of the user, and those at
    the positions `keep` stay word for word. History that is valid and fits comes back as it is;
    what no provider takes is mended (see `arranging`), also a call at the end without its result:
    a `Window` is for asking between a call and its result.

    `count`: tokens of a list of messages, of one message, or of a text, whichever it takes; by
    default Palaver's estimate for `model` (`provider:name`). The result is within the budget by
    that same counter.

    Raises ContextWindowExceeded when what must stay is larger than the budget, with its name in
    `part`; InvalidInput for what is no message, or for a counter that counts nothing.
    """
    given = list(messages)
    counter = Counter(count, model=model)
    arrangement = Arrangement()
    places = [arrangement.add(message) for message in given]
    arrangement.close()
    pieces = arrangement.pieces
    whole = [each for piece in pieces for each in piece.foreign]
    if not whole:
        return []
    kind = pieces[0].kind
    sizes = Sizes(pieces, counter, kind)
    if counter.whole(whole, sum(map(sizes.add, pieces))) <= budget_tokens:
        return whole  # type: ignore[return-value]
    kept = {places[_index(at, len(given))] for at in keep}
    pins = frozenset(MessageId(str(at)) for at in {*kept, *first_and_latest(pieces)})
    task = Task(
        messages=[piece.message for piece in pieces],
        target=budget_tokens,
        count=sizes,
        pins=pins,
        previous=earlier(pieces, pins),
    )
    return shrunk(task, pieces, counter, kind)[1]  # type: ignore[return-value]


def count(
    messages: object, *, model: str = "", count: Callable[[Any], float] | object | None = None
) -> int:
    """Tokens of a list of messages, of one message, or of a text, as `compact` counts them.

    An estimate, unless `count` is a counter of one's own. `model`: `provider:name`; pictures cost
    differently.
    """
    counter = Counter(count, model=model)
    if isinstance(messages, str):
        return text_tokens(messages) if count is None else counter.text(messages)
    if isinstance(messages, Mapping | Message) or not isinstance(messages, Iterable):
        return counter.message(messages)
    given = list(messages)
    return counter.messages(given)


def segment(utterances: Iterable[object]) -> list[int]:
    """The indices of the utterances that open a new topic, ascending; 0 is not listed.

    Takes texts, `(speaker, text)` pairs, dictionaries (`content`, `text` or `utterance`; `role`,
    `speaker` or `name`) and messages of LangChain or Palaver, in any language.
    """
    return boundaries([_utterance(one) for one in utterances])


def _utterance(one: object) -> tuple[str, str]:
    if isinstance(one, str):
        return "", one
    if isinstance(one, tuple) and len(one) == 2:
        return str(one[0]), str(one[1])
    if isinstance(one, Mapping) and "role" not in one:
        speaker, text = (next((one[n] for n in names if one.get(n)), "") for names in _NAMES)
        return str(speaker), "".join(b.text for b in blocks(text) if isinstance(b, Text))
    message = kind_of(one).read(one).message
    told = message.text or "\n".join(result.text for result in message.tool_results)
    return str(message.role), told


_NAMES = (("speaker", "name"), ("content", "text", "utterance"))


def _index(at: int, length: int) -> int:
    if not -length <= at < length:
        raise InvalidInput(f"there is no message {at} to keep; there are {length}")
    return at % length
