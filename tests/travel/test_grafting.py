"""A tree of anything becomes a tree in which every path is valid and every message there once."""

from hypothesis import given, settings, strategies as st

from palaver.domain.messages import Message, Role, Text
from palaver.testing import valid_history
from palaver.travel.base import Imported, RepairKind
from palaver.travel.draft import Draft
from palaver.travel.repair import repair
from tests.travel.collected import path_of
from tests.travel.test_repair import MESSAGES


def paths(made: Imported) -> list[list[Message]]:
    known = {message.id: message for message in made.messages}
    parents = {message.parent for message in made.messages}
    found = []
    for end in [message for message in made.messages if message.id not in parents]:
        path = [end]
        while (above := path[-1].parent) is not None:
            path.append(known[above])
        found.append(path[::-1])
    return found


TREES = st.lists(st.tuples(MESSAGES, st.integers(0, 8)), min_size=1, max_size=12)


def grown(tree: list[tuple[Message, int]]) -> Draft:
    """Each message behind the one that stands so many places before it."""
    draft = Draft("test")
    for number, (message, back) in enumerate(tree):
        draft.last = number - 1 - back if number - 1 - back >= 0 else None
        draft.say(message.role, message.content, number, of=message)
    return draft


@settings(deadline=None, max_examples=100)
@given(TREES)
def test_every_path_is_valid_whatever_the_tree(tree: list[tuple[Message, int]]) -> None:
    """On each branch there is nothing left to repair; the same tree gives the same ids."""
    made = grown(tree).finish()
    assert made == grown(tree).finish()
    if made is None:
        return
    ids = [message.id for message in made.messages]
    assert len(set(ids)) == len(ids)
    for path in [path_of(made), *paths(made)]:
        assert valid_history(path) == []
        assert repair(path) == (tuple(path), ())


@settings(deadline=None, max_examples=60)
@given(TREES)
def test_no_branch_loses_what_was_said(tree: list[tuple[Message, int]]) -> None:
    """What stands in the tree stands in the repaired one."""
    made = grown(tree).finish()
    said = {m.text for m in made.messages} if made is not None else set()
    for word in ("hello", "größer 👩‍🚀"):
        if any(word in message.text for message, _ in tree):
            assert any(word in text for text in said)


def test_many_branches_of_a_long_conversation_are_all_kept() -> None:
    """Two hundred branches of eight thousand messages: each message is there once."""
    draft = Draft("test")
    for number in range(4000):
        draft.say(Role.USER, (Text(f"question {number}"),), number)
        draft.say(Role.ASSISTANT, (Text(f"answer {number}"),), number)
        if number % 20 == 0:
            place = draft.last
            draft.say(Role.USER, (Text(f"branch {number}"),), number)
            draft.last = place
    made = draft.finish()
    assert made is not None
    assert len(made.messages) == 8200
    assert RepairKind.UNKNOWN_RECORD not in {entry.kind for entry in made.repairs}
