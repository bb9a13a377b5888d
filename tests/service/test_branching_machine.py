"""Branches against a model of plain lists: whatever is done, in whatever order."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import palaver
from palaver import Conversation, ConversationManager, InvalidInput, NotFound, Role
from palaver.domain.ids import ConversationId
from palaver.domain.redaction import ERASED
from palaver.environment import Environment
from palaver.providers.base import ModelRequest
from palaver.store.blobs import MemoryBlobStore
from palaver.store.memory import MemoryStore
from palaver.testing import ScriptedModel, valid_history

OPERATIONS = (
    "say",
    "say",
    "edit",
    "regenerate",
    "undo",
    "undo",
    "redo",
    "switch",
    "fork",
    "travel",
    "redact",
    "delete",
    "restart",
)
scripts = st.lists(
    st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 30)), min_size=3, max_size=18
)
_QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]


class Tree:
    """One conversation as plain lists: `lines` maps a message's id to the texts up to it."""

    def __init__(self) -> None:
        self.ids: dict[str, list[str]] = {}
        self.head = ""
        self.undone: list[str] = []
        self.questions: set[str] = set()

    def before_last_question(self) -> list[str]:
        """The line up to the last question, without it."""
        line = self.line()
        while line and line[-1] not in self.questions:
            line = line[:-1]
        return line[:-1]

    def line(self) -> list[str]:
        return [] if not self.head else self.ids[self.head]

    def texts(self, names: dict[str, str]) -> list[str]:
        return [names[i] for i in self.line()]

    def grow(self, id: str) -> None:
        self.ids[id] = [*self.line(), id]
        self.head = id


