"""What a conversation's handle can do to what was said and to what it runs with: go back, say it
otherwise, branch, mark, erase, name, set."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from palaver.domain.ids import MessageId, TurnId
from palaver.domain.messages import Message
from palaver.domain.state import ConversationState
from palaver.domain.values import ClientTool, SessionMetadata, UserPreferences
from palaver.service import branching
from palaver.service.actions import (
    AnswerAgain,
    ChangeMetadata,
    ChangePreferences,
    EditMessage,
    GoOn,
    MoveHead,
    MoveReason,
    PinMessage,
    SetMetadata,
)
from palaver.service.branching import Branch, StateDiff, difference
from palaver.service.inbound import MessageInput
from palaver.service.offer import checked_tools
from palaver.service.output import schema_of
from palaver.service.preferences import changed_preferences
from palaver.service.redaction import RedactionReceipt
from palaver.service.state import StateManager
from palaver.streams.session import StreamSession
from palaver.system import new_id

if TYPE_CHECKING:
    from palaver.service.turns import TurnRunner


class Changing:
    """A part of `Conversation`."""

    _states: StateManager
    _runner: "TurnRunner"

    @property
    def state(self) -> ConversationState:
        """The newest durable state."""
        raise NotImplementedError

    # Branches. None of this loses a message: what is left behind stays as a branch.

    async def undo(self) -> Message:
        """Go back before the last user message, which is returned. Raises InvalidInput."""
        question = branching.last_question(self.state)
        await self._move(question.parent, "undo")
        return question

    async def redo(self) -> None:
        """Take the last undo back. Raises InvalidInput when there is none."""
        await self._move(branching.redo_target(self.state), "redo")

    async def switch(self, message: str) -> None:
        """Go on with the branch that `message` lies on, at its end. Raises NotFound."""
        await self._move(branching.end_of_branch(self.state, MessageId(message)), "switch")

    async def edit(
        self,
        message: str,
        said: MessageInput,
        *,
        output: Any = None,
        client_tools: Sequence[ClientTool] = (),
        own_tools: bool = True,
    ) -> StreamSession:
        """Say something else in place of an earlier user message, in a branch beside it."""
        edited = branching.user_message(self.state, MessageId(message))
        schema, tools = schema_of(output), checked_tools(client_tools)
        changed = await self._incoming(said)
        turn = TurnId(new_id("turn"))
        return await self._branch(
            EditMessage(turn, changed, edited.parent, schema, tools, own_tools)
        )

    async def regenerate(
        self,
        message: str | None = None,
        *,
        output: Any = None,
        client_tools: Sequence[ClientTool] = (),
        own_tools: bool = True,
    ) -> StreamSession:
        """Answer a user message again (None: the last one), in a branch beside the old answer."""
        id = None if message is None else MessageId(message)
        question = branching.question_of(self.state, id)
        schema, tools = schema_of(output), checked_tools(client_tools)
        turn = TurnId(new_id("turn"))
        return await self._branch(AnswerAgain(turn, question.id, schema, tools, own_tools))

    def branches(self) -> tuple[Branch, ...]:
        """All branches by their last message, the active one first."""
        return branching.branches(self.state)

    async def pin(self, message: str, *, pinned: bool = True) -> None:
        """Mark a message as important, or no longer. Raises NotFound."""
        found = branching.find(self.state, MessageId(message))
        await self._states.dispatch(PinMessage(found.id, pinned))

    async def at(self, seq: int) -> ConversationState:
        """The conversation as it was behind fact number `seq`. Raises InvalidInput."""
        return await self._states.at(seq)

    async def diff(self, one: int, other: int) -> StateDiff:
        """What changed from fact number `one` to `other`."""
        return difference(await self.at(one), await self.at(other))

    async def redact(self, message: str, *, note: str = "") -> RedactionReceipt:
        """Erase what a message says, everywhere, for ever. Raises NotFound, ConversationBusy."""
        found = branching.find(self.state, MessageId(message))
        return await self._runner.redact(self._states, found.id, note)

    async def _move(self, head: MessageId | None, reason: MoveReason) -> None:
        await self._end_abandoned()
        await self._states.dispatch(MoveHead(head, reason))

    # Settings.

    async def set_preferences(self, **changes: Any) -> UserPreferences:
        """Change the model, system prompt, language, approvals, or generation settings (by name).

        Raises InvalidInput for a name or value that does not exist.
        """
        self._runner.check_model(changed_preferences(self.state.preferences, changes).model)
        done = await self._states.dispatch(ChangePreferences(changes))
        return done.state.preferences

    async def set_title(self, title: str) -> None:
        """Name the conversation."""
        await self._states.dispatch(ChangeMetadata(title=title))

    async def name(self, by: Literal["extractive", "model"] = "extractive") -> str:
        """Let its first sentence or its model name the conversation; returns the title."""
        return await self._runner.name(self._states, by)

    async def tag(self, *tags: str, remove: bool = False) -> tuple[str, ...]:
        """Add tags, or remove them; returns the ones that it has then."""
        change = ChangeMetadata(remove_tags=tags) if remove else ChangeMetadata(add_tags=tags)
        return (await self._states.dispatch(change)).state.metadata.tags

    async def archive(self, *, archived: bool = True) -> None:
        """Take the conversation out of the listing, or put it back."""
        await self._states.dispatch(ChangeMetadata(archived=archived))

    async def set_metadata(self, metadata: SessionMetadata) -> None:
        """Replace title, tags and custom fields, all of them."""
        await self._states.dispatch(SetMetadata(metadata))

    # Of `Conversation`.

    async def _incoming(self, said: MessageInput) -> Message:
        raise NotImplementedError

    async def _end_abandoned(self) -> None:
        raise NotImplementedError

    async def _branch(self, command: EditMessage | AnswerAgain | GoOn) -> StreamSession:
        raise NotImplementedError
