"""What a smaller window promises: the record stays, and folding it again gives the same window.

However it is undone, branched, forked or erased, the window is what the facts plainly say.
"""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings, strategies as st

from palaver.context.groups import GroupKind, groups
from palaver.domain import snapshot
from palaver.domain.compaction import Compaction, Item, Kept, Span, Tier, Written, check, erased
from palaver.domain.errors import InvalidTransition
from palaver.domain.events import (
    AttemptMade,
    Compacted,
    CompactionFailed,
    CompactionUndone,
    ConversationForked,
    Event,
    HeadMoved,
    MessageAdded,
    MessageRedacted,
    Recorded,
    SideRequestMade,
    ToolResolved,
    TurnClosed,
    TurnOpened,
)
from palaver.domain.history import History
from palaver.domain.ids import CallId, CompactionId, ConversationId, MessageId, TurnId
from palaver.domain.messages import Message, Role, Text, ToolCall, ToolResult
from palaver.domain.reducer import apply, fold
from palaver.domain.state import UNDOABLE_COMPACTIONS, ConversationState
from palaver.domain.values import TurnOutcome, Usage
from palaver.service.redaction import plan
from palaver.testing.history import sendable

START = ConversationState(ConversationId("c"))


def _compaction(id: str, path: Sequence[Message], items: tuple[Item, ...]) -> Compaction:
    covered = [i for i in items if isinstance(i, Kept)]
    spans = [s for i in items if isinstance(i, Written) for s in i.covers]
    covers = max([k.stop for k in covered] + [s.stop for s in spans])
    return Compaction(
        id=CompactionId(id),
        covers=covers,
        upto=path[covers - 1].id,
        items=items,
        strategy="test",
        tiers=(Tier.EXTRACT,),
    )


def _naive_window(path: Sequence[Message], made: Sequence[Compaction]) -> list[Message]:
    """The window by the plainest reading: the newest compaction that this path begins with."""
    for compaction in reversed(made):
        at = compaction.covers - 1
        if at < len(path) and path[at].id == compaction.upto:
            window: list[Message] = []
            for item in compaction.items:
                if isinstance(item, Written):
                    window.append(item.message)
                else:
                    window += path[item.start : item.stop]
            return [*window, *path[compaction.covers :]]
    return list(path)


