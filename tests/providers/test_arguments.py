"""The scanner that says when a tool call's arguments are complete."""

import json
import random
from typing import Any

import pytest

from palaver.providers.arguments import ObjectScanner


def closes_at(text: str, pieces: list[str]) -> int | None:
    """How many characters were fed when the scanner said `closed`."""
    scanner, fed = ObjectScanner(), 0
    for piece in pieces:
        fed += len(piece)
        if scanner.feed(piece):
            return fed
    assert fed == len(text)
    return None


def split(text: str, chance: random.Random) -> list[str]:
    pieces = []
    while text:
        size = chance.randint(1, 9)
        pieces.append(text[:size])
        text = text[size:]
    return pieces


def value(chance: random.Random, depth: int) -> Any:
    match chance.randrange(7 if depth else 5):
        case 0:
            return chance.choice([None, True, -1.5e9, 0])
        case 1 | 2 | 3 | 4:
            return "".join(chance.choice('"\\{}[]/bn \té😀') for _ in range(chance.randrange(12)))
        case 5:
            return [value(chance, depth - 1) for _ in range(chance.randrange(4))]
        case _:
            return {str(value(chance, 0)): value(chance, depth - 1) for _ in range(4)}


@pytest.mark.parametrize("seed", range(20))
def test_closed_exactly_at_the_last_brace(seed: int) -> None:
    """Any object, split anywhere, is closed by its last character and never before."""
    chance = random.Random(seed)
    for _ in range(200):
        made = {str(value(chance, 0)): value(chance, 3) for _ in range(chance.randrange(4))}
        text = chance.choice(["", " ", "\n\t"]) + json.dumps(
            made, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, 2])
        )
        assert closes_at(text, list(text)) == len(text)
        pieces = split(text, chance)
        assert closes_at(text, pieces) == len(text)
        cut = text[: chance.randrange(len(text))]
        assert closes_at(cut, split(cut, chance)) is None


@pytest.mark.parametrize("text", ["", "  ", '"{}"', "[{}]", "12", "null", "{", '{"a": "}', '{"\\'])
def test_never_closed(text: str) -> None:
    """What is no object, or not at its end, is not called complete."""
    assert not ObjectScanner().feed(text)


def test_text_behind_the_object_is_ignored() -> None:
    """Closed stays closed."""
    scanner = ObjectScanner()
    assert scanner.feed('{"a":1} {"b"')
    assert scanner.feed("}{")


def test_cost_is_linear() -> None:
    """A megabyte in pieces of four characters comes to its end; where each piece had the whole
    looked at again, that would take longer than a test may."""
    text = json.dumps({"code": 'if (a) { b["c"] = "\\n"; }\n' * 40_000})
    scanner = ObjectScanner()
    for at in range(0, len(text), 4):
        scanner.feed(text[at : at + 4])
    assert scanner.closed
