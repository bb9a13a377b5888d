"""`palaver ask`: one turn, for people and for scripts."""

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

import msgspec

from palaver import codec
from palaver.cli import exits
from palaver.cli.interrupts import Interrupts, is_terminal, run
from palaver.cli.opening import Opened, Wanted, opened
from palaver.cli.screen import PlainScreen, Screen, write_bytes
from palaver.cli.turns import Approver, AskingApprover, DenyAll, TurnCarrier, allow_all
from palaver.cli.words import adapted, ending, retrying, service, switched, window
from palaver.domain.errors import InvalidInput
from palaver.domain.messages import Text
from palaver.domain.stream import (
    CompactionSkipped,
    ContextCompacted,
    HistoryAdapted,
    ModelSwitched,
    RetryScheduled,
    ServiceDegraded,
    ServiceRestored,
    StreamEvent,
    Terminal,
    TurnCancelled,
    TurnCompleted,
    TurnFailed,
)

if TYPE_CHECKING:
    from palaver.service.conversation import Conversation
    from palaver.service.output import OutputType
    from palaver.streams.session import Numbered, StreamSession

    Begun: TypeAlias = tuple[Conversation, StreamSession]
    Begin: TypeAlias = Callable[["Asking", Opened], Awaitable[Begun]]


class AskOptions(msgspec.Struct, frozen=True):
    """What the options of `palaver ask` say."""

    wanted: Wanted = Wanted()
    prompt: str = ""
    conversation: str = ""
    attach: tuple[str, ...] = ()
    schema: str = ""
    """A JSON Schema, or the name of a file with one."""
    settings: dict[str, Any] = {}
    """Generation settings by name."""
    as_json: bool = False
    allow: bool = False


def run_ask(options: AskOptions, *, opener: Any = opened) -> int:
    """Say one thing and print the answer; the exit code."""
    said = question(options.prompt)

    async def begin(asking: Asking, service: Opened) -> "Begun":
        blocks = [await service.manager.attach(Path(path)) for path in options.attach]
        conversation = await asking.conversation(service)
        message = (*blocks, Text(said)) if blocks else said
        session = await conversation.start(message, on_busy="queue", output=asking.shape)
        return conversation, session

    return answer(options, begin, opener=opener)


def answer(options: AskOptions, begin: "Begin", *, opener: Any = opened) -> int:
    """Show the answer of the turn that `begin` begins; the exit code."""
    shape = _shape(options.schema)

    async def program(interrupts: Interrupts) -> int:
        return await Asking(options, interrupts, shape).run(begin, opener)

    return run(program, carries_turns=True)


def question(prompt: str, *, alone: bool = False) -> str:
    """The prompt, with what standard input holds behind it; `alone`: input only where there is no
    prompt. Raises InvalidInput for neither."""
    is_given = alone and prompt not in ("", "-")
    piped = "" if is_given or is_terminal(sys.stdin) else _read_all()
    if prompt == "-":
        prompt = ""
    said = "\n\n".join(part for part in (prompt.strip(), piped.strip("\n")) if part.strip())
    if not said:
        raise InvalidInput(
            "there is no question", hint="Give it as an argument, or on standard input."
        )
    return said


def _read_all() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8", "replace")
    except (OSError, AttributeError, ValueError):  # closed, or no file at all
        return ""


