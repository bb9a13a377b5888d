"""Palaver without `async`: the same objects, one event loop in a background thread.

from palaver import sync, TextDelta

with sync.open("chat.db") as manager:
    conversation = manager.create()
    for event in conversation.stream("Hello"):
        ...
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from palaver import wiring
from palaver.context.window import ContextWindow
from palaver.domain.compaction import Compaction
from palaver.domain.ids import TurnId
from palaver.domain.messages import File, Image, Message, ToolResult
from palaver.domain.outbox import QueuedPrompt
from palaver.domain.state import ConversationState
from palaver.domain.stream import StreamEvent
from palaver.domain.values import ClientTool, SessionMetadata, UserPreferences
from palaver.loop_thread import LoopThread
from palaver.recovery.degradation import DegradedConversationState, GracefulDegradationManager
from palaver.recovery.manager import ErrorRecoveryManager
from palaver.service.branching import Branch, StateDiff
from palaver.service.brought import Aligned
from palaver.service.compacting import CompactionReport, ContextReport
from palaver.service.conversation import Conversation as AsyncConversation, OnBusy
from palaver.service.ending import Recovered
from palaver.service.inbound import MessageInput
from palaver.service.manager import ConversationManager as AsyncManager
from palaver.service.offline import OfflineCapabilities as AsyncOffline, OfflineStatistics
from palaver.service.outbox import Outbox as AsyncOutbox, WaitingPrompts
from palaver.service.redaction import RedactionReceipt
from palaver.service.reply import Reply
from palaver.service.transfer import ExportFormat, ImportReport
from palaver.service.turn_status import TurnStatus
from palaver.settings import OnUnreachable
from palaver.store.base import BackupReport, Page, SearchHit
from palaver.streams.cursor import After
from palaver.streams.session import Numbered
from palaver.tools.definition import ToolDefinition
from palaver.tools.manager import ToolManager
from palaver.travel.base import Repair


class Conversation:
    """A `palaver.Conversation` whose methods block."""

    def __init__(self, loop: LoopThread, wrapped: AsyncConversation) -> None:
        self._loop, self._wrapped = loop, wrapped

    @property
    def id(self) -> str:
        """The conversation's id."""
        return self._wrapped.id

    @property
    def state(self) -> ConversationState:
        """The newest durable state."""
        return self._wrapped.state

    @property
    def messages(self) -> Sequence[Message]:
        """All messages, oldest first."""
        return self._wrapped.messages

    @property
    def offline(self) -> "OfflineCapabilities":
        """See `palaver.Conversation.offline`."""
        return OfflineCapabilities(self._loop, self._wrapped.offline)

    @property
    def degraded(self) -> DegradedConversationState:
        """See `palaver.Conversation.degraded`."""
        return self._wrapped.degraded

    def stream(
        self,
        said: MessageInput,
        *,
        on_busy: OnBusy = "reject",
        idempotency_key: str | None = None,
        output: Any = None,
        on_unreachable: OnUnreachable | None = None,
        client_tools: Sequence[ClientTool] = (),
        own_tools: bool = True,
    ) -> Iterator[StreamEvent]:
        """Say something and follow the answer, event by event."""
        return self._loop.iterate(
            self._wrapped.stream(
                said,
                on_busy=on_busy,
                idempotency_key=idempotency_key,
                output=output,
                on_unreachable=on_unreachable,
                client_tools=client_tools,
                own_tools=own_tools,
            )
        )

    def say(
        self,
        said: MessageInput,
        *,
        on_busy: OnBusy = "reject",
        idempotency_key: str | None = None,
        output: Any = None,
        on_unreachable: OnUnreachable | None = None,
        client_tools: Sequence[ClientTool] = (),
        own_tools: bool = True,
    ) -> Reply:
        """Say something and return the whole answer. Raises what ended a failed turn."""
        return self._loop.run(
            self._wrapped.say(
                said,
                on_busy=on_busy,
                idempotency_key=idempotency_key,
                output=output,
                on_unreachable=on_unreachable,
                client_tools=client_tools,
                own_tools=own_tools,
            )
        )

    def resume(self, decisions: dict[str, bool], *, output: Any = None) -> Reply:
        """Decide all waiting calls and return the rest of the answer."""
        return self._loop.run(self._wrapped.resume(decisions, output=output))

    def decide(self, call_id: str, *, approve: bool, note: str = "") -> TurnId:
        """Allow or refuse a call that waits. After the last one the turn goes on by itself;
        `follow` shows how."""
        work = self._wrapped.decide(call_id, approve=approve, note=note)
        return self._loop.run(work).turn

    def follow(self, turn: str, *, after: After = 0) -> Iterator[Numbered]:
        """The numbered events of a turn behind `after`, to its end."""
        return self._loop.iterate(self._wrapped.follow(turn, after=after))

    def cancel(self) -> None:
        """End the open turn; what came is kept. May be called from another thread."""
        self._loop.run(self._wrapped.cancel())

    def set_preferences(self, **changes: Any) -> UserPreferences:
        """Change preferences by name."""
        return self._loop.run(self._wrapped.set_preferences(**changes))

    def set_title(self, title: str) -> None:
        """Name the conversation."""
        self._loop.run(self._wrapped.set_title(title))

    def set_metadata(self, metadata: SessionMetadata) -> None:
        """Replace title, tags and custom fields, all of them."""
        self._loop.run(self._wrapped.set_metadata(metadata))

    def tag(self, *tags: str, remove: bool = False) -> tuple[str, ...]:
        """Add tags, or remove them; returns the ones that it has then."""
        return self._loop.run(self._wrapped.tag(*tags, remove=remove))

    def archive(self, *, archived: bool = True) -> None:
        """Take the conversation out of the listing, or put it back."""
        self._loop.run(self._wrapped.archive(archived=archived))

    def name(self, by: Literal["extractive", "model"] = "extractive") -> str:
        """Let its first sentence or its model name the conversation; returns the title."""
        return self._loop.run(self._wrapped.name(by))

    def pin(self, message: str, *, pinned: bool = True) -> None:
        """Mark a message as important, or no longer."""
        self._loop.run(self._wrapped.pin(message, pinned=pinned))

    def redact(self, message: str, *, note: str = "") -> RedactionReceipt:
        """Erase what a message says, everywhere, for ever."""
        return self._loop.run(self._wrapped.redact(message, note=note))

    def at(self, seq: int) -> ConversationState:
        """The conversation as it was behind fact number `seq`."""
        return self._loop.run(self._wrapped.at(seq))

    def diff(self, one: int, other: int) -> StateDiff:
        """What changed from fact number `one` to `other`."""
        return self._loop.run(self._wrapped.diff(one, other))

    def undo(self) -> Message:
        """Go back before the last user message, which is returned."""
        return self._loop.run(self._wrapped.undo())

    def redo(self) -> None:
        """Take the last undo back."""
        self._loop.run(self._wrapped.redo())

    def edit(
        self,
        message: str,
        said: MessageInput,
        *,
        output: Any = None,
        client_tools: Sequence[ClientTool] = (),
        own_tools: bool = True,
    ) -> TurnId:
        """Say something else in place of an earlier user message; `follow` shows the answer."""
        work = self._wrapped.edit(
            message, said, output=output, client_tools=client_tools, own_tools=own_tools
        )
        return self._loop.run(work).turn

    def regenerate(
        self,
        message: str | None = None,
        *,
        output: Any = None,
        client_tools: Sequence[ClientTool] = (),
        own_tools: bool = True,
    ) -> TurnId:
        """Answer a user message again (None: the last one); `follow` shows the answer."""
        work = self._wrapped.regenerate(
            message, output=output, client_tools=client_tools, own_tools=own_tools
        )
        return self._loop.run(work).turn

    def go_on(
        self,
        *,
        output: Any = None,
        client_tools: Sequence[ClientTool] = (),
        own_tools: bool = True,
    ) -> TurnId:
        """Let the model answer the history as it is; `follow` shows the answer."""
        work = self._wrapped.go_on(output=output, client_tools=client_tools, own_tools=own_tools)
        return self._loop.run(work).turn

    def align(
        self, messages: Sequence[Message], *, on_busy: Literal["reject", "interrupt"] = "reject"
    ) -> Aligned:
        """Let the active path say what a client's whole history says; nothing is lost."""
        return self._loop.run(self._wrapped.align(messages, on_busy=on_busy))

    @property
    def repairs(self) -> tuple[Repair, ...]:
        """What was mended of the history that `create_from` was given."""
        return self._wrapped.repairs

    def provide(self, results: Sequence[ToolResult]) -> TurnId:
        """Give results of calls that wait for the client; `follow` shows how the turn goes on."""
        return self._loop.run(self._wrapped.provide(results)).turn

    def resume_with(self, results: Sequence[ToolResult], *, output: Any = None) -> Reply:
        """Give the results and return the rest of the answer."""
        return self._loop.run(self._wrapped.resume_with(results, output=output))

    def switch(self, message: str) -> None:
        """Go on with the branch that `message` lies on, at its end."""
        self._loop.run(self._wrapped.switch(message))

    def compact(
        self,
        *,
        strategy: str = "",
        instructions: str = "",
        by_model: bool = True,
        preview: CompactionReport | None = None,
    ) -> CompactionReport:
        """Make the window smaller now; no message is lost."""
        return self._loop.run(
            self._wrapped.compact(
                strategy=strategy, instructions=instructions, by_model=by_model, preview=preview
            )
        )

    def preview_compaction(
        self, *, strategy: str = "", instructions: str = "", by_model: bool = True
    ) -> CompactionReport:
        """What `compact` would do."""
        return self._loop.run(
            self._wrapped.preview_compaction(
                strategy=strategy, instructions=instructions, by_model=by_model
            )
        )

    def undo_compaction(self) -> Compaction:
        """Take the newest compaction back, and return it."""
        return self._loop.run(self._wrapped.undo_compaction())

    def originals(self, handle: str) -> Sequence[Message]:
        """The messages that a handle names (`m12`, `m3-m9`), as they were said."""
        return self._wrapped.originals(handle)

    def expand(self, handle: str) -> Compaction:
        """Put the originals of a handle back into the window."""
        return self._loop.run(self._wrapped.expand(handle))

    def context_window(self) -> ContextWindow:
        """How full the window is, by category, and how much may go into it."""
        return self._wrapped.context_window()

    def context(self) -> ContextReport:
        """What fills the window, what it is about, and what the next compaction would do."""
        return self._loop.run(self._wrapped.context())

    def branches(self) -> tuple[Branch, ...]:
        """All branches by their last message, the active one first."""
        return self._wrapped.branches()

    @property
    def outbox(self) -> "Outbox":
        """What waits until a model can be reached."""
        return Outbox(self._loop, self._wrapped.outbox)


