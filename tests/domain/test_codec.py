from typing import get_args

import msgspec
import pytest
from hypothesis import given

from palaver import codec
from palaver.domain.events import Event, Recorded, TurnOpened, UnknownEvent
from palaver.domain.ids import TurnId
from tests.domain.strategies import logs


@given(logs())
def test_encoding_loses_nothing(log: list[Recorded]) -> None:
    """Every fact comes back as it was, with number, time and version."""
    for recorded in log:
        assert codec.decode_recorded(codec.encode_recorded(recorded)) == recorded


def test_a_newer_event_keeps_every_byte() -> None:
    """An event of a later version goes through reading and writing unchanged."""
    newer = b'{"type":"branch.made","at":[1,2,{"x":null}]}'
    event = codec.decode_event(newer, "branch.made", 1)
    assert event == UnknownEvent("branch.made", 1, newer)
    assert codec.encode_event(event) == newer
    later = codec.decode_event(b'{"type":"turn.opened","turn":7}', "turn.opened", 2)
    assert isinstance(later, UnknownEvent)


def test_an_older_shape_is_lifted_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upcasters are pure functions on plain objects, one for each version."""
    monkeypatch.setitem(
        codec.UPCASTERS, ("turn.opened", 0), lambda old: {"type": old["type"], "turn": old["id"]}
    )
    event = codec.decode_event(b'{"type":"turn.opened","id":"t9"}', "turn.opened", 0)
    assert event == TurnOpened(TurnId("t9"))


@pytest.mark.parametrize(
    "line", [b"", b"[]", b"{}", b'{"seq":1,"at":1.0,"v":1,"type":"turn.opened"}']
)
def test_a_broken_line_is_a_decode_error(line: bytes) -> None:
    """Reading garbage fails in one way."""
    with pytest.raises(msgspec.DecodeError):
        codec.decode_recorded(line)


def test_every_event_has_a_type_and_a_version() -> None:
    """Names and versions are unique and complete."""
    assert len(codec.VERSIONS) == len(get_args(Event))