def _shape(schema: str) -> "OutputType | None":
    if not schema:
        return None
    from palaver.service.output import OutputType

    try:
        text = schema if schema.lstrip().startswith("{") else Path(schema).read_text("utf-8")
        value = msgspec.json.decode(text)
    except OSError as error:
        raise InvalidInput(f"cannot read the schema {schema}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the schema is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInput("the schema must be a JSON object")
    return OutputType(value)


class Asking:
    """One question on its way."""

    def __init__(
        self, options: AskOptions, interrupts: Interrupts, shape: "OutputType | None"
    ) -> None:
        self._options, self.shape, self._interrupts = options, shape, interrupts
        self._screen = self._made_screen()
        self._denier = DenyAll()
        self._carrier = TurnCarrier(self._screen, self._approver(), interrupts)
        self._last_text = ""

    def _made_screen(self) -> Screen:
        if self._options.as_json:
            return JsonScreen(sys.stdout, sys.stderr)
        if self.shape is not None:
            return PlainScreen(sys.stdout, sys.stderr, answers=False)
        if _can_move(sys.stdout):
            from palaver.cli.live import LiveScreen, make_console

            return LiveScreen(make_console())
        return PlainScreen(sys.stdout, sys.stderr)

    def _approver(self) -> Approver:
        if self._options.allow:
            return allow_all
        if self._options.as_json or not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
            return self._denier
        return AskingApprover(self._screen, _ask_at_terminal)

    async def run(self, begin: "Begin", opener: Any) -> int:
        """Open, ask, show; the exit code."""
        wanted = msgspec.structs.replace(self._options.wanted, is_one_shot=True)
        async with opener(wanted) as service:
            self._interrupts.drain_s = service.drain_s
            for line in service.notices:
                self._screen.notice(line)
            conversation, session = await begin(self, service)
            async with self._screen.live():
                end = await self._carrier.carry(conversation, session, hear=self._hear)
            return self._finish(conversation, end)

    async def conversation(self, service: Opened) -> "Conversation":
        """The one that the options name, as they want it; a new one where they name none."""
        options = self._options
        if not options.conversation:
            return await service.manager.create(**options.settings)
        found = await service.manager.find(options.conversation)
        chosen = {"model": options.wanted.model or None, "system": options.wanted.system}
        changes = {name: value for name, value in chosen.items() if value is not None}
        if changes or options.settings:
            await found.set_preferences(**changes, **options.settings)
        await self._carrier.settle(found)
        return found

    def _hear(self, numbered: "Numbered") -> None:
        if isinstance(self._screen, JsonScreen):
            self._screen.line(numbered.number, numbered.event)

    def _finish(self, conversation: "Conversation", end: Terminal) -> int:
        if isinstance(end, TurnCompleted) and end.stop.is_good and self.shape is not None:
            last = conversation.state.last
            value = self.shape.parse("" if last is None else last.text)
            if not self._options.as_json:
                text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
                self._screen.print(text)
        return self._code(end)

    def _code(self, end: Terminal) -> int:
        match end:
            case TurnCompleted(stop=stop) if not stop.is_good:
                return exits.CUT
            case TurnCompleted():
                return exits.DENIED if self._denier.denied else exits.OK
            case TurnFailed(error=error):
                return exits.CODES.get(error.code, exits.FAILED)
            case TurnCancelled():
                return exits.INTERRUPTED
            case _:
                return exits.FAILED


def _can_move(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


async def _ask_at_terminal(text: str) -> str | None:
    from palaver.cli.prompt import Prompt

    return await Prompt().question(text)


class JsonScreen(PlainScreen):
    """Every event as one line of JSON with its number; notices go to the second stream."""

    def line(self, number: int, event: StreamEvent) -> None:
        """Print one event."""
        write_bytes(self._out, b'{"n":%d,%b\n' % (number, codec.encode_shown(event)[1:]))

    def show(self, event: StreamEvent) -> None:
        """Say what a person should know beside the events."""
        match event:
            case HistoryAdapted():
                self.notice(adapted(event))
            case ContextCompacted() | CompactionSkipped():
                self.notice(window(event))
            case RetryScheduled():
                self.notice(retrying(event))
            case ModelSwitched():
                self.notice(switched(event))
            case ServiceDegraded() | ServiceRestored():
                if told := service(event):
                    self.notice(told)
            case TurnCompleted() | TurnFailed() | TurnCancelled():
                told = ending(event, partial=False)
                if told:
                    self.notice(told)
            case _:
                pass
