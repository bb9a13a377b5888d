"""The protocol of a conversation store, and of a blob store.

Rules that every adapter keeps (`palaver.testing.store_contract` checks them):

* Each conversation has one log, numbered 1, 2, 3 … without a gap. `append` takes the number after
  which the caller believes to write; if the log has moved on, `StaleWriter` is raised and nothing
  is written. Of two concurrent writers exactly one wins.
* When a call returns, what it wrote is durable. When it raises, nothing of it was written; only a
  call that is cancelled while it waits may have been written or not.
* Every method takes a `Scope`; what belongs to another tenant does not exist (`NotFound`).
* The store gives numbers and times; callers don't.
"""

from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import msgspec

from palaver.domain.events import Event, Recorded
from palaver.domain.ids import BlobId, ConversationId, MessageId, OwnerId, TurnId
from palaver.domain.messages import Message
from palaver.domain.snapshot import Snapshot
from palaver.domain.values import ClientTool, OutputSchema, Scope, SessionMetadata

T = TypeVar("T")


class RunRow(msgspec.Struct, frozen=True):
    """A coalesced piece of a turn's run log: events `first` to `last`, encoded as a JSON array.

    `epoch` rises whenever another process takes the turn over; numbers go on counting.
    """

    first: int
    last: int
    body: bytes
    epoch: int = 0


class Appended(msgspec.Struct, frozen=True):
    """What `append` wrote: numbers `first` to `last` at time `at` (seconds since 1970, UTC)."""

    first: int
    last: int
    at: float


class Accepted(msgspec.Struct, frozen=True):
    """The outcome of `accept`. `replayed`: the key was known, `turn` is the turn of that time and
    nothing was written."""

    turn: TurnId
    message: MessageId
    appended: Appended | None
    replayed: bool = False


class ConversationSummary(msgspec.Struct, frozen=True):
    """One line of a listing."""

    id: ConversationId
    metadata: SessionMetadata
    messages: int
    """MessageAdded facts: what people and models said, tool results not counted."""
    created_at: float
    updated_at: float
    preview: str = ""
    """The beginning of the newest user message, at most 200 characters on one line."""
    is_open: bool = False
    """Whether a turn is open: it runs, is held, or its process died and nobody has decided yet."""


class Page(msgspec.Struct, frozen=True):
    """Some conversations, the newest change first. `cursor` continues; None: nothing is left."""

    items: tuple[ConversationSummary, ...]
    cursor: str | None = None


class SearchHit(msgspec.Struct, frozen=True):
    """A message that matches. `snippet` is cut around the match; `spans` are (start, end) in it."""

    conversation: ConversationId
    message: MessageId
    role: str
    seq: int
    at: float
    snippet: str
    spans: tuple[tuple[int, int], ...] = ()
    title: str = ""


class TurnRecord(msgspec.Struct, frozen=True):
    """A row of the turn directory. `open`: accepted and not closed."""

    id: TurnId
    conversation: ConversationId
    owner: OwnerId
    open: bool
    epoch: int
    started_at: float
    scope: Scope


class StoreStatistics(msgspec.Struct, frozen=True):
    """Sizes in bytes; `log` excludes `search_index`, run logs and blobs."""

    conversations: int
    messages: int
    log_bytes: int
    search_bytes: int
    file_bytes: int


