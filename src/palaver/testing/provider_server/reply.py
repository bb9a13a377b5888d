"""One scripted reply, made ready for a wire: ids given, usage counted, the stop reason known."""

import secrets
import time
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from palaver.domain.messages import StopReason
from palaver.domain.values import Usage
from palaver.testing.provider_server.faults import Fault
from palaver.testing.provider_server.journal import Received
from palaver.testing.provider_server.terms import Terms
from palaver.testing.provider_server.usage import tokens
from palaver.testing.script import (
    Call,
    Cut,
    Decline,
    Fail,
    Pause,
    Report,
    Say,
    Step,
    Think,
    Turn,
    stop_of,
)


class Reply(msgspec.Struct, frozen=True):
    """A turn with the way it is sent. None takes what the server is set to."""

    turn: Turn[Received] = ()
    faults: tuple[Fault, ...] = ()
    pace_s: float | None = None
    """Seconds between two deltas."""
    piece: int | None = None
    """Characters of a delta; 0: all at once."""


ServerTurn: TypeAlias = Turn[Received] | Reply | Fault
Signal: TypeAlias = Pause | Fail | Cut
"""What interrupts the frames of a reply."""


class Prepared(msgspec.Struct, frozen=True):
    """A reply as an API's wire gets it."""

    received: Received
    body: dict[str, Any]
    steps: tuple[Step, ...]
    usage: Usage
    stop: StopReason
    piece: int
    terms: Terms
    id: str
    created: int

    @property
    def model(self) -> str:
        """The model that was asked for."""
        return str(self.body["model"])


def prepare(
    received: Received,
    steps: Sequence[Step],
    *,
    prompt: Usage,
    piece: int,
    terms: Terms,
    id_prefix: str,
    call_prefix: str,
) -> Prepared:
    """`steps` with an id for each call and with usage: scripted, else counted behind `prompt`."""
    named = tuple(
        msgspec.structs.replace(step, id=step.id or new_id(call_prefix))
        if isinstance(step, Call)
        else step
        for step in steps
    )
    return Prepared(
        received=received,
        body=received.body,
        steps=named,
        usage=_usage(named, prompt),
        stop=stop_of(named),
        piece=piece,
        terms=terms,
        id=new_id(id_prefix),
        created=int(time.time()),
    )


def new_id(prefix: str) -> str:
    """An id of the form that providers use."""
    return prefix + secrets.token_hex(12)


def _usage(steps: Sequence[Step], prompt: Usage) -> Usage:
    for step in reversed(steps):
        if isinstance(step, Report):
            return step.usage or Usage()
    thought = sum(tokens(s.text) for s in steps if isinstance(s, Think))
    said = sum(tokens(s.text) for s in steps if isinstance(s, Say | Decline))
    called = sum(tokens(s.name) + tokens(s.json) for s in steps if isinstance(s, Call))
    return prompt + Usage(output=max(1, thought + said + called), reasoning=thought)
