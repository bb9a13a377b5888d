"""Commands: what somebody wants to happen to a conversation. `decide` turns them into facts."""

from typing import Any, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from palaver.context.proposal import hash_of
from palaver.domain.compaction import Compaction
from palaver.domain.errors import ConversationBusy, InvalidInput, InvalidTransition
from palaver.domain.events import (
    AttemptMade,
    CallDecided,
    Compacted,
    CompactionUndone,
    Event,
    HeadMoved,
    MessageAdded,
    MessagePinned,
    MetadataChanged,
    PreferencesChanged,
    SideRequestMade,
    ToolResolved,
    TurnOpened,
)
from palaver.domain.ids import CallId, MessageId, TurnId
from palaver.domain.messages import Flag, Message, Role, StopReason, Text, ToolResult
from palaver.domain.reducer import apply
from palaver.domain.state import ConversationState
from palaver.domain.text import clean
from palaver.domain.values import (
    ClientTool,
    OutputSchema,
    SessionMetadata,
    TurnOutcome,
    Usage,
    UserPreferences,
)
from palaver.engine.closing import close_turn
from palaver.service.awaited import check_open_ended, check_undecided, unprovided
from palaver.service.brought import facts_of, joined
from palaver.service.preferences import changed_preferences, clean_metadata
from palaver.service.prefix import Matched
from palaver.service.prompts import (
    EditPrompt,
    QueuePrompt,
    SendPrompt,
    WithdrawPrompt,
    outbox_facts,
)


class SendMessage(msgspec.Struct, frozen=True):
    """Say something behind the last message: opens a turn. The same `idempotency_key` never opens a
    second one."""

    turn: TurnId
    message: Message
    idempotency_key: str | None = None
    output: OutputSchema | None = None
    """The shape that the answer is to have."""
    tools: tuple[ClientTool, ...] = ()
    """Tools that the client runs."""
    own_tools: bool = True
    """Whether the model gets all of our own tools."""


class SetPreferences(msgspec.Struct, frozen=True):
    """Change what the conversation runs with."""

    preferences: UserPreferences


class SetMetadata(msgspec.Struct, frozen=True):
    """Change title, tags or custom fields."""

    metadata: SessionMetadata


class NameConversation(msgspec.Struct, frozen=True):
    """Give it a title that was taken from what was said. Nothing happens when the first message is
    no longer `read`: it may have been redacted meanwhile, and its title with it."""

    title: str
    read: Message
    only_untitled: bool = False
    """Leave a title that it has got meanwhile."""


class ChangePreferences(msgspec.Struct, frozen=True):
    """Change some preferences by name; the others stay as they are when the change is made, so two
    who change different ones at once both succeed."""

    changes: dict[str, Any]


class ChangeMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """Change some metadata; None leaves what is there when the change is made."""

    title: str | None = None
    tags: tuple[str, ...] | None = None
    """All of them, in place of those that are there; before the next two."""
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()
    archived: bool | None = None
    custom: dict[str, str] | None = None
    """All of them, in place of those that are there."""


class DecideCall(msgspec.Struct, frozen=True):
    """Allow or refuse a call that waits for approval; `note` is told to the model."""

    call_id: CallId
    approved: bool
    note: str = ""


MoveReason: TypeAlias = Literal["undo", "redo", "switch", "edit"]


class MoveHead(msgspec.Struct, frozen=True):
    """Go on behind another message; None: from the beginning."""

    head: MessageId | None
    reason: MoveReason = "switch"


class EditMessage(msgspec.Struct, frozen=True):
    """Say `message` behind `parent`, in a branch beside what was said there: opens a turn."""

    turn: TurnId
    message: Message
    parent: MessageId | None
    output: OutputSchema | None = None
    tools: tuple[ClientTool, ...] = ()
    own_tools: bool = True


class AnswerAgain(msgspec.Struct, frozen=True):
    """Answer a user message again: opens a turn."""

    turn: TurnId
    question: MessageId
    output: OutputSchema | None = None
    tools: tuple[ClientTool, ...] = ()
    own_tools: bool = True


class GoOn(msgspec.Struct, frozen=True):
    """Answer what the history ends with, a user message or results of tools, without saying
    anything more: opens a turn."""

    turn: TurnId
    output: OutputSchema | None = None
    tools: tuple[ClientTool, ...] = ()
    own_tools: bool = True


class ProvideResults(msgspec.Struct, frozen=True):
    """Give results of calls that wait for the client. Results that are there already change
    nothing; after the last one the turn can go on."""

    turn: TurnId
    results: tuple[ToolResult, ...]


