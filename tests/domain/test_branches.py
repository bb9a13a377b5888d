from hypothesis import given, strategies as st

from palaver.domain.branches import Path, Tail, answers_to, leaves, move
from palaver.domain.history import History
from palaver.domain.ids import MessageId
from palaver.domain.messages import Message

Steps = list[tuple[str, int]]
steps: st.SearchStrategy[Steps] = st.lists(
    st.tuples(st.sampled_from(["say", "say", "move"]), st.integers(0, 50)), max_size=30
)


class Model:
    """A tree as a plain dictionary from id to parent, and a head."""

    def __init__(self) -> None:
        self.parents: dict[str, str | None] = {}
        self.head: str | None = None

    def say(self, id: str) -> None:
        self.parents[id], self.head = self.head, id

    def line(self) -> list[str]:
        found, at = [], self.head
        while at is not None:
            found.append(at)
            at = self.parents[at]
        return found[::-1]


def acted(script: Steps) -> tuple[Model, Path, tuple[Tail, ...]]:
    model = Model()
    path: Path = History()
    aside: tuple[Tail, ...] = ()
    for number, (step, choice) in enumerate(script):
        if step == "say":
            parent = path[-1].id if path else None
            model.say(f"m{number:02}")
            said = Message.user("x", id=f"m{number:02}")
            path = path.append(Message(said.role, said.content, said.id, parent))
        else:
            heads = [None, *model.parents]
            model.head = heads[choice % len(heads)]
            path, aside = move(path, aside, None if model.head is None else MessageId(model.head))
    return model, path, aside


@given(steps)
def test_the_path_is_the_line_to_the_head(script: Steps) -> None:
    """However the head was moved, the path is what the parents say, and every message is somewhere
    exactly once."""
    model, path, aside = acted(script)
    assert [m.id for m in path] == model.line()
    everywhere = [m.id for m in path] + [m.id for tail in aside for m in tail.messages]
    assert sorted(everywhere) == sorted(model.parents)


@given(steps)
def test_branches_are_where_messages_have_one_parent(script: Steps) -> None:
    """The answers to a message are its children; a leaf is a message without any."""
    model, path, aside = acted(script)
    for parent in (None, *model.parents):
        children = sorted(i for i, p in model.parents.items() if p == parent)
        key = None if parent is None else MessageId(parent)
        assert [m.id for m in answers_to(path, aside, key)] == children
    childless = {i for i in model.parents if i not in model.parents.values()}
    assert childless <= {m.id for m in leaves(path, aside)}
