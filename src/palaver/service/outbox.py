"""The outbox as its user holds it, and how its prompts are kept and sent.

A prompt gets there in two ways. Where everybody who could answer is left alone by a breaker, or
others wait already, no turn is opened for it. Where a turn reaches nobody, its end and the keeping
of its question are one append; the question leaves the history, which it enters again when it is
sent; so it is where the end of the program cuts off its answer. Sending is one append, too: of all
who try, in this process and in others, one succeeds.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from palaver.domain.errors import PalaverError, PromptKept
from palaver.domain.events import MessageAdded, TurnClosed
from palaver.domain.ids import ConversationId, MessageId, TurnId
from palaver.domain.messages import Role
from palaver.domain.outbox import QueuedPrompt, by_key
from palaver.domain.state import ConversationState
from palaver.domain.stream import TurnFailed
from palaver.domain.values import TurnOutcome
from palaver.engine.ports import Commit
from palaver.recovery.classification import is_unreachable
from palaver.service.actions import SendMessage
from palaver.service.inbound import MessageInput, user_message
from palaver.service.prompts import EditPrompt, QueuePrompt, SendPrompt, WithdrawPrompt, kept_from
from palaver.service.state import StateManager
from palaver.streams.session import StreamSession
from palaver.system import new_id

if TYPE_CHECKING:
    from palaver.service.turns import TurnRunner


class Keeping(msgspec.Struct, frozen=True):
    """A turn's question goes to the outbox when no model can be reached."""

    key: str | None = None
    """The idempotency key that it was accepted with."""
    is_ending: Callable[[], bool] | None = None
    """Of a prompt that was sent from the outbox: whether the program is ending, so that nobody
    wished it to be cancelled."""


class WaitingPrompts(msgspec.Struct, frozen=True):
    """What waits in one conversation."""

    conversation: ConversationId
    title: str
    prompts: tuple[QueuedPrompt, ...]


class Outbox:
    """The prompts of one conversation that wait, in the order in which they are sent."""

    def __init__(self, states: StateManager, runner: "TurnRunner") -> None:
        self._states, self._runner = states, runner

    @property
    def prompts(self) -> tuple[QueuedPrompt, ...]:
        """Those that wait."""
        return self._states.state.outbox

    def __len__(self) -> int:
        return len(self.prompts)

    def __iter__(self) -> Iterator[QueuedPrompt]:
        return iter(self.prompts)

    async def edit(self, prompt: str, said: MessageInput) -> None:
        """Let a prompt that waits say something else. Raises NotFound, InvalidInput."""
        limit = self._runner.settings.message_bytes
        taken = await self._runner.taken_in(said)
        message = user_message(taken, id=MessageId(prompt), limit_bytes=limit)
        await self._runner.check_blobs(message)
        await self._states.dispatch(EditPrompt(MessageId(prompt), message.content))

    async def withdraw(self, prompt: str) -> None:
        """Take a prompt back; it is never sent. Raises NotFound."""
        await self._states.dispatch(WithdrawPrompt(MessageId(prompt)))

    async def send(self) -> StreamSession | None:
        """Send the first prompt now, whatever breakers say; None where nothing waits, or somebody
        else has just sent it. When no model can be reached, it waits on. Raises ConversationBusy.
        """
        return await send_first(self._states, self._runner)


async def send_first(states: StateManager, runner: "TurnRunner") -> StreamSession | None:
    """See `Outbox.send`."""
    state = states.state
    if not state.outbox:
        return None
    runner.check_ready(state)
    prompt, turn = state.outbox[0], TurnId(new_id("turn"))
    with runner.sessions.beginning(turn):
        done = await states.dispatch(SendPrompt(prompt.id, turn, MessageId(new_id("msg"))))
        if not done.facts:
            return None
        question = next(m.id for m in reversed(done.state.messages) if m.role is Role.USER)
        keeping = Keeping(prompt.idempotency_key, lambda: runner.is_closed)
        return runner.run(states, turn, question, keeping=keeping)


async def keep(states: StateManager, command: SendMessage, reason: str) -> TurnId:
    """Put a message into the outbox: raises PromptKept when it is durable there. Returns the turn
    that its key opened before, where there is one."""
    prompt = QueuedPrompt(
        command.message,
        command.idempotency_key,
        command.output,
        reason=reason,
        tools=command.tools,
        own_tools=command.own_tools,
    )
    done = await states.dispatch(QueuePrompt(prompt), is_reviewed=True)
    if done.replayed is not None:
        return done.replayed
    known = by_key(done.state.outbox, command.idempotency_key)
    raise kept_error(prompt.id if known is None else known.id)


def kept_error(prompt: MessageId) -> PromptKept:
    """What somebody is told whose prompt waits."""
    return PromptKept("no model can be reached now; what you said is kept", prompt=prompt)


def kept(state: ConversationState, commit: Commit, keeping: Keeping | None) -> Commit:
    """The end of a turn that reached nobody, with its question put into the outbox; any other
    commit as it is. Something that was said stays where it is, and so does its question; only where
    the end of the program cuts off the answer to a prompt from the outbox, that goes back there,
    and what was said of the answer stays as a branch."""
    closed = commit.facts[-1] if commit.facts else None
    if keeping is None or not isinstance(closed, TurnClosed):
        return commit
    is_cut = closed.outcome is TurnOutcome.CANCELLED and _is_ending(keeping)
    if not is_cut and not is_unreachable(commit.error):
        return commit
    question, has_said = state.last, any(isinstance(f, MessageAdded) for f in commit.facts)
    if question is None or question.role is not Role.USER or (has_said and not is_cut):
        return commit
    reason = commit.error.code if isinstance(commit.error, PalaverError) else "program_stopped"
    more = kept_from(state, closed.turn, question, key=keeping.key, reason=reason)
    shown = (
        replace(event, kept=question.id) if isinstance(event, TurnFailed) else event
        for event in commit.shown
    )
    return replace(commit, facts=(*commit.facts, *more), shown=tuple(shown))


def _is_ending(keeping: Keeping) -> bool:
    return keeping.is_ending is not None and keeping.is_ending()