class ConversationStore(Protocol):
    """The log of every conversation, and what is derived from it within the same transaction."""

    @property
    def owner(self) -> OwnerId:
        """The name of this process in the turn directory."""
        ...

    async def create(
        self, scope: Scope, conversation: ConversationId, events: Sequence[Event]
    ) -> Appended:
        """Begin a log with `events`, of which the first is ConversationCreated.

        Raises Conflict if the conversation exists, InvalidInput for an id that `is_id` refuses and
        for text without a UTF-8 form.
        """
        ...

    async def accept(
        self,
        scope: Scope,
        conversation: ConversationId,
        message: Message,
        *,
        turn: TurnId,
        expected: int,
        idempotency_key: str | None = None,
        output: OutputSchema | None = None,
        tools: tuple[ClientTool, ...] = (),
        own_tools: bool = True,
        sent: MessageId | None = None,
    ) -> Accepted:
        """Write TurnOpened (with `output` and the tools), MessageAdded and the turn's row, owned by
        this process, at once. `sent`: the message waited in the outbox under this id; PromptSent is
        written before them.

        A known `idempotency_key` of this conversation with the same role and content replays;
        with other content it raises IdempotencyMismatch. The key is looked up before `expected` is
        compared, so a repeated message is answered also while its turn runs. Raises StaleWriter,
        NotFound, Conflict when the turn's id was used before. Whether another turn is open is the
        caller's business: the reducer refuses such a fact.
        """
        ...

    async def append(
        self,
        scope: Scope,
        conversation: ConversationId,
        events: Sequence[Event],
        *,
        expected: int,
        run: tuple[TurnId, Sequence[RunRow]] | None = None,
        snapshot: Snapshot | None = None,
        opens: TurnId | None = None,
    ) -> Appended:
        """Write facts behind number `expected`, and with them rows of a run log and a snapshot.

        `opens` makes the row of a turn that answers an older message again, owned by this process
        (a TurnOpened alone makes none, so copying another log into this one opens nothing).
        TurnClosed closes the turn's row. Raises StaleWriter (also for rows with an old epoch),
        NotFound, and Conflict for a turn that has a row.
        """
        ...

    async def read(
        self,
        scope: Scope,
        conversation: ConversationId,
        *,
        after: int = 0,
        until: int | None = None,
        kinds: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> list[Recorded]:
        """Facts with `after` < number ≤ `until`, in order, of the given types. Raises NotFound."""
        ...

    async def snapshot(
        self, scope: Scope, conversation: ConversationId, *, until: int | None = None
    ) -> Snapshot | None:
        """The newest kept snapshot of the current SNAPSHOT_VERSION, at a number ≤ `until` at most.

        One of a fork may name the conversation that it comes from. Raises NotFound.
        """
        ...

    async def list_conversations(
        self,
        scope: Scope,
        *,
        limit: int = 50,
        cursor: str | None = None,
        archived: bool = False,
    ) -> Page:
        """Conversations by newest change, the archived ones only if `archived`, else the others.

        Raises InvalidInput for a cursor it never gave and for a limit below 1.
        """
        ...

    async def outboxes(self, scope: Scope) -> tuple[ConversationId, ...]:
        """Conversations in which prompts wait to be sent, the longest unchanged first. Costs what
        their number costs, not the number of conversations."""
        ...

    async def tenants(self) -> tuple[str, ...]:
        """Tenants with open turns, or with prompts that wait to be sent, by name: for whom a
        service has something to do when it starts. Costs what the number of those costs."""
        ...

    async def search(
        self,
        scope: Scope,
        query: str,
        *,
        conversation: ConversationId | None = None,
        limit: int = 20,
    ) -> tuple[SearchHit, ...]:
        """Messages with all words of `query` (the last may be a beginning), the best first.

        Any text is a valid query: quotes, operators and punctuation are looked for, not obeyed.
        """
        ...

    async def fork(
        self,
        scope: Scope,
        source: ConversationId,
        conversation: ConversationId,
        events: Sequence[Event],
        *,
        at: int,
    ) -> Appended:
        """Begin a log that shares the facts 1 to `at` of `source` and goes on with `events`.

        Nothing is copied: reading, snapshots, search within the conversation and listings of the
        fork see the shared facts as its own. Costs the same for any length. Raises NotFound,
        InvalidInput where `source` ends before `at`, Conflict if `conversation` exists.
        """
        ...

    async def sharing(
        self, scope: Scope, conversation: ConversationId, number: int
    ) -> tuple[ConversationId, ...]:
        """Every other conversation that sees fact `number` of this one as its own: forks of it, and
        what it was forked from. Raises NotFound, InvalidInput for a number that is not there."""
        ...

    async def rewrite(
        self,
        scope: Scope,
        conversation: ConversationId,
        replaced: Sequence[tuple[int, Event]],
        events: Sequence[Event],
        *,
        expected: int,
        runs: Sequence[TurnId] = (),
    ) -> Appended:
        """Put other facts of the same types at these numbers, and append `events`: redaction.

        The old bytes are gone from the file, the search index, every snapshot of the conversation
        and of its forks, and the run logs of `runs`. Forks that share the facts see the new ones.
        Raises StaleWriter, NotFound, InvalidInput for a number or a type that does not fit.
        """
        ...

    async def blob_references(self, scope: Scope) -> frozenset[BlobId]:
        """Every blob that a fact of this tenant names. Costs a walk over all of them."""
        ...

    async def delete(self, scope: Scope, conversation: ConversationId) -> None:
        """Erase log, index, snapshots, turns and run logs. Raises NotFound.

        Forks live on: facts that they share are given to them first.
        """
        ...

    async def turn(self, scope: Scope, turn: TurnId) -> TurnRecord:
        """The row of a turn. Raises NotFound."""
        ...

    async def take_turn(self, scope: Scope, turn: TurnId) -> TurnRecord:
        """An open turn becomes this process's, with a raised epoch: rows of its owner until now are
        refused from here on. One that has ended stays as it is. Raises NotFound."""
        ...

    async def adopt_orphans(self, scope: Scope | None = None) -> tuple[TurnRecord, ...]:
        """Open turns whose owner no longer lives become this process's, with a raised epoch.

        With a scope only those of its tenant: the others wait for somebody who can end them. Each
        is given to exactly one caller, however many processes ask.
        """
        ...

    async def append_run(self, scope: Scope, turn: TurnId, rows: Sequence[RunRow]) -> None:
        """Write rows of a run log outside of an append (deltas). Rows with an old epoch are refused
        with StaleWriter, and so are rows that do not begin behind what is there."""
        ...

    async def read_run(self, scope: Scope, turn: TurnId, *, after: int = 0) -> list[RunRow]:
        """Rows that hold events with a number above `after`, in order; empty where pruned."""
        ...

    async def statistics(self) -> StoreStatistics:
        """Counts and sizes, for `doctor` and the bench."""
        ...

    async def close(self) -> None:
        """Finish what is under way and let go of files. Later calls raise StoreError."""
        ...


@runtime_checkable
class BlockingStore(Protocol):
    """A store that can also be asked without an event loop; only of such a one are the states of
    conversations that somebody holds let go of."""

    def blocking(self, asked: Coroutine[object, object, T]) -> T:
        """What `asked`, which awaits nothing but this store, returns. The thread waits for it."""
        ...


@runtime_checkable
class AnswerStore(Protocol):
    """A store that remembers which answers belong to which requests. It keeps where they stand in
    the log, so what is deleted or redacted is not found; the same goes for every key that was made
    of something redacted. Losing what it remembers harms nobody: a power cut may take the last."""

    async def note_answer(
        self, scope: Scope, conversation: ConversationId, number: int, key: bytes, *, keep: int
    ) -> None:
        """The fact `number`, which the conversation wrote itself, adds the answer to the request
        with this key, in place of an older one. Of about `keep` answers of a tenant the newest are
        remembered. Raises NotFound."""
        ...

    async def find_answer(self, scope: Scope, key: bytes, *, max_age_s: float) -> Message | None:
        """The newest answer to the request, if it was noted within these seconds."""
        ...


@runtime_checkable
class BackedUpStore(Protocol):
    """A store that can be copied while it is in use."""

    async def backup(
        self, target: Path, *, overwrite: bool = False, blobs: Path | None = None
    ) -> "BackupReport":
        """A checked copy of one moment at `target`, with the attachments of `blobs` beside it.

        Raises InvalidInput where something is there and is not to be replaced, StoreError."""
        ...


class BackupReport(msgspec.Struct, frozen=True):
    """What was copied."""

    file: Path
    bytes: int
    conversations: int
    facts: int
    attachments: int
    """Files that were copied now; those that an older backup there holds are not copied again."""
    duration_s: float


class BlobStore(Protocol):
    """Bytes by their SHA-256, within a tenant. The same bytes are stored once."""

    async def put(self, scope: Scope, data: AsyncIterator[bytes] | bytes) -> BlobId:
        """Store all of `data`, durably. Raises InvalidInput above the size limit."""
        ...

    def get(self, scope: Scope, blob: BlobId) -> AsyncIterator[bytes]:
        """The bytes in pieces. Raises NotFound at the first step."""
        ...

    async def size(self, scope: Scope, blob: BlobId) -> int:
        """Bytes. Raises NotFound."""
        ...

    async def delete(self, scope: Scope, blob: BlobId) -> None:
        """Delete a blob, if it is there."""
        ...

    async def collect(self, scope: Scope, *, keep: frozenset[BlobId], older_than_s: float) -> int:
        """Delete blobs that are not in `keep` and older than that; returns how many went."""
        ...
