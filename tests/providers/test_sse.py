import random

import pytest
from hypothesis import given, strategies as st

from palaver.domain.errors import ProtocolViolation
from palaver.providers.sse import MAX_EVENT_BYTES, Sse, SseParser


def parsed(*chunks: bytes) -> list[tuple[str, str]]:
    parser = SseParser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return [(event.event.decode(), event.data.decode()) for event in events]


STREAM = (
    '\ufeffevent: greeting\ndata: {"text":"Grüße 👩‍🚀"}\n\n'
    ": a comment\n\n"
    "data: first\ndata: second\nid: 7\nretry: 10\n\n"
    "data:no space\n\n"
    "event: nothing\n\n"
    "data\n\n"
    "unknown: field\ndata: x: y\n\n\n\n"
    "data: last\n\n"
)
EVENTS = [
    ("greeting", '{"text":"Grüße 👩‍🚀"}'),
    ("", "first\nsecond"),
    ("", "no space"),
    ("", ""),
    ("", "x: y"),
    ("", "last"),
]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(end: str) -> None:
    """All three line ends of the standard give the same events."""
    assert parsed(STREAM.replace("\n", end).encode()) == EVENTS


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_single_split(end: str) -> None:
    """A split at any byte, inside a character or a line end, changes nothing."""
    body = STREAM.replace("\n", end).encode()
    for at in range(len(body) + 1):
        assert parsed(body[:at], body[at:]) == EVENTS, at
    assert parsed(*(body[i : i + 1] for i in range(len(body)))) == EVENTS


@given(
    texts=st.lists(st.text(st.characters(blacklist_characters="\r\n", codec="utf-8"))),
    seed=st.integers(),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_any_text_in_any_pieces(texts: list[str], seed: int, end: str) -> None:
    """Whatever lines are sent arrive, in whatever pieces they come."""
    body = "".join(f"data: {text}{end}{end}" for text in texts).encode()
    chance = random.Random(seed)
    cuts = sorted(chance.randrange(len(body) + 1) for _ in range(5)) if body else []
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert parsed(*pieces) == [("", text) for text in texts]


def test_unfinished_event() -> None:
    """An event without its blank line is not handed out, but can be looked at in the end."""
    parser = SseParser()
    assert parser.feed(b"data: a\n\ndata: [DONE]\n") == [Sse(b"", b"a")]
    assert parser.finish() == [Sse(b"", b"[DONE]")]
    assert parser.finish() == []


def test_size_is_bounded() -> None:
    """An endless event is refused instead of filling the memory."""
    parser = SseParser()
    piece = b"x" * (1 << 20)
    for _ in range(MAX_EVENT_BYTES // len(piece)):
        assert parser.feed(piece) == []
    with pytest.raises(ProtocolViolation):
        parser.feed(piece)


def test_large_event_in_small_pieces() -> None:
    """An event of several megabytes in small reads costs no quadratic time."""
    text = b"y" * (4 << 20)
    body = b"data: " + text + b"\n\n"
    parser = SseParser()
    found = [e for i in range(0, len(body), 8192) for e in parser.feed(body[i : i + 8192])]
    assert [event.data for event in found] == [text]
