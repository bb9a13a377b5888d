"""Reading a conversation without a model: its key sentences, and where something was said."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from palaver.domain.messages import Flag, Message, Role

_SENTENCE = re.compile(r"[^.!?。！？\n]+(?:[.!?。！？]+(?=\s|$|[\"'”’)])|[。！？]|\n|$|[.!?])")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")
_SENTENCES = 6
_MOST_READ = 4_000
"""Sentences of a long conversation that are weighed: its first tenth and its end."""
_SHORTEST = 12
"""Characters of a sentence that can say something."""
_EXCERPT = 240
_HITS = 5
_STOP_WORDS = """
a an and any are as at be been but by can could did do does for from had has have he her his
how i if in into is it its just like may me more most my no not of on one or our out she so
some than that the their them then there these they this to too up us was we were what when
where which who why will with would you your
"""
_STOP = frozenset(_STOP_WORDS.split())
_WHO = {Role.USER: "You", Role.ASSISTANT: "Answer"}


class _Sentence(msgspec.Struct, frozen=True):
    who: str
    text: str
    words: frozenset[str]
    at: int


def summary(messages: Sequence[Message]) -> str:
    """The sentences that hold most of what `messages` are about, in their order; extracted only."""
    sentences = _sentences(messages)
    if not sentences:
        return "There is nothing to summarise yet."
    picked = sorted(_picked(sentences), key=lambda s: s.at)
    lines = "\n".join(f"- **{s.who}:** {s.text}" for s in picked)
    turns = sum(message.role is Role.USER for message in messages)
    counted = f"{turns} message{'s' if turns != 1 else ''} of yours"
    return (
        f"This conversation so far ({counted}); sentences picked word for word, "
        f"not written by a language model:\n\n{lines}"
    )


def mentions(messages: Sequence[Message], about: str, *, role: Role | None = None) -> str:
    """Where `about` was said before, the newest last; by `role` only, if given."""
    wanted = _words(about) or set(_WORD.findall(about.lower()))
    found: list[tuple[int, str, str]] = []
    for number, message in enumerate(messages, 1):
        if message.role not in _WHO or (role is not None and message.role is not role):
            continue
        share = len(wanted & _words(message.text)) / len(wanted) if wanted else 0.0
        if share > 0.5 or (about.strip() and about.lower() in message.text.lower()):
            found.append((number, _WHO[message.role], _excerpt(message.text, about, wanted)))
    if not found:
        return f"I find nothing about “{about[:100]}” in this conversation."
    lines = "\n".join(
        f"- message {number}, **{who}:** {text}" for number, who, text in found[-_HITS:]
    )
    more = f" (the last {_HITS} of {len(found)})" if len(found) > _HITS else ""
    return f"About “{about[:100]}” in this conversation{more}:\n\n{lines}"


def _sentences(messages: Iterable[Message]) -> list[_Sentence]:
    found: list[_Sentence] = []
    for message in messages:
        if message.role not in _WHO or Flag.OFFLINE in message.flags:
            continue
        for part in _SENTENCE.findall(_prose(message.text)):
            text = " ".join(part.split()).lstrip("#>*-• ").strip()
            words = frozenset(_words(text))
            if (words and len(text) >= _SHORTEST) or _UNSPACED.search(text):
                found.append(_Sentence(_WHO[message.role], text, words, len(found)))
    if len(found) <= _MOST_READ:
        return found
    return found[: _MOST_READ // 10] + found[-_MOST_READ * 9 // 10 :]


def _picked(sentences: list[_Sentence]) -> list[_Sentence]:
    """The best, each judged anew after the words of those before it are covered."""
    counts = Counter(word for sentence in sentences for word in sentence.words)
    first_ask = next((s for s in sentences if s.who == "You"), None)
    picked = [first_ask] if first_ask is not None else []
    left = [s for s in sentences if s is not first_ask]
    covered: set[str] = set(first_ask.words) if first_ask is not None else set()
    while left and len(picked) < _SENTENCES:
        best = max(left, key=lambda s: (_worth(s, counts, covered), s.at))
        if _worth(best, counts, covered) <= 0:
            break
        picked.append(best)
        left.remove(best)
        covered |= best.words
    return [_shortened(sentence) for sentence in picked]


def _worth(sentence: _Sentence, counts: Counter[str], covered: set[str]) -> float:
    fresh = sum(min(counts[word], 8) for word in sentence.words - covered)
    # Long sentences hold more words without saying more; what a person said weighs more.
    return fresh / (len(sentence.words) + 4) * (1.3 if sentence.who == "You" else 1.0)


def _shortened(sentence: _Sentence) -> _Sentence:
    if len(sentence.text) <= _EXCERPT:
        return sentence
    return msgspec.structs.replace(sentence, text=sentence.text[:_EXCERPT].rstrip() + "…")


def _prose(text: str) -> str:
    return re.sub(r"```.*?(```|$)", " ", text, flags=re.DOTALL)


def _words(text: str) -> set[str]:
    words: set[str] = set()
    for word in _WORD.findall(text.lower()):
        if _UNSPACED.search(word):
            words.update(word[i : i + 2] for i in range(max(1, len(word) - 1)))
        elif word not in _STOP and len(word) > 1:
            words.add(word)
    return words


def _excerpt(text: str, about: str, wanted: set[str]) -> str:
    flat = " ".join(text.split())
    places = [
        flat.lower().find(about.lower()),
        *(flat.lower().find(word) for word in sorted(wanted)),
    ]
    start = max(0, next((place for place in places if place >= 0), 0) - 80)
    cut = flat[start : start + _EXCERPT]
    return ("…" if start else "") + cut + ("…" if start + _EXCERPT < len(flat) else "")