class BringHistory(msgspec.Struct, frozen=True):
    """Let the active path say what a client's history says; see `brought`. New messages get ids
    that begin with `seed`."""

    messages: tuple[Message, ...]
    seed: str
    found: Matched | None = None
    """What `matched` says of them behind fact `seq`; no middleware sees it."""
    seq: int = -1


class PinMessage(msgspec.Struct, frozen=True):
    """Mark a message as important, or no longer."""

    message: MessageId
    pinned: bool = True


class CompactContext(msgspec.Struct, frozen=True):
    """Make the window smaller. Middleware sees it before anything is read or paid for, and may
    change how; `compaction` is what was made of it then."""

    strategy: str = ""
    """Empty: chosen by what the conversation is made of."""
    instructions: str = ""
    compaction: Compaction | None = None
    paid: tuple[SideRequestMade, ...] = ()


class UndoCompaction(msgspec.Struct, frozen=True):
    """Take the newest compaction of the path back; the window is what it was before it."""


class RecordSideRequests(msgspec.Struct, frozen=True):
    """What was paid beside any turn. No middleware sees it: it has happened."""

    facts: tuple[SideRequestMade, ...]


class RecordFacts(msgspec.Struct, frozen=True):
    """What a running turn found to be so. No middleware sees it: facts are not negotiable.

    They hold as long as the turn is this process's, under the `epoch` that it ran with; else
    TurnTakenOver is raised and nothing is written.
    """

    facts: tuple[Event, ...]
    turn: TurnId
    epoch: int


class Unsaid(msgspec.Struct, frozen=True):
    """What an attempt had said that never came to its end."""

    number: int
    model: str
    message: MessageId
    text: str
    usage: Usage
    flags: tuple[Flag, ...] = ()
    """What a reader of the text must know, beside that it is not whole."""


class EndTurn(msgspec.Struct, frozen=True):
    """End an open turn that no task works on, with valid history on whatever state it has then.
    Nothing happens if it has ended. No middleware sees it."""

    turn: TurnId
    outcome: TurnOutcome
    why: str
    """Told to the model as the result of calls that did not run."""
    unsaid: Unsaid | None = None


TURNS_OWN = (RecordFacts, EndTurn, RecordSideRequests, SendPrompt)
"""What a turn's keeper does to it, and what has happened; not open to middleware."""


StateAction: TypeAlias = (
    SendMessage
    | EditMessage
    | AnswerAgain
    | GoOn
    | MoveHead
    | PinMessage
    | SetPreferences
    | SetMetadata
    | NameConversation
    | ChangePreferences
    | ChangeMetadata
    | DecideCall
    | ProvideResults
    | BringHistory
    | CompactContext
    | UndoCompaction
    | RecordSideRequests
    | QueuePrompt
    | EditPrompt
    | WithdrawPrompt
    | SendPrompt
    | RecordFacts
    | EndTurn
)
OPENING = (EditMessage, AnswerAgain, GoOn)
"""Actions that open a turn by an append; SendMessage has `accept`, which knows idempotency keys."""


def decide(state: ConversationState, action: StateAction) -> tuple[Event, ...]:
    """The facts that carrying out `action` on `state` makes. Pure.

    Raises InvalidInput where the action does not fit the state.
    """
    match action:
        case SendMessage(turn=turn, message=message):
            parent = None if state.last is None else state.last.id
            return (_opened(action), MessageAdded(replace(message, parent=parent), turn))
        case EditMessage(turn=turn, message=message, parent=parent):
            said = MessageAdded(replace(message, parent=parent), turn)
            return (*_moved(state, parent, "edit"), _opened(action), said)
        case AnswerAgain(question=question):
            return (*_moved(state, question, "edit"), _opened(action))
        case GoOn():
            _check_idle(state)
            check_open_ended(state)
            return (_opened(action),)
        case MoveHead(head=head, reason=reason):
            return _moved(state, head, reason)
        case PinMessage(message=message_id, pinned=pinned):
            known = (message_id in state.pins) == pinned
            return () if known else (MessagePinned(message_id, pinned),)
        case SetPreferences(preferences=preferences):
            return _preferences(state, preferences)
        case ChangePreferences(changes=changes):
            return _preferences(state, changed_preferences(state.preferences, changes))
        case SetMetadata(metadata=metadata):
            return _metadata(state, metadata)
        case NameConversation(title=title, read=read, only_untitled=only_untitled):
            is_stale = not state.messages or state.messages[0] != read
            is_named = bool(state.metadata.title) and only_untitled
            if is_stale or is_named or not title:
                return ()
            return _metadata(state, replace(state.metadata, title=title))
        case ChangeMetadata():
            return _metadata(state, changed_metadata(state.metadata, action))
        case DecideCall(call_id=call_id, approved=approved, note=note):
            opened = check_undecided(state, call_id)
            return (CallDecided(opened.id, call_id, approved, clean(note)[0]),)
        case ProvideResults(turn=turn, results=results):
            new = unprovided(state, turn, results)
            return tuple(ToolResolved(turn, result) for result in new)
        case BringHistory(messages=messages, seed=seed):
            _check_idle(state)
            found = action.found if action.seq == state.seq else None
            return facts_of(state, joined(state, messages, seed, found=found))
        case CompactContext(compaction=compaction, paid=paid):
            _check_idle(state)
            made: tuple[Event, ...] = () if compaction is None else (Compacted(compaction),)
            return _sourced(state, (*paid, *made))
        case UndoCompaction():
            _check_idle(state)
            if state.compaction is None:
                raise InvalidInput("the window holds all messages: there is nothing to undo")
            return (CompactionUndone(state.compaction.id),)
        case RecordSideRequests(facts=facts):
            return facts
        case QueuePrompt() | EditPrompt() | WithdrawPrompt() | SendPrompt():
            return outbox_facts(state, action)
        case RecordFacts(facts=facts):
            return _sourced(state, facts)
        case EndTurn():
            return _ending(state, action)


