"""Commands on branches: fork, undo, redo, edit, retry, branches."""

import sys
from typing import Any

from palaver.cli import exits
from palaver.cli.ask import Asking, AskOptions, answer, question
from palaver.cli.branch_tree import tree
from palaver.cli.inspection import look, print_json, put
from palaver.cli.moves import instead_of, last_shared, standing, undone
from palaver.cli.numbering import branch_named, message_named, ordered_leaves
from palaver.cli.opening import Opened
from palaver.cli.tables import terminal_width
from palaver.domain.errors import NotFound
from palaver.domain.state import ConversationState


def fork(db: str | None, name: str, *, at: str) -> int:
    """Make a fork; its id goes to standard output, for scripts."""

    async def work(service: Opened) -> int:
        source = await service.manager.find(name)
        made = await service.manager.fork(source.id, at=last_shared(source.state, at))
        put(made.id)
        exits.say(f"forked; `palaver chat -c {made.id[-8:]}` goes on there")
        return exits.OK

    return look(db, work)


def undo(db: str | None, name: str) -> int:
    """Go back before the last question."""

    async def work(service: Opened) -> int:
        conversation = await service.manager.find(name)
        exits.say(undone(await conversation.undo()))
        return exits.OK

    return look(db, work)


def redo(db: str | None, name: str) -> int:
    """Take the last undo back."""

    async def work(service: Opened) -> int:
        conversation = await service.manager.find(name)
        await conversation.redo()
        exits.say(standing(conversation.state))
        return exits.OK

    return look(db, work)


def edit(options: AskOptions, message: str) -> int:
    """Replace a question and print the new answer."""
    said = question(options.prompt, alone=True)

    async def begin(asking: Asking, service: Opened) -> Any:
        conversation = await asking.conversation(service)
        old = message_named(conversation.state, message)
        return conversation, await conversation.edit(old.id, instead_of(old, said))

    return answer(options, begin)


def retry(options: AskOptions, message: str) -> int:
    """Answer a question again and print the new answer."""

    async def begin(asking: Asking, service: Opened) -> Any:
        conversation = await asking.conversation(service)
        asked = message_named(conversation.state, message).id if message else None
        return conversation, await conversation.regenerate(asked)

    return answer(options, begin)


def branches(db: str | None, name: str, *, switch: str, as_json: bool) -> int:
    """Print the tree of branches, after switching where that is wanted."""

    async def work(service: Opened) -> int:
        conversation = await service.manager.find(name)
        if switch:
            await conversation.switch(branch_named(conversation.state, switch))
        state = conversation.state
        if as_json:
            print_json(_plain(state))
        elif not state.messages and not state.aside:
            raise NotFound("nothing has been said in this conversation yet")
        else:
            put("\n".join(tree(state, width=terminal_width(), unicode=_has_unicode())))
        return exits.OK

    return look(db, work)


def _plain(state: ConversationState) -> list[dict[str, Any]]:
    from palaver.service.branching import branches as all_branches

    found = {branch.head: branch for branch in all_branches(state)}
    return [
        {
            "branch": number,
            "head": leaf.id,
            "is_active": found[leaf.id].is_active,
            "preview": found[leaf.id].preview,
        }
        for number, leaf in enumerate(ordered_leaves(state), 1)
    ]


def _has_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().startswith("utf")
