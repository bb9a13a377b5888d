"""Formats are told by structure; nothing that lies in a file makes a reader fail otherwise."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from palaver.domain.errors import InvalidInput
from palaver.testing import valid_history
from palaver.travel.base import RepairKind
from palaver.travel.detect import FORMATS, read
from palaver.travel.source import Source
from tests.travel.collected import files, path_of

PI: list[dict[str, Any]] = [
    {"type": "session", "id": "s"},
    {"type": "message", "message": {"role": "user", "content": "hello"}},
    {
        "type": "message",
        "message": {"role": "assistant", "content": [{"type": "text", "text": "hi"}]},
    },
]
LINES = "\n".join(map(json.dumps, PI)).encode()
SMALL = [path for path in files() if path.stat().st_size < 6000]


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"[]", b"{}", b"\xff\xfe\x00", b"[[1]]", b"null", b"\x00" * 9]
)
def test_what_is_no_conversation_is_told_with_all_formats(data: bytes) -> None:
    """The error lists what there is."""
    with pytest.raises(InvalidInput, match=r"claude-code.*codex.*pi"):
        read(data, name="x.json")


def test_a_format_that_does_not_exist_is_told() -> None:
    """The same for a name."""
    with pytest.raises(InvalidInput, match="there is no format 'word'"):
        read(LINES, format="word")


@pytest.mark.parametrize(
    "data",
    [
        LINES,
        gzip.compress(LINES[:40]) + gzip.compress(LINES[40:]),
        b"\xef\xbb\xbf" + LINES,
        LINES.decode().encode("utf-16"),
        LINES.replace(b"\n", b"\r\n") + b"\n\n",
        json.dumps(PI, indent=2).encode(),
    ],
    ids=["lines", "gzip", "mark", "utf-16", "windows", "list"],
)
def test_wrappings_do_not_matter(data: bytes) -> None:
    """Compressed, from Windows, as a list: the same conversation with the same ids."""
    (made,) = read(data)
    assert made.messages == read(LINES)[0].messages
    assert [message.text for message in path_of(made)] == ["hello", "hi"]


def test_damaged_lines_are_passed_over_and_told() -> None:
    """Every one with its number; what stands around them is read."""
    deep = b"[" * 100_000
    data = b"\n".join([LINES, b'{"type": "mess', deep, b"\xff\xfe", b"42", b'{"type":"new"}'])
    (made,) = read(data)
    told = [r.record for r in made.repairs if r.kind is RepairKind.UNKNOWN_RECORD]
    assert told == [3, 4, 5, 6, 7]
    assert len(made.messages) == 2


def test_files_are_bounded_also_when_they_are_packed() -> None:
    """A small file that unpacks to a large one is refused before it fills the memory."""
    with pytest.raises(InvalidInput, match="larger than 1,000,000 bytes"):
        read(gzip.compress(b"x" * 50_000_000), max_bytes=1_000_000)
    with pytest.raises(InvalidInput, match="damaged"):
        read(b"\x1f\x8b" + b"nonsense")


def test_half_characters_and_nan_do_not_stop_a_reader() -> None:
    """Sources write what strict parsers refuse."""
    odd = b'{"type":"message","message":{"role":"user","content":"half \\ud83d","n":NaN}}'
    (made,) = read(LINES + b"\n" + odd)
    assert path_of(made)[-1].text == "half \ufffd"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every field and member, as container and key."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, part in list(inner) if isinstance(value, dict | list) else []:
        found.append((value, key))
        found += places(part) if isinstance(part, dict | list) else []
    return found


@pytest.mark.skipif(not SMALL, reason="the collected conversations are not here")
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_fields_of_any_type_are_survived(data: st.DataObject) -> None:
    """Exchange any field of a file for anything: the result is valid, or the file is refused."""
    path: Path = data.draw(st.sampled_from(SMALL))
    source = Source(path.read_bytes())
    records = [record.value for record in source.records()]
    for _ in range(data.draw(st.integers(1, 4))):
        container, key = data.draw(st.sampled_from(places(records)))
        if isinstance(container, dict) and data.draw(st.booleans()):
            container.pop(key, None)
        else:
            container[key] = data.draw(JSON)
    written = "\n".join(map(json.dumps, records)).encode()
    for format in (None, *FORMATS):
        try:
            conversations = read(written, format=format)
        except InvalidInput:
            continue
        for conversation in conversations:
            assert not conversation.messages or valid_history(path_of(conversation)) == []
