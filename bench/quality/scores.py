"""What survives: arguments of later calls, the user's words, the evidence of an answer."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import mean

import msgspec

from bench.quality.data import Case, Meeting, count, holds, text_of
from bench.quality.rivals import Way, content_words
from palaver.context import offline
from palaver.context.draft import Task
from palaver.context.tokens import text_tokens
from palaver.context.words import sentences
from palaver.domain.compaction import Written
from palaver.domain.messages import Message, Role
from palaver.testing import valid_history


class Score(msgspec.Struct, frozen=True):
    """Shares, 0 to 1."""

    arguments: float
    """Of all needed arguments those that are still there."""
    single: float
    """The same of those without space in them: names, codes, dates, paths."""
    every: float
    """Of the cuts those where none is lost."""
    said: float
    """Of the user's messages those that stand there word for word."""
    valid: float
    used: float
    cases: int


def scored(way: Way, cases: Sequence[Case], ratio: float) -> Score:
    """How well a way does on all cases when `ratio` of their tokens may stay."""
    kept = needed = singles = single = 0
    every: list[bool] = []
    said: list[float] = []
    valid: list[bool] = []
    used: list[float] = []
    for case in cases:
        full = sum(map(count, case.prefix))
        made = way(case, int(full * ratio))
        text = text_of(made)
        there = [holds(text, value) for value in case.needed]
        kept, needed = kept + sum(there), needed + len(there)
        alone = [ok for ok, value in zip(there, case.needed, strict=True) if not _has_space(value)]
        single, singles = single + sum(alone), singles + len(alone)
        every.append(all(there))
        spoken = {m.text for m in made if m.role is Role.USER}
        if case.said:
            said.append(mean(one in spoken for one in case.said))
        valid.append(not valid_history(made))
        used.append(sum(map(count, made)) / full)
    return Score(
        arguments=kept / max(1, needed),
        single=single / max(1, singles),
        every=mean(every),
        said=mean(said),
        valid=mean(valid),
        used=mean(used),
        cases=len(cases),
    )


def _has_space(value: str) -> bool:
    return any(sign.isspace() for sign in value)


class Evidence(msgspec.Struct, frozen=True):
    """`answer`: of the answer's words that the evidence has, those that are still in it. `content`:
    of the evidence's words, weighed by rarity, the same. `turns`: `content` for each turn alone."""

    answer: float
    content: float
    turns: float


Retained = dict[int, str]
"""What is left of each turn."""


def evidence(retained: Retained, meeting: Meeting) -> list[Evidence]:
    """For each query what is left of its evidence."""
    seen = Counter(w for _, said in meeting.turns for w in content_words(said))
    rarity = {w: math.log((len(meeting.turns) + 1) / n) for w, n in seen.items()}
    left = {at: content_words(text) for at, text in retained.items()}
    found = []
    for answer, turns in meeting.queries:
        whole = frozenset[str]().union(*(content_words(meeting.turns[at][1]) for at in turns))
        kept = frozenset[str]().union(*(left.get(at, frozenset()) for at in turns))
        asked = content_words(answer) & whole
        each = [
            _share(words, left.get(at, frozenset()), rarity)
            for at in turns
            if (words := content_words(meeting.turns[at][1]))
        ]
        if asked and each:
            answered = len(asked & kept) / len(asked)
            found.append(Evidence(answered, _share(whole, kept, rarity), mean(each)))
    return found


def _share(whole: frozenset[str], kept: frozenset[str], rarity: dict[str, float]) -> float:
    total = sum(rarity[w] for w in whole)
    return sum(rarity[w] for w in whole if w in kept) / total if total else 1.0


def picked(meeting: Meeting, ratio: float, order: Callable[[Sequence[str]], list[int]]) -> Retained:
    """Sentences in an order until `ratio` of the meeting's tokens are spent."""
    units = [
        (at, said[a:b]) for at, (_, said) in enumerate(meeting.turns) for a, b in sentences(said)
    ]
    left = ratio * sum(count(m) for m in as_users(meeting))
    retained: Retained = {}
    for place in order([text for _, text in units]):
        at, text = units[place]
        left -= text_tokens(text) + 1
        if left < 0:
            break
        retained[at] = f"{retained.get(at, '')} {text}"
    return retained


def compacted(
    meeting: Meeting, ratio: float, messages: Sequence[Message], turns: Sequence[Sequence[int]]
) -> Retained:
    """What Palaver leaves of the meeting, told as `messages`; `turns` are those of each."""
    full = sum(map(count, messages))
    draft = offline.compact(Task(messages=messages, target=int(ratio * full), count=count))
    retained: Retained = {}
    for item in draft.items:
        if isinstance(item, Written):
            lines = zip(item.message.text.split("\n"), item.sources, strict=True)
            for line, sources in lines:
                for at in (at for position in sources for at in turns[position]):
                    retained[at] = f"{retained.get(at, '')} {line}"
            continue
        for position in range(item.start, item.stop):
            for at in turns[position]:
                retained[at] = meeting.turns[at][1]
    return retained


def as_users(meeting: Meeting) -> list[Message]:
    """Each turn as a message of the user."""
    return [Message.user(f"{speaker}: {said}") for speaker, said in meeting.turns]


def as_two_sides(meeting: Meeting) -> tuple[list[Message], list[list[int]]]:
    """The first speaker as the user, the others as the assistant; with each message's turns."""
    messages: list[Message] = []
    turns: list[list[int]] = []
    for at, (speaker, said) in enumerate(meeting.turns):
        text = f"{speaker}: {said}"
        if speaker == meeting.turns[0][0]:
            messages.append(Message.user(text))
            turns.append([at])
        elif messages[-1].role is Role.ASSISTANT:
            messages[-1] = Message.assistant(f"{messages[-1].text}\n{text}")
            turns[-1].append(at)
        else:
            messages.append(Message.assistant(text))
            turns.append([at])
    return messages, turns
