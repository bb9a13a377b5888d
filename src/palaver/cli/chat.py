"""`palaver chat`: read a line, carry out a command or a turn, again until the person leaves.

One loop serves a terminal and a pipe. On a terminal the prompt comes first; the rest of the program
is imported and the store opened while the person types.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING, Protocol, TypeAlias

import msgspec

from palaver.cli.exits import FAILED, INTERRUPTED, OK
from palaver.cli.interrupts import Interrupts, run
from palaver.cli.opening import Opened, Wanted, opened

if TYPE_CHECKING:
    from palaver.cli.prompt import Prompt
    from palaver.cli.session import ChatSession
    from palaver.cli.talk import Talk

Opener: TypeAlias = Callable[[Wanted], AbstractAsyncContextManager[Opened]]
Begin: TypeAlias = "Callable[[], Awaitable[Talk]]"
NEEDED = ("palaver.wiring", "palaver.cli.talk", "palaver.cli.live", "palaver.cli.commands")
NEEDED_LATER = ("aiohttp", "pygments.lexers.python", "structlog")
"""What the first answer would else wait for."""


class ChatOptions(msgspec.Struct, frozen=True):
    """What the options of `palaver chat` say."""

    wanted: Wanted = Wanted()
    conversation: str = ""
    """An id, a part of one, or `last`; empty begins a new one."""
    allow: bool = False
    """Tools with an effect run without asking."""


class Input(Protocol):
    """Where messages come from."""

    async def message(self, draft: str = "") -> str | None:
        """The next message, which may begin with a draft; None at the end."""
        ...

    async def question(self, text: str) -> str | None:
        """The answer to a question; None when the person gives none."""
        ...


def run_chat(options: ChatOptions, *, opener: Opener = opened) -> int:
    """Chat until the person leaves; the exit code."""
    if has_terminal():
        return run(lambda interrupts: _on_terminal(options, interrupts, opener))
    return run(lambda interrupts: _in_plain_text(options, interrupts, opener), carries_turns=True)


def has_terminal() -> bool:
    """Whether there is a person at a terminal that can move its cursor."""
    capable = os.environ.get("TERM", "") not in ("", "dumb") or sys.platform == "win32"
    return capable and sys.stdin.isatty() and sys.stdout.isatty()


# On a terminal.


async def _on_terminal(options: ChatOptions, interrupts: Interrupts, opener: Opener) -> int:
    from palaver.cli.prompt import Prompt, quiet_keys

    prompt = Prompt()
    sys.stdout.write("Palaver: /help shows the commands, Ctrl-D leaves.\n")
    with quiet_keys():
        return await _at_prompt(prompt, options, interrupts, opener)


async def _at_prompt(
    prompt: "Prompt", options: ChatOptions, interrupts: Interrupts, opener: Opener
) -> int:
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        opening = tasks.create_task(_opened_behind(prompt, options, opener, stack), name="open")
        warming = tasks.create_task(_warmed(opening, prompt), name="warm")
        begin = _talk_on_terminal(opening, prompt, options, interrupts)
        # Where there is something to show before the prompt, the prompt waits.
        talk = await begin() if options.conversation else None
        await _converse(prompt, begin, talk, interrupts)
        opening.cancel()
        warming.cancel()
    return OK


async def _opened_behind(
    prompt: "Prompt", options: ChatOptions, opener: Opener, stack: AsyncExitStack
) -> "ChatSession":
    """Import and open everything while the prompt is on the screen."""
    if not options.conversation:
        await prompt.shown.wait()
    await asyncio.to_thread(_import, *NEEDED)
    from palaver.cli.session import ChatSession

    return ChatSession(await stack.enter_async_context(opener(options.wanted)))


async def _warmed(opening: "asyncio.Task[ChatSession]", prompt: "Prompt") -> None:
    """Give the prompt its toolbar and completion, then import what the first answer needs."""
    await asyncio.wait([opening])
    if opening.cancelled() or opening.exception() is not None:
        return
    from palaver.cli.session import window_of

    chat = opening.result()
    await asyncio.to_thread(window_of, chat.model)  # reads the price table, which takes 250 ms
    prompt.connect(chat)
    await asyncio.to_thread(_import, *NEEDED_LATER)


def _import(*names: str) -> None:
    from importlib import import_module

    for name in names:
        import_module(name)


def _talk_on_terminal(
    opening: "asyncio.Task[ChatSession]",
    prompt: "Prompt",
    options: ChatOptions,
    interrupts: Interrupts,
) -> "Begin":
    async def begin() -> "Talk":
        chat = await opening
        from palaver.cli.live import LiveScreen, make_console
        from palaver.cli.picker import pick
        from palaver.cli.talk import Talk
        from palaver.cli.turns import AskingApprover, TurnCarrier, allow_all

        interrupts.drain_s = chat.drain_s
        screen = LiveScreen(make_console())
        chat.pick = lambda: pick(chat.manager)
        approve = allow_all if options.allow else AskingApprover(screen, prompt.question)
        talk = Talk(chat, screen, TurnCarrier(screen, approve, interrupts))
        await talk.begin(options.conversation, options.wanted)
        return talk

    return begin


async def _converse(
    source: Input, begin: "Begin", talk: "Talk | None", interrupts: Interrupts
) -> None:
    """The loop. The talk begins with the first line, so that the prompt waits for nothing."""
    while talk is None or not (talk.is_over or interrupts.is_leaving):
        with interrupts.calling(_nothing):  # a Ctrl-C that comes just behind a turn
            line = await source.message("" if talk is None else talk.draft())
            if line is None:
                break
            talk = talk or await begin()
            await talk.take(line)
    if talk is not None:
        await talk.end()


def _nothing() -> None:
    """There is nothing to stop."""


# In plain text.


async def _in_plain_text(options: ChatOptions, interrupts: Interrupts, opener: Opener) -> int:
    from palaver.cli.screen import PlainScreen
    from palaver.cli.session import ChatSession
    from palaver.cli.talk import Talk
    from palaver.cli.turns import Approver, AskingApprover, DenyAll, TurnCarrier, allow_all
    from palaver.domain.stream import TurnCancelled

    is_person = sys.stdin.isatty()
    source, screen = PlainInput(is_person=is_person), PlainScreen(sys.stdout, sys.stderr)
    approve: Approver = AskingApprover(screen, source.question) if is_person else DenyAll()
    async with opener(options.wanted) as service:
        chat = ChatSession(service)
        carrier = TurnCarrier(screen, allow_all if options.allow else approve, interrupts)
        talk = Talk(chat, screen, carrier)
        await talk.begin(options.conversation, options.wanted)
        interrupts.drain_s = service.drain_s
        while not talk.is_over and (line := await source.message()) is not None:
            await talk.take(line)
            if interrupts.is_leaving:
                break
            if isinstance(talk.last, TurnCancelled) and not is_person:
                return INTERRUPTED
        await talk.end()
    return FAILED if talk.has_failed and not is_person else OK


class PlainInput:
    """Lines of standard input; with a prompt when a person types them."""

    def __init__(self, *, is_person: bool) -> None:
        from palaver.cli.lines import Lines

        self._lines, self._is_person = Lines(), is_person

    async def message(self, draft: str = "") -> str | None:
        """The next line that says something."""
        while True:
            line = await self._ask("> ")
            if line is None or line.strip():
                return line

    async def question(self, text: str) -> str | None:
        """The next line, as an answer."""
        return await self._ask(text)

    async def _ask(self, sign: str) -> str | None:
        if self._is_person:
            sys.stderr.write(sign)
            sys.stderr.flush()
        return await self._lines.next()
