"""Choosing what to quote: the most content for the fewest tokens, without a model.

Greedy cover (Nemhauser et al. 1978): of all pieces the one that adds most weight for its cost is
taken, then again. A word weighs its IDF, an entity half as much again, an identifier what the
ledger gives it; what was covered weighs little from then on. Cost counts with the exponent 0.7,
so that whole sentences have a chance beside bare names. Rarity, not centrality: what is typical of
a conversation is its small talk, and TextRank keeps just that.
"""

import heapq
import math
import re
from collections.abc import Iterable, Sequence

import msgspec

from palaver.context.extractive_lines import Features, Line, Mention, Piece
from palaver.context.identifiers import is_identifier, shape

_COST_POWER = 0.7
_ENTITY = 1.5
_KEY_COST = 1.5
_LEAST_WORTH = 1e-6
_PLAIN_NUMBER = re.compile(r"[-+$€£]?[0-9.,:]+(?:st|nd|rd|th|am|pm|%|-hour)?", re.IGNORECASE)
"""Amounts and times of day. What is asked for again is seldom one of them."""


_ID_KEY = re.compile(
    r"(?:^|[_-]|(?<=[a-z]))(?:id|ids|number|no|code|key|ref|uuid|sku|path|file|filename|url|uri|email"
    r"|username|token|hash|sha)$",
    re.IGNORECASE,
)


class Weights(msgspec.Struct, frozen=True):
    """What an identifier weighs by what is known of it: factors, fitted on tool dialogues."""

    base: float = 40.0
    identifier: float = 4.0
    """Looks like one: digits among letters, underscores, paths."""
    name: float = 1.5
    """Words joined by signs, without digits."""
    number: float = 0.15
    phrase: float = 0.3
    argument: float = 4.0
    again: float = 1.4
    """An argument more than once."""
    user: float = 2.0
    assistant: float = 2.0
    same_key: float = 2.0
    """It stands under a key that arguments have, or a key much like one."""
    id_key: float = 4.0
    """Its key ends as keys of identifiers do."""
    same_shape: float = 1.8
    half_life: float = 40.0
    """Positions after which an identifier that is not named again weighs half."""
    least: float = 0.15
    """Recency's floor."""
    power: float = 0.6
    """Damping of the product, for what is sure must not push out everything else."""


WEIGHTS = Weights()


def weigh(features: Features, *, last: int, weights: Weights = WEIGHTS) -> list[float]:
    """For each feature what it weighs; `last` is the newest position."""
    total = math.log(max(2, sum(features.seen)))
    rarity = [max(0.0, total - math.log(n)) if n else 0.0 for n in features.seen]
    for word in features.entities:
        rarity[word] *= _ENTITY
    weighed = [rarity[word] if word >= 0 else 0.0 for word in features.words]
    related = _Related(features.argument_keys)
    for number, mention in features.mentions.items():
        is_shaped = shape(mention.text) in features.argument_shapes
        weighed[number] = score(
            mention, last, weights, is_key=related.holds(mention.key), is_shape=is_shaped
        )
    return weighed


def score(mention: Mention, last: int, w: Weights, *, is_key: bool, is_shape: bool) -> float:
    """How much an identifier weighs: recency x frequency x use x speaker."""
    text = mention.text
    product = 1.0
    if _PLAIN_NUMBER.fullmatch(text):
        product *= w.number
    elif any(sign.isdigit() for sign in text) and is_identifier(text):
        product *= w.identifier
    elif " " in text:
        product *= w.phrase
    elif "_" in text or "/" in text:
        product *= w.name
    if mention.argument:
        product *= w.argument * (w.again if mention.argument > 1 else 1.0)
    if mention.by_user:
        product *= w.user
    if mention.by_assistant:
        product *= w.assistant
    if is_key:
        product *= w.same_key
    if _ID_KEY.search(mention.key):
        product *= w.id_key
    if is_shape:
        product *= w.same_shape
    product *= max(w.least, 0.5 ** ((last - mention.last) / w.half_life))
    product *= 1.0 + 0.1 * min(8, mention.units - 1)
    return float(w.base * product**w.power)