class World:
    """Conversations and their models; `names` maps ids to what they say now."""

    def __init__(self, manager: ConversationManager) -> None:
        self.manager = manager
        self.trees: dict[str, Tree] = {}
        self.names: dict[str, str] = {}
        self.said = 0

    def learn(self, conversation: Conversation) -> None:
        """Take the newest question and answer into the model."""
        tree = self.trees[conversation.id]
        for message in conversation.messages[len(tree.line()) :]:
            tree.grow(message.id)
            if message.role is Role.USER:
                tree.questions.add(message.id)
            self.names[message.id] = message.text

    async def act(self, operation: str, choice: int) -> None:
        if not self.trees:
            made = await self.manager.create()
            self.trees[made.id] = Tree()
        id = sorted(self.trees)[choice % len(self.trees)]
        conversation = await self.manager.open(id)
        tree = self.trees[id]
        await getattr(self, operation)(conversation, tree, choice)
        for name, model in self.trees.items():
            now = await self.manager.open(name)
            assert [m.text for m in now.messages] == model.texts(self.names), operation
            assert now.state.turn is None
            problems = valid_history(list(now.messages)) if now.messages else []
            assert problems == []

    async def say(self, conversation: Conversation, tree: Tree, choice: int) -> None:
        self.said += 1
        await conversation.say(f"question {self.said}")
        tree.undone.clear()
        self.learn(conversation)

    async def edit(self, conversation: Conversation, tree: Tree, choice: int) -> None:
        questions = [i for i in tree.ids if i in tree.questions]
        if not questions:
            return
        chosen = questions[choice % len(questions)]
        self.said += 1
        session = await conversation.edit(chosen, f"question {self.said}")
        await session.ended()
        before = tree.ids[chosen][:-1]
        tree.head = before[-1] if before else ""
        tree.undone.clear()
        self.learn(conversation)

    async def regenerate(self, conversation: Conversation, tree: Tree, choice: int) -> None:
        if not tree.line():
            with pytest.raises(InvalidInput):
                await conversation.regenerate()
            return
        session = await conversation.regenerate()
        await session.ended()
        tree.head = tree.line()[len(tree.before_last_question())]
        tree.undone.clear()
        self.learn(conversation)

    async def undo(self, conversation: Conversation, tree: Tree, choice: int) -> None:
        if not tree.line():
            with pytest.raises(InvalidInput):
                await conversation.undo()
            return
        await conversation.undo()
        tree.undone.append(tree.head)
        before = tree.before_last_question()
        tree.head = before[-1] if before else ""

    async def redo(self, conversation: Conversation, tree: Tree, choice: int) -> None:
        if not tree.undone:
            with pytest.raises(InvalidInput):
                await conversation.redo()
            return
        await conversation.redo()
        tree.head = tree.undone.pop()

    async def switch(self, conversation: Conversation, tree: Tree, choice: int) -> None:
        if not tree.ids:
            return
        await conversation.switch(sorted(tree.ids)[choice % len(tree.ids)])
        tree.undone.clear() if conversation.state.undone == () else None
        head = conversation.messages[-1].id
        assert sorted(tree.ids)[choice % len(tree.ids)] in tree.ids[head]
        tree.head = head

    async def fork(self, conversation: Conversation, tree: Tree, choice: int) -> None:
        if len(self.trees) > 3:
            return
        at = sorted(tree.ids)[choice % len(tree.ids)] if tree.ids else None
        made = await self.manager.fork(conversation.id, at=at)
        copy = self.trees[made.id] = Tree()
        copy.ids, copy.head = dict(tree.ids), at or tree.head
        copy.questions = set(tree.questions)
        copy.undone = list(tree.undone) if at in (None, tree.head) else []

    async def travel(self, conversation: Conversation, tree: Tree, choice: int) -> None:
        seq = conversation.state.seq
        there = await conversation.at(choice % (seq + 1))
        assert there.seq == choice % (seq + 1)
        assert await conversation.at(seq) == conversation.state

    async def redact(self, conversation: Conversation, tree: Tree, choice: int) -> None:
        if not tree.ids:
            return
        chosen = sorted(tree.ids)[choice % len(tree.ids)]
        await conversation.redact(chosen)
        self.names[chosen] = ERASED

    async def delete(self, conversation: Conversation, tree: Tree, choice: int) -> None:
        await self.manager.delete(conversation.id)
        del self.trees[conversation.id]
        with pytest.raises(NotFound):
            await self.manager.open(conversation.id)

    async def restart(self, conversation: Conversation, tree: Tree, choice: int) -> None:
        """Forget everything that is in memory."""
        for conversation_id in self.trees:
            self.manager._open.forget(ConversationId(conversation_id))


def answer(request: ModelRequest) -> str:
    """An answer to the last question."""
    return f"answer to {request.messages[-1].text}"


async def act_out(script: list[tuple[str, int]], **where: Any) -> None:
    model = ScriptedModel()
    model.when("", answer)
    options = palaver.Settings(snapshot_every=5, titles="off")
    environment = Environment(home=Path("nowhere"), model="offline", settings=options)
    async with palaver.open(model=model, environment=environment, **where) as manager:
        world = World(manager)
        for operation, choice in script:
            await world.act(operation, choice)


@settings(max_examples=60, deadline=None, suppress_health_check=_QUIET)
@given(scripts)
def test_branches_in_any_order(script: list[tuple[str, int]]) -> None:
    """Every conversation says what the plain lists say, after every step."""
    asyncio.run(act_out(script, store=MemoryStore(), blobs=MemoryBlobStore()))


@settings(max_examples=8, deadline=None, suppress_health_check=_QUIET)
@given(scripts)
def test_branches_in_any_order_in_a_file(script: list[tuple[str, int]]) -> None:
    """The same over SQLite."""
    with TemporaryDirectory() as folder:
        asyncio.run(act_out(script, path=Path(folder) / "chat.db"))


@pytest.mark.long
@settings(max_examples=2_000, deadline=None, suppress_health_check=_QUIET)
@given(scripts)
def test_branches_in_any_order_for_longer(script: list[tuple[str, int]]) -> None:
    """The same, many more times."""
    asyncio.run(act_out(script, store=MemoryStore(), blobs=MemoryBlobStore()))