def _opened(action: SendMessage | EditMessage | AnswerAgain | GoOn) -> TurnOpened:
    return TurnOpened(action.turn, action.output, action.tools, action.own_tools)


def _preferences(state: ConversationState, after: UserPreferences) -> tuple[Event, ...]:
    after = replace(after, system=clean(after.system)[0], language=clean(after.language)[0])
    return () if after == state.preferences else (PreferencesChanged(after),)


def _metadata(state: ConversationState, after: SessionMetadata) -> tuple[Event, ...]:
    after = clean_metadata(after)
    return () if after == state.metadata else (MetadataChanged(after),)


def changed_metadata(before: SessionMetadata, change: ChangeMetadata) -> SessionMetadata:
    """`before` with `change`. A tag that is added again goes to the end."""
    gone = {*change.remove_tags, *change.add_tags}
    old = before.tags if change.tags is None else change.tags
    tags = [*(t for t in old if t not in gone), *dict.fromkeys(change.add_tags)]
    return replace(
        before,
        title=before.title if change.title is None else change.title,
        tags=tuple(tags),
        archived=before.archived if change.archived is None else change.archived,
        custom=before.custom if change.custom is None else change.custom,
    )


def _ending(state: ConversationState, action: EndTurn) -> tuple[Event, ...]:
    opened = state.turn
    if opened is None or opened.id != action.turn:
        return ()
    said: list[Event] = []
    unsaid = action.unsaid
    # Calls without a result: the message was complete, and a later attempt has not begun.
    if unsaid is not None and not state.pending_calls:
        if unsaid.text:
            message = Message(
                Role.ASSISTANT,
                (Text(unsaid.text),),
                unsaid.message,
                parent=state.messages[-1].id,
                model=unsaid.model,
                stop=StopReason.ABORTED,
                flags=(Flag.PARTIAL, *unsaid.flags),
            )
            said.append(MessageAdded(message, opened.id))
        if (
            unsaid.number > opened.attempts
        ):  # else it broke, has its row, and waited to be continued
            said.append(AttemptMade(opened.id, unsaid.number, unsaid.model, unsaid.usage))
    for fact in said:
        state = apply(state, fact)
    return (*said, *close_turn(state, opened.id, action.outcome, why=action.why))


def _sourced(state: ConversationState, facts: tuple[Event, ...]) -> tuple[Event, ...]:
    """`facts`, if their compactions were made of what is there: one may have been under way while a
    message that it quotes was erased."""
    for fact in facts:
        if isinstance(fact, Compacted) and fact.compaction.source_hash:
            covered = state.messages.first(fact.compaction.covers)
            if hash_of(covered) != fact.compaction.source_hash:
                raise InvalidTransition("the compaction was made of messages that have changed")
    return facts


def _check_idle(state: ConversationState) -> None:
    if state.turn is not None:
        raise ConversationBusy("a turn of this conversation is still open")


def _moved(
    state: ConversationState, head: MessageId | None, reason: MoveReason
) -> tuple[Event, ...]:
    _check_idle(state)
    here = None if state.last is None else state.last.id
    return () if head == here else (HeadMoved(head, reason),)
