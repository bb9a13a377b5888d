"""What can be read of a damaged database, sorted into what it was: rows are told by their shape.

Nothing here depends on the file's own directory of tables, which may be what is damaged.
"""

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from palaver import codec
from palaver.domain.errors import PalaverError
from palaver.domain.events import Event, Recorded, UnknownEvent
from palaver.domain.ids import ConversationId, is_id
from palaver.domain.reducer import fold
from palaver.domain.state import ConversationState
from palaver.store.pages import Row, Value
from palaver.store.salvage_access import SalvagedAccess
from palaver.store.sqlite_rows import NUMBER_BITS, NUMBERS


class FactRow(msgspec.Struct, frozen=True, gc=False):
    """A fact as it lies in the file."""

    kind: int
    version: int
    at_ms: int
    body: bytes


class TurnRow(msgspec.Struct, frozen=True):
    """A turn's row."""

    key: int
    tenant: str
    actor: str
    id: str
    message: int
    owner: str
    epoch: int
    started_ms: int
    idempotency_key: str | None


class Found(msgspec.Struct):
    """A conversation as far as it was found. `id`: None where its row is lost."""

    key: int
    tenant: str | None = None
    id: str | None = None
    seq: int = 0
    """How many facts it had; 0 where that is not known."""
    created_ms: int = 0
    origin: int | None = None
    origin_seq: int = 0
    facts: dict[int, FactRow] = {}
    turns: list[TurnRow] = []


class Salvage(msgspec.Struct):
    """All of it, by the keys of the file."""

    found: dict[int, Found]
    kinds: dict[int, str]
    runs: dict[int, list[tuple[int, int, int, bytes]]]
    """By the key of the turn: first and last number, epoch, body."""
    access: SalvagedAccess

    def history(
        self, key: int, *, through: frozenset[int] = frozenset()
    ) -> tuple[list[Recorded], ConversationState]:
        """The longest beginning of a conversation without gap that makes sense, those facts that it
        shares with what it was forked from included."""
        found = self.found[key]
        shared: list[Recorded] = []
        state = ConversationState(ConversationId(found.id or "recovered"))
        through |= {key}  # damaged rows may lead in a circle
        if found.origin is not None and found.origin in self.found.keys() - through:
            before, _ = self.history(found.origin, through=through)
            shared = before[: found.origin_seq]
            state = fold(state, shared)
            if len(shared) < found.origin_seq:
                return shared, state
        records = list(shared)
        while (row := found.facts.get(state.seq + 1)) is not None:
            event = self.event(row)
            if event is None:
                break
            recorded = Recorded(state.seq + 1, row.at_ms / 1000, event)
            try:
                state = fold(state, [recorded])
            except (PalaverError, LookupError, ValueError):
                break
            records.append(recorded)
        return records, state

    def event(self, row: FactRow) -> Event | UnknownEvent | None:
        """The fact of a row; None where it cannot be read."""
        try:
            kind = self.kinds.get(row.kind) or msgspec.json.decode(row.body, type=_Tagged).type
            return codec.decode_event(row.body, kind, row.version)
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError, ValueError):
            return None


class _Tagged(msgspec.Struct):
    type: str


def sorted_out(rows: Iterable[Row]) -> Salvage:
    """The rows that mean something."""
    found: dict[int, Found] = {}
    kinds: dict[int, str] = {}
    runs: dict[int, list[tuple[int, int, int, bytes]]] = defaultdict(list)
    turns: list[tuple[int, TurnRow]] = []
    access = SalvagedAccess()

    def of(key: int) -> Found:
        return found.setdefault(key, Found(key, facts={}, turns=[]))

    for id, values in rows:
        match values:
            case (None, int(kind), int(version), int(at), bytes(body)) if id > NUMBERS:
                of(id >> NUMBER_BITS).facts[id & NUMBERS] = FactRow(kind, version, at, body)
            case (None, int(last), int(epoch), bytes(body)) if id > NUMBERS:
                runs[id >> NUMBER_BITS].append((id & NUMBERS, last, epoch, body))
            case (None, str(tenant), str(name), int(seq), int(created), int(), int(), int(), *rest):
                if is_id(name) and 0 < id <= NUMBERS:
                    _take_conversation(of(id), tenant, name, seq, created, rest)
            case (None, str(), str(), str(), int(conversation), int(), *_) if len(values) == 12:
                turn = _turn(id, values)
                if turn is not None:
                    turns.append((conversation, turn))
            case (None, str(name)) if name in codec.VERSIONS and 0 < id < 1000:
                kinds[id] = name
            case _:  # the search index, marks, snapshots: all made anew
                access.take(id, values)
    for conversation, turn in turns:
        if conversation in found:
            found[conversation].turns.append(turn)
    return Salvage(found, kinds, runs, access)


def _take_conversation(
    found: Found, tenant: str, name: str, seq: int, created: int, rest: list[Value]
) -> None:
    found.tenant, found.id, found.seq, found.created_ms = tenant, name, seq, created
    # Behind the preview and the metadata; rows of the first version have no origin, and those of
    # the third no outbox, which is counted anew.
    match rest:
        case [_, _, int(origin), int(origin_seq), *_]:
            found.origin, found.origin_seq = origin, origin_seq
        case _:
            pass


def _turn(key: int, values: tuple[Value, ...]) -> TurnRow | None:
    match values:
        case (
            None,
            str(tenant),
            str(actor),
            str(id),
            int(),
            int(message),
            str(owner),
            int(),
            int(epoch),
            int(started),
            int(),
            str() | None as idempotency_key,
        ) if is_id(id):
            return TurnRow(key, tenant, actor, id, message, owner, epoch, started, idempotency_key)
        case _:
            return None