class _Related:
    """Whether a key is called like an argument: `reservations` like `reservation_id`."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = list(keys)
        self._known: dict[str, bool] = {"": False}

    def holds(self, key: str) -> bool:
        known = self._known.get(key)
        if known is None:
            stem = key.rstrip("s").lower()
            known = self._known[key] = len(stem) > 2 and any(
                stem in each.lower() or (len(each) > 2 and each.lower().rstrip("s") in stem)
                for each in self._keys
            )
        return known


class _Selection:
    """Lazy greedy: what a piece is worth now is never more than what the heap says, because words
    only lose weight. A line's head and a value's key are paid for once, by the first piece that
    needs them; those that were put back for that price are offered again when it has been paid."""

    def __init__(self, lines: Sequence[Line], features: Features, left: list[float]) -> None:
        self._lines, self._left, self._again = lines, left, features.again
        self._paid: list[dict[str, None] | None] = [None] * len(lines)
        """Of each line that is open the keys that are written."""
        self._waiting: list[list[int]] = [[] for _ in lines]
        self._heap: list[tuple[float, int, int]] = []
        for number, line in enumerate(lines):
            for at, piece in enumerate(line.pieces):
                worth = self._value(piece)
                if worth > 0:
                    self._heap.append((-worth / piece.cost**_COST_POWER, number, at))
        heapq.heapify(self._heap)

    def _value(self, piece: Piece) -> float:
        left = self._left
        return piece.bonus + sum([left[feature] for feature in piece.features])

    def run(self, budget: float) -> list[tuple[int, int]]:
        """Line and place of the pieces taken, in the order of taking."""
        heap, lines, taken = self._heap, self._lines, []
        done: list[set[int]] = [set() for _ in lines]
        while heap and budget > 0:
            known, number, at = heapq.heappop(heap)
            piece = lines[number].pieces[at]
            # What costs too much now will not cost less later: most of the heap, at the end.
            if piece.cost > budget or at in done[number]:
                continue
            price = self._price(number, piece)
            now = -self._value(piece) / (piece.cost + price) ** _COST_POWER
            if now > known and heap and now > heap[0][0]:
                if now < -_LEAST_WORTH:
                    heapq.heappush(heap, (now, number, at))
                    if price:
                        self._waiting[number].append(at)
                continue
            if piece.cost + price > budget:
                continue
            budget -= piece.cost + price
            done[number].add(at)
            taken.append((number, at))
            self._take(number, piece, paid=price > 0)
        return taken

    def _price(self, number: int, piece: Piece) -> float:
        paid = self._paid[number]
        head = self._lines[number].cost if paid is None else 0.0
        if piece.key and (paid is None or piece.key not in paid):
            return head + _KEY_COST + 0.25 * len(piece.key)
        return head

    def _take(self, number: int, piece: Piece, *, paid: bool) -> None:
        left, again = self._left, self._again
        for feature in piece.features:
            left[feature] *= again(feature)
        keys = self._paid[number]
        if keys is None:
            keys = self._paid[number] = {}
        if piece.key:
            keys[piece.key] = None
        if not paid:
            return
        waiting, self._waiting[number] = self._waiting[number], []
        for at in waiting:
            other = self._lines[number].pieces[at]
            cost = other.cost + self._price(number, other)
            heapq.heappush(self._heap, (-self._value(other) / cost**_COST_POWER, number, at))


def select(
    lines: Sequence[Line], features: Features, weights: list[float], budget: float
) -> list[tuple[int, int]]:
    """The pieces to quote within `budget` tokens, as (line, place), in the order of their worth.

    `weights` is used up: what is covered weighs little afterwards.
    """
    return _Selection(lines, features, weights).run(budget)


def render(line: Line, places: Sequence[int]) -> str:
    """The line with the pieces at `places`; what they say twice stands once."""
    chosen = [line.pieces[i] for i in sorted(places)]
    spoken = "\n".join(piece.text for piece in chosen if piece.is_sentence)
    arguments: dict[str, list[str]] = {}
    parts: dict[str, list[str]] = {}
    loose: list[str] = []
    for piece in chosen:
        if piece.is_argument:
            arguments.setdefault(piece.key, []).append(piece.text)
        elif piece.key:
            parts.setdefault(piece.key, []).append(piece.text)
        elif piece.is_sentence or piece.text not in spoken:
            loose.append(piece.text)
    head = line.head
    if arguments:
        head += "(" + ", ".join(f"{key}={_joined(of)}" for key, of in arguments.items()) + ")"
    said = [f"{key} {_joined(of)}" for key, of in parts.items()] + loose
    if not said:
        return head
    colon = "" if head.endswith(":") else ":"
    return f"{head}{colon} {'; '.join(said)}"


def _joined(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))