class Life:
    """A conversation that is lived step by step, with its facts and a plain model of its window."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.state = START
        self.facts: list[Event] = []
        self.made: list[Compaction] = []
        self.counted: tuple[list[Message], int] | None = None
        self.number = 0

    def add(self, *facts: Event) -> None:
        for fact in facts:
            self.facts.append(fact)
            record = Recorded(len(self.facts), float(len(self.facts)), fact)
            self.state = fold(self.state, [record])

    def say(self) -> None:
        self.number += 1
        turn, id = TurnId(f"t{self.number}"), MessageId(f"m{self.number}")
        parent = None if self.state.last is None else self.state.last.id
        self.add(TurnOpened(turn), MessageAdded(Message.user(f"q{self.number}", id=id), turn))
        parent = id
        for step in range(self.data.draw(st.integers(1, 3))):
            calls = self.data.draw(st.integers(0, 2)) if step < 2 else 0
            blocks = [ToolCall(CallId(f"k{i}"), "f") for i in range(calls)]
            answer = Message(
                Role.ASSISTANT, (Text("a"), *blocks), MessageId(f"{id}.{step}"), parent
            )
            used = Usage(input=10 * self.number + step, output=1)
            self.add(MessageAdded(answer, turn), AttemptMade(turn, 1, "m", used))
            self.counted = (list(self.state.window), used.total)
            for call in self.data.draw(st.permutations(blocks)):
                self.add(ToolResolved(turn, ToolResult(call.id, "f", (Text("r"),))))
            if not calls:
                break
        self.add(TurnClosed(turn, TurnOutcome.COMPLETED))

    def compact(self) -> None:
        path = self.state.messages
        if not path:
            return
        id = f"x{len(self.facts)}"
        items = _items(self.data, path, id)
        self.made.append(_compaction(id, path, items))
        self.counted = None
        self.add(Compacted(self.made[-1]))
        self.made = self.made[-UNDOABLE_COMPACTIONS:]

    def undo_compaction(self) -> None:
        found = self.state.compaction
        if found is not None:
            self.made = [c for c in self.made if c.id != found.id]
            self.counted = None
            self.add(CompactionUndone(found.id))

    def fail(self) -> None:
        self.add(CompactionFailed("too little"), SideRequestMade("summary", "m", Usage(input=3)))

    def move(self) -> None:
        every = [*self.state.messages, *(m for t in self.state.aside for m in t.messages)]
        heads = [None, *(m.id for m in every if not m.tool_calls)]
        before = self.state.compaction
        self.add(HeadMoved(self.data.draw(st.sampled_from(heads))))
        if self.counted is not None:
            known = self.counted[0]
            is_there = list(self.state.window)[: len(known)] == known
            is_same = self.state.compaction is before and is_there
            self.counted = self.counted if is_same else None

    def redact(self) -> None:
        """As the service does it: the facts are rewritten, then the erasure is added."""
        if not self.state.messages:
            return
        id = self.data.draw(st.sampled_from([m.id for m in self.state.messages]))
        records = [Recorded(n, float(n), fact) for n, fact in enumerate(self.facts, 1)]
        for seq, fact in plan(records, id).replaced:
            self.facts[seq - 1] = fact
        self.made, self.counted = [], None
        self.add(MessageRedacted(id))

    def fork(self) -> None:
        self.add(ConversationForked(ConversationId("o"), len(self.facts)))

    def records(self) -> list[Recorded]:
        return [Recorded(n, float(n), fact) for n, fact in enumerate(self.facts, 1)]


def _items(data: st.DataObject, path: History[Message], id: str) -> tuple[Item, ...]:
    """Any compaction that may stand: groups are kept or written for, or a result has a stub."""
    found = groups(path)
    count = data.draw(st.integers(1, len(found)))
    items: list[Item] = []
    for number, group in enumerate(found[:count]):
        wish = data.draw(st.sampled_from(["keep", "write", "join", "stub"]))
        last = items[-1] if items else None
        span = Span(group.start, group.stop)
        if wish == "stub" and group.kind is GroupKind.TOOLS and group.stop - group.start == 2:
            answered = path[group.stop - 1]
            results = tuple(ToolResult(r.call_id, r.name, ()) for r in answered.tool_results)
            stub = Message(Role.TOOL, results)
            items.append(Kept(group.start, group.stop - 1))
            items.append(Written(stub, (Span(group.stop - 1, group.stop),)))
        elif wish == "join" and isinstance(last, Written) and last.message.role is Role.USER:
            items[-1] = Written(last.message, (*last.covers, span))
        elif wish == "keep" or group.kind is GroupKind.SYSTEM:
            items.append(Kept(group.start, group.stop))
        else:
            items.append(Written(Message.user(f"{id} {number}"), (span,)))
    return tuple(items)


STEPS = ["say", "say", "compact", "compact", "undo_compaction", "move", "fail", "redact", "fork"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_folding_is_having_lived_it(data: st.DataObject) -> None:
    """Through compactions, undo, branches, redaction and forks: the log folded anew gives the state
    that was lived, and so does any snapshot with the facts behind it."""
    life = Life(data)
    snapshots: list[snapshot.Snapshot] = []
    for step in data.draw(st.lists(st.sampled_from(STEPS), max_size=14)):
        getattr(life, step)()
        if step == "redact":
            snapshots.clear()
        snapshots.append(snapshot.take(life.state))
    records = life.records()
    assert fold(START, records) == life.state
    if snapshots:
        taken = data.draw(st.sampled_from(snapshots))
        earlier = [r for r in records if r.seq <= taken.seq]
        kinds = (MessageAdded, ToolResolved, HeadMoved, MessageRedacted)
        restored = snapshot.restore(taken, [r for r in earlier if isinstance(r.event, kinds)])
        assert fold(restored, records[taken.seq :]) == life.state


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_window_is_what_the_facts_say(data: st.DataObject) -> None:
    """After every step the window is that of the newest compaction that the path begins with, it is
    history that a provider takes, and a count of it is believed only while it holds."""
    life = Life(data)
    for step in data.draw(st.lists(st.sampled_from(STEPS), max_size=14)):
        getattr(life, step)()
        state = life.state
        assert list(state.window) == _naive_window(state.messages, life.made)
        if state.window and state.window[-1].role is Role.USER:
            assert not sendable(state.window)
        if state.anchor is not None:
            assert life.counted is not None
            known, tokens = life.counted
            assert (state.anchor.messages, state.anchor.tokens) == (len(known), tokens)
            assert list(state.window)[: len(known)] == known


def _talk(turns: int = 3) -> ConversationState:
    state = START
    for n in range(turns):
        state = state.with_message(Message.user(f"q{n}", id=f"q{n}"))
        state = state.with_message(Message.assistant(f"a{n}", id=f"a{n}"))
    return state


@pytest.mark.parametrize(
    "items",
    [
        pytest.param((Kept(0, 1), Kept(2, 4)), id="a-gap"),
        pytest.param((Kept(0, 2), Written(Message.user("s"), (Span(1, 4),))), id="twice"),
        pytest.param((Kept(2, 4), Kept(0, 2)), id="out-of-order"),
        pytest.param((Written(Message.user("s"), (Span(0, 0), Span(0, 4))),), id="an-empty-span"),
        pytest.param((Kept(0, 3),), id="less-than-it-says"),
    ],
)
def test_what_does_not_account_for_each_message_once_is_refused(items: tuple[Item, ...]) -> None:
    """A compaction that loses a message, doubles one or changes their order never gets in."""
    state = _talk()
    compaction = Compaction(
        id=CompactionId("x"), covers=4, upto=state.messages[3].id, items=items, strategy="test"
    )
    with pytest.raises(InvalidTransition):
        apply(state, Compacted(compaction))


def test_a_call_is_never_parted_from_its_result() -> None:
    """Keeping a call and writing its result away is refused, and so is the other way round."""
    asked = Message.assistant((ToolCall(CallId("k"), "f"),), id="a")
    answered = Message(Role.TOOL, (ToolResult(CallId("k"), "f"),), MessageId("a.results"))
    path = History([Message.user("q", id="q"), asked, answered, Message.user("r", id="r")])
    written = Message.user("s")
    for items in (
        (Kept(0, 2), Written(written, (Span(2, 3),))),
        (Kept(0, 1), Written(written, (Span(1, 2),)), Kept(2, 3)),
    ):
        with pytest.raises(InvalidTransition, match="call"):
            check(path, _compaction("x", path, items))


def test_a_compaction_speaks_of_its_branch_alone() -> None:
    """On a branch that leaves before its end it says nothing; back on its own branch it holds."""
    state = _talk()
    made = _compaction("x", state.messages, (Kept(0, 1), Written(Message.user("s"), (Span(1, 4),))))
    state = apply(state, Compacted(made))
    elsewhere = apply(state, HeadMoved(MessageId("a0")))
    assert list(elsewhere.window) == list(elsewhere.messages)
    assert elsewhere.compaction is None
    back = apply(elsewhere, HeadMoved(MessageId("a2")))
    assert [m.text for m in back.window] == ["q0", "s", "q2", "a2"]


def test_only_the_newest_is_undone_and_then_it_is_held() -> None:
    """Undo goes back one compaction at a time; none follows by itself until one is asked for."""
    state = _talk()
    first = _compaction("x", state.messages, (Written(Message.user("s"), (Span(0, 4),)),))
    second = _compaction("y", state.messages, (Written(Message.user("t"), (Span(0, 5),)),))
    state = apply(apply(state, Compacted(first)), Compacted(second))
    with pytest.raises(InvalidTransition):
        apply(state, CompactionUndone(first.id))
    undone = apply(state, CompactionUndone(second.id))
    assert undone.compaction is first
    assert undone.is_compaction_held
    assert not apply(undone, Compacted(second)).is_compaction_held


def test_an_erased_compaction_says_nothing() -> None:
    """After a redaction not a word of a summary, a fact or an instruction is left in it."""
    path = _talk().messages
    made = _compaction("x", path, (Written(Message.user("secret"), (Span(0, 4),)),))
    gone = erased(made)
    assert gone.items == (Kept(0, 4),)
    assert not gone.facts
    assert gone.summary is None