class Outbox:
    """A `palaver.Outbox` whose methods block."""

    def __init__(self, loop: LoopThread, wrapped: AsyncOutbox) -> None:
        self._loop, self._wrapped = loop, wrapped

    @property
    def prompts(self) -> tuple[QueuedPrompt, ...]:
        """Those that wait, in the order in which they are sent."""
        return self._wrapped.prompts

    def edit(self, prompt: str, said: MessageInput) -> None:
        """Let a prompt that waits say something else. Raises NotFound."""
        self._loop.run(self._wrapped.edit(prompt, said))

    def withdraw(self, prompt: str) -> None:
        """Take a prompt back; it is never sent. Raises NotFound."""
        self._loop.run(self._wrapped.withdraw(prompt))


class OfflineCapabilities:
    """A `palaver.OfflineCapabilities` whose methods block."""

    def __init__(self, loop: LoopThread, wrapped: AsyncOffline) -> None:
        self._loop, self._wrapped = loop, wrapped

    @property
    def tools(self) -> Sequence[ToolDefinition]:
        """See `palaver.OfflineCapabilities.tools`."""
        return self._wrapped.tools

    def run_tool(self, name: str, arguments: dict[str, Any]) -> ToolResult:
        """See `palaver.OfflineCapabilities.run_tool`."""
        return self._loop.run(self._wrapped.run_tool(name, arguments))

    def cached(self, said: MessageInput, *, output: Any = None) -> Message | None:
        """See `palaver.OfflineCapabilities.cached`."""
        return self._loop.run(self._wrapped.cached(said, output=output))

    def search(self, query: str, *, limit: int = 20) -> tuple[SearchHit, ...]:
        """See `palaver.OfflineCapabilities.search`."""
        return self._loop.run(self._wrapped.search(query, limit=limit))

    def summary(self, *, tokens: int = 600) -> str:
        """See `palaver.OfflineCapabilities.summary`."""
        return self._loop.run(self._wrapped.summary(tokens=tokens))

    def topics(self) -> list[str]:
        """See `palaver.OfflineCapabilities.topics`."""
        return self._loop.run(self._wrapped.topics())

    def statistics(self) -> OfflineStatistics:
        """See `palaver.OfflineCapabilities.statistics`."""
        return self._loop.run(self._wrapped.statistics())


