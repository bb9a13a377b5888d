"""Commands that name, sort, mark and remove: title, tag, pin, archive, delete, redact, purge."""

import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from palaver.cli import exits
from palaver.cli.inspection import look, print_json, put
from palaver.cli.moves import PREVIEW, pinned, preview
from palaver.cli.numbering import message_named
from palaver.cli.opening import Opened, Wanted
from palaver.cli.safe import one_line, safe
from palaver.domain.errors import InvalidInput

if TYPE_CHECKING:
    from palaver.service.conversation import Conversation
    from palaver.service.redaction import RedactionReceipt

UNITS_S = {"h": 3_600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}
LISTED = 20


async def confirmed(question: str, *, sure: bool) -> bool:
    """Whether a person says yes. Raises InvalidInput where none can be asked.

    Asked without holding the event loop, so that Ctrl-C ends the program and not only the line.
    """
    if sure:
        return True
    if not sys.stdin.isatty():
        raise InvalidInput("this needs --yes where nobody can be asked")
    from palaver.cli.lines import Lines

    sys.stderr.write(f"{safe(question)} [y/N]: ")
    sys.stderr.flush()
    answer = await Lines().next()
    return (answer or "").strip().lower() in ("y", "yes")


# Names and marks.


def title(db: str | None, name: str, *, text: str, auto: bool) -> int:
    """Show or set a title."""

    async def work(service: Opened) -> int:
        conversation = await service.manager.find(name)
        if auto:
            await conversation.name()
        elif text:
            await conversation.set_title(text)
        return _told_title(conversation)

    return look(db, work)


def title_by_model(db: str | None, name: str) -> int:
    """Let the model of the conversation name it."""

    async def work(service: Opened) -> int:
        conversation = await service.manager.find(name)
        await conversation.name("model")
        return _told_title(conversation)

    return look(db, work, wanted=Wanted(db=db, tools=False))


def _told_title(conversation: "Conversation") -> int:
    named = conversation.state.metadata.title
    if not named:
        exits.say("no title yet; give one, or say --auto or --by-model")
    else:
        put(named)
    return exits.OK


def tag(db: str | None, name: str, tags: Sequence[str], *, remove: bool) -> int:
    """Add or remove tags; print what there is then."""

    async def work(service: Opened) -> int:
        conversation = await service.manager.find(name)
        wanted = [t.strip() for t in tags]
        if not all(wanted):
            raise InvalidInput("a tag cannot be empty")
        after = conversation.state.metadata.tags
        if wanted:
            after = await conversation.tag(*wanted, remove=remove)
        for each in after:
            put(each)
        if not after:
            exits.say("no tags")
        return exits.OK

    return look(db, work)


def pin(db: str | None, name: str, messages: Sequence[str], *, remove: bool) -> int:
    """Pin messages or let go of them; without any, print the pinned ones."""

    async def work(service: Opened) -> int:
        conversation = await service.manager.find(name)
        found = [message_named(conversation.state, each) for each in messages]
        for message in found:
            await conversation.pin(message.id, pinned=not remove)
        for line in pinned(conversation.state):
            put(line)
        if not conversation.state.pins:
            exits.say("nothing is pinned")
        return exits.OK

    return look(db, work)


def archive(db: str | None, names: Sequence[str], *, archived: bool) -> int:
    """Archive conversations, or take them back."""

    async def work(service: Opened) -> int:
        # `last` is another one as soon as something was archived.
        found = [await service.manager.find(name) for name in names]
        for conversation in found:
            await conversation.archive(archived=archived)
        exits.say(f"{'archived' if archived else 'restored'} {_counted(len(found))}")
        return exits.OK

    return look(db, work)


# What is erased.


def delete(db: str | None, names: Sequence[str], *, sure: bool) -> int:
    """Erase conversations, after asking."""

    async def work(service: Opened) -> int:
        found = {c.id: c for c in [await service.manager.find(name) for name in names]}
        for conversation in found.values():
            state = conversation.state
            named = state.metadata.title or state.id
            question = f"Delete {named} with {len(state.messages)} messages for ever?"
            if not await confirmed(question, sure=sure):
                return exits.FAILED
            await service.manager.delete(conversation.id)
            exits.say(f"deleted {conversation.id}")
        return exits.OK

    return look(db, work)


def redact(db: str | None, name: str, message: str, *, note: str, sure: bool, as_json: bool) -> int:
    """Erase a message, after asking, and print the receipt."""

    async def work(service: Opened) -> int:
        conversation = await service.manager.find(name)
        found = message_named(conversation.state, message)
        question = f"Erase what this message says for ever? {preview(found)}"
        if not await confirmed(question, sure=sure):
            return exits.FAILED
        receipt = await conversation.redact(found.id, note=note)
        if as_json:
            print_json(receipt)
        else:
            put(_told_receipt(receipt))
        if found.tool_calls:
            exits.say(
                f"what its tools answered stays; `palaver redact` {message}.results erases it"
            )
        return exits.OK

    return look(db, work)


def _told_receipt(receipt: "RedactionReceipt") -> str:
    import time

    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(receipt.at))
    lines = [f"redacted {receipt.message} at {at}"]
    lines.append(f"  facts rewritten: {', '.join(map(str, receipt.facts)) or 'none'}")
    lines.append(f"  run logs deleted: {len(receipt.run_logs)}")
    lines.append(f"  files deleted: {', '.join(receipt.blobs) or 'none'}")
    return "\n".join(lines)


def purge(db: str | None, *, older_than: str, dry_run: bool, sure: bool) -> int:
    """Delete what is old, after saying what that is."""
    older_than_s = duration_s(older_than)

    async def work(service: Opened) -> int:
        manager = service.manager
        old = await manager.purge(older_than_s=older_than_s, dry_run=True)
        if not old:
            exits.say(f"nothing is older than {older_than}")
            return exits.OK
        for id in old[:LISTED]:
            state = (await manager.open(id)).state
            first = next((m.text for m in state.messages if m.text), "")
            put(f"{id}  {one_line(state.metadata.title or first, PREVIEW)}")
        if len(old) > LISTED:
            put(f"… and {len(old) - LISTED} more")
        if dry_run:
            exits.say(f"{_counted(len(old))} would be deleted")
            return exits.OK
        if not await confirmed(f"Delete {_counted(len(old))} for ever?", sure=sure):
            return exits.FAILED
        gone = await manager.purge(older_than_s=older_than_s)
        files = await manager.collect_blobs()
        exits.say(f"deleted {_counted(len(gone))} and {files} files")
        return exits.OK

    return look(db, work)


def duration_s(text: str) -> float:
    """Seconds of `90d`, `12h`, `6w`, `1y`. Raises InvalidInput for anything else."""
    found = re.fullmatch(r"(\d{1,6})\s*([hdwy])", text.strip().lower())
    if found is None:
        raise InvalidInput(
            f"{text!r} is no length of time", hint="Write a number with h, d, w or y, as 90d."
        )
    return float(found[1]) * UNITS_S[found[2]]


def _counted(count: int) -> str:
    return f"{count} conversation{'' if count == 1 else 's'}"
