"""The frames of a socket: commands that come in, answers and events that go out.

One JSON object to a frame. From the client: `{id, type, …}`; each is answered with `{v, re, ok}` or
`{v, re, error}`. From the server: `{v, type, turn, seq, id, data}`, where `id` is the cursor,
`epoch:number`, and `seq` the number alone.
"""

from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from palaver.domain.errors import InvalidInput, PalaverError
from palaver.domain.ids import TurnId
from palaver.domain.stream import StreamEvent
from palaver.domain.values import ErrorInfo
from palaver.server.errors import Problem, problem, status_of
from palaver.server.given import AnyId, Line
from palaver.server.json_form import check_form
from palaver.server.turns import GivenResult, NewTurn

VERSION = 1
CommandId: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]
Token: TypeAlias = Annotated[str, Meta(max_length=16 * 1024)]
Place: TypeAlias = Annotated[str, Meta(max_length=50)]
_encoder = msgspec.json.Encoder()


class _Command(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", kw_only=True
):
    id: CommandId


class Authenticate(_Command, frozen=True, tag="authenticate"):
    """The first frame of a socket that came without a key; later: a newer key."""

    token: Token


class Subscribe(_Command, frozen=True, tag="subscribe"):
    """Follow a turn from behind `after`, a number or the `id` of the last event seen."""

    turn: AnyId
    after: Place | int = 0


class Unsubscribe(_Command, frozen=True, tag="unsubscribe"):
    """Follow it no more. It runs on."""

    turn: AnyId


class Start(NewTurn, frozen=True, tag_field="type", tag="start", kw_only=True):
    """Say something; `stream`: and follow the turn."""

    id: CommandId
    conversation: AnyId


class Cancel(_Command, frozen=True, tag="cancel"):
    """End a turn."""

    turn: AnyId


class Approve(_Command, frozen=True, tag="approve"):
    """Let a call run."""

    turn: AnyId
    call: AnyId
    note: Line = ""


class Deny(_Command, frozen=True, tag="deny"):
    """Refuse a call."""

    turn: AnyId
    call: AnyId
    note: Line = ""


class Provide(_Command, frozen=True, tag="provide"):
    """Results of calls of the client's own tools."""

    turn: AnyId
    results: Annotated[tuple[GivenResult, ...], Meta(min_length=1, max_length=100)]


class Ping(_Command, frozen=True, tag="ping"):
    """See whether the server answers."""


Command: TypeAlias = (
    Authenticate | Subscribe | Unsubscribe | Start | Cancel | Approve | Deny | Provide | Ping
)
_commands: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)


class BadFrame(PalaverError):
    """What came is no command, and cannot be answered."""

    code = "bad_frame"


class BadCommand(InvalidInput):
    """A command that cannot be understood, and that says under which id it wants its answer."""

    def __init__(self, message: str, *, id: str) -> None:
        super().__init__(message)
        self.id = id


async def command(frame: str) -> Command:
    """What a client wants. Raises BadFrame and BadCommand."""
    raw = frame.encode()
    try:
        await check_form(raw)
        return _commands.decode(raw)
    except msgspec.ValidationError as error:
        raise _unclear(raw, str(error)) from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadFrame("the frame is no JSON") from error


def _unclear(raw: bytes, why: str) -> PalaverError:
    class Named(msgspec.Struct):
        id: CommandId

    try:
        return BadCommand(why, id=msgspec.json.decode(raw, type=Named).id)
    except msgspec.ValidationError:
        return BadFrame("the frame has no id")


# Out.


class Ok(msgspec.Struct, frozen=True):
    """A command was carried out."""

    re: str
    ok: Any
    v: int = VERSION


class Refused(msgspec.Struct, frozen=True):
    """A command was not carried out."""

    re: str
    error: Problem
    v: int = VERSION


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the server says of itself, or of a subscription."""

    type: str
    turn: str = ""
    data: Any = None


def ok(re: str, value: object) -> str:
    """A command's good answer."""
    return _encoder.encode(Ok(re, value)).decode()


def refused(re: str, error: PalaverError) -> str:
    """A command's bad answer."""
    return failed(re, error.info(), status_of(error))


def failed(re: str, info: ErrorInfo, status: int) -> str:
    """The same for an error that is no PalaverError."""
    body, _ = problem(info, status)
    return _encoder.encode(Refused(re, body)).decode()


def note(type: str, *, turn: str = "", data: object = None) -> str:
    """A frame that has no number."""
    return '{"v":1,' + _encoder.encode(Note(type, turn, data)).decode()[1:]


def events(turn: TurnId, first: int, shown: Sequence[StreamEvent], epoch: int) -> list[str]:
    """Numbered events, one to a frame."""
    return [
        f'{{"v":1,"type":"{event.__struct_config__.tag}","turn":"{turn}","seq":{number},'
        f'"id":"{epoch}:{number}","data":{_encoder.encode(event).decode()}}}'
        for number, event in enumerate(shown, first)
    ]