class ConversationManager:
    """A `palaver.ConversationManager` whose methods block."""

    def __init__(self, loop: LoopThread, wrapped: AsyncManager) -> None:
        self._loop, self._wrapped = loop, wrapped

    @property
    def tools(self) -> ToolManager:
        """The tools of every conversation."""
        return self._wrapped.tools

    @property
    def recovery(self) -> ErrorRecoveryManager:
        """What is known of models' health: breakers, budgets, what has gone wrong lately."""
        return self._wrapped.recovery

    @property
    def degradation(self) -> GracefulDegradationManager:
        """What of the service is amiss, with whom, and since when."""
        return self._wrapped.degradation

    @property
    def recovered(self) -> Sequence[Recovered]:
        """Open turns of dead programs that were decided about since this manager was made."""
        return self._wrapped.recovered

    def backup(self, target: "str | Path", *, overwrite: bool = False) -> BackupReport:
        """Copy everything to the file `target`, and check the copy. Raises InvalidInput,
        StoreError."""
        return self._loop.run(self._wrapped.backup(target, overwrite=overwrite))

    def create(
        self,
        *,
        id: str | None = None,
        title: str = "",
        tags: Sequence[str] = (),
        **preferences: Any,
    ) -> Conversation:
        """A new conversation."""
        made = self._loop.run(self._wrapped.create(id=id, title=title, tags=tags, **preferences))
        return Conversation(self._loop, made)

    def create_from(
        self,
        messages: Sequence[Message],
        *,
        title: str = "",
        tags: Sequence[str] = (),
        **preferences: Any,
    ) -> Conversation:
        """A new conversation that begins with a history; `repairs` says what was mended of it."""
        work = self._wrapped.create_from(messages, title=title, tags=tags, **preferences)
        return Conversation(self._loop, self._loop.run(work))

    def open(self, conversation: str) -> Conversation:
        """A stored conversation. Raises NotFound."""
        return Conversation(self._loop, self._loop.run(self._wrapped.open(conversation)))

    def find(self, name: str) -> Conversation:
        """By id, by the beginning or end of one, or `last`."""
        return Conversation(self._loop, self._loop.run(self._wrapped.find(name)))

    def list(self, *, limit: int = 50, cursor: str | None = None, archived: bool = False) -> Page:
        """Conversations by newest change."""
        return self._loop.run(self._wrapped.list(limit=limit, cursor=cursor, archived=archived))

    def search(
        self, query: str, *, conversation: str | None = None, limit: int = 20
    ) -> tuple[SearchHit, ...]:
        """Messages with all words of `query`."""
        return self._loop.run(self._wrapped.search(query, conversation=conversation, limit=limit))

    def attach(self, source: bytes | Path, *, name: str = "", media_type: str = "") -> Image | File:
        """Store a picture or file; the result is a block for a message."""
        return self._loop.run(self._wrapped.attach(source, name=name, media_type=media_type))

    def delete(self, conversation: str) -> None:
        """Erase a conversation."""
        self._loop.run(self._wrapped.delete(conversation))

    def read_blob(self, blob: str) -> bytes:
        """The bytes of a blob: an attachment, or a tool's full output."""
        return self._loop.run(self._wrapped.read_blob(blob))

    def turn(self, turn: str) -> TurnStatus:
        """Whether a turn is open, what it waits for, how it ended. Raises NotFound."""
        return self._loop.run(self._wrapped.turn(turn))

    def follow(self, turn: str, *, after: After = 0) -> Iterator[Numbered]:
        """The numbered events of a turn behind `after`, to its end."""
        return self._loop.iterate(self._wrapped.follow(turn, after=after))

    def outbox(self) -> tuple[WaitingPrompts, ...]:
        """What waits to be sent, in all conversations."""
        return self._loop.run(self._wrapped.outbox())

    def send_outbox(self) -> int:
        """Send what waits, as far as models can be reached; returns how many were answered."""
        return self._loop.run(self._wrapped.send_outbox())

    def fork(self, conversation: str, *, at: str | None = None) -> Conversation:
        """A new conversation that shares this one's history up to message `at` (None: all)."""
        return Conversation(self._loop, self._loop.run(self._wrapped.fork(conversation, at=at)))

    def export(self, conversation: str, format: ExportFormat = "markdown") -> bytes:
        """A conversation as a document; see `palaver.ConversationManager.export`."""
        return self._loop.run(self._wrapped.export(conversation, format))

    def import_conversations(
        self, data: bytes, *, name: str = "", format: str | None = None
    ) -> tuple[ImportReport, ...]:
        """Store every conversation that a file holds."""
        return self._loop.run(self._wrapped.import_conversations(data, name=name, format=format))


@contextmanager
def open(path: str | None = None, **options: Any) -> Iterator[ConversationManager]:
    """`palaver.open` for code without `async`; takes the same options."""
    loop = LoopThread()
    try:
        door = wiring.open(path, **options)
        manager = loop.run(door.__aenter__())
        try:
            yield ConversationManager(loop, manager)
        finally:
            loop.run(door.__aexit__(None, None, None))
    finally:
        loop.close()
