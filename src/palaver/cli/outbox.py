"""What waits until a model can be reached: look at it, change it, send it."""

from typing import TYPE_CHECKING

from palaver.cli import exits
from palaver.cli.inspection import look, print_json, put
from palaver.cli.opening import Opened, Wanted, reading
from palaver.cli.safe import one_line
from palaver.cli.tables import table, terminal_width
from palaver.domain.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from palaver.domain.outbox import QueuedPrompt
    from palaver.service.manager import ConversationManager
    from palaver.service.outbox import WaitingPrompts

NAME_CHARS = 6
"""Of a prompt's id, from its end, that people are shown and may give."""


def run_outbox(db: str | None, words: tuple[str, ...], *, as_json: bool) -> int:
    """Carry out `palaver outbox WORDS`."""

    async def work(service: Opened) -> int:
        match words:
            case ():
                return await _show(service.manager, as_json=as_json)
            case ("send",):
                return await _send(service.manager)
            case ("withdraw", name):
                conversation, prompt = await _named(service.manager, name)
                await (await service.manager.open(conversation)).outbox.withdraw(prompt)
            case ("edit", name, *said) if said:
                conversation, prompt = await _named(service.manager, name)
                outbox = (await service.manager.open(conversation)).outbox
                await outbox.edit(prompt, " ".join(said))
            case _:
                raise InvalidInput(
                    "that is nothing that can be done with the outbox",
                    hint="Say nothing to see it, or: send, edit PROMPT TEXT, withdraw PROMPT.",
                )
        return exits.OK

    return look(db, work, wanted=Wanted(db) if words == ("send",) else reading(db))


def prompts_text(prompts: "Sequence[QueuedPrompt]", *, width: int | None) -> str:
    """A table of what waits."""
    rows = [(p.id[-NAME_CHARS:], p.reason, one_line(p.message.text, 300)) for p in prompts]
    return table(("prompt", "why", "what was said"), rows, width=width)


def prompt_id(prompts: "Sequence[QueuedPrompt]", name: str) -> str:
    """The id that ends like this. Raises NotFound, and InvalidInput where several do."""
    found = [p.id for p in prompts if name and p.id.endswith(name)]
    if not found:
        raise NotFound(f"no prompt {name!r} waits", hint="It may have been sent meanwhile.")
    if len(found) > 1:
        raise InvalidInput(f"{name!r} fits {len(found)} prompts; give more of the id")
    return found[0]


async def _show(manager: "ConversationManager", *, as_json: bool) -> int:
    waiting = await manager.outbox()
    if as_json:
        print_json(waiting)
        return exits.OK
    if not waiting:
        exits.say("nothing waits to be sent")
    for each in waiting:
        put(f"{each.conversation}  {one_line(each.title, 80)}")
        put(prompts_text(each.prompts, width=terminal_width()))
    return exits.OK


async def _send(manager: "ConversationManager") -> int:
    before = _count(await manager.outbox())
    answered = await manager.send_outbox()
    left = _count(await manager.outbox())
    exits.say(f"{before} waited, {answered} answered, {left} wait on")
    return exits.FAILED if left else exits.OK


def _count(waiting: "Sequence[WaitingPrompts]") -> int:
    return sum(len(each.prompts) for each in waiting)


async def _named(manager: "ConversationManager", name: str) -> tuple[str, str]:
    waiting = await manager.outbox()
    prompt = prompt_id([p for each in waiting for p in each.prompts], name)
    holder = next(e for e in waiting if any(p.id == prompt for p in e.prompts))
    return holder.conversation, prompt
