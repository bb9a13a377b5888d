from collections.abc import Iterator

from hypothesis import given, strategies as st

from palaver.domain.history import CHUNK, History


@given(st.lists(st.integers(), max_size=3 * CHUNK), st.integers(0, 3 * CHUNK))
def test_a_history_is_a_sequence(items: list[int], start: int) -> None:
    """Built at once or item by item, it holds what a list holds."""
    grown: History[int] = History()
    for item in items:
        grown = grown.append(item)
    assert list(grown) == items == list(History(items))
    assert grown == History(items)
    assert hash(grown) == hash(History(items))
    assert list(grown.since(start)) == items[start:]
    assert list(reversed(grown)) == items[::-1]
    assert [grown[i] for i in range(len(items))] == items


@given(st.lists(st.integers(), min_size=1, max_size=2 * CHUNK + 1), st.integers())
def test_replacing_the_last_leaves_the_old_version_alone(items: list[int], new: int) -> None:
    """A version once made never changes."""
    before = History(items)
    after = before.replace_last(new)
    assert list(before) == items
    assert list(after) == [*items[:-1], new]


@given(st.integers(0, 3 * CHUNK), st.integers(0, 3 * CHUNK), st.integers(0, 3 * CHUNK))
def test_a_beginning_is_one_of_the_very_same_objects(length: int, first: int, changed: int) -> None:
    """However a history was made: equal items are not enough, and all of them count."""
    items = [(i,) for i in range(length)]
    whole, beginning = History(items), History(items[:first])
    assert whole.starts_with(whole.first(first))
    assert whole.starts_with(beginning)
    assert beginning.starts_with(whole) is (first >= length)
    grown = beginning
    for item in items[first:]:
        grown = grown.append(item)
    assert grown.starts_with(whole)
    others = [(i,) if i == changed else item for i, item in enumerate(items)]
    assert whole.starts_with(History(others)) is (changed >= length)
    assert History.of(whole) is whole
    assert History.of(items) == whole


def test_shared_chunks_are_not_walked() -> None:
    """That two versions have a chunk in common is seen without a look into it."""

    class Closed(tuple[int, ...]):
        __slots__ = ()

        def __iter__(self) -> Iterator[int]:
            raise AssertionError("it was looked into")

    before = History._of((Closed(range(CHUNK)), Closed(range(CHUNK))), ())
    assert before.append(1).append(2).starts_with(before.append(1)) is True


def test_versions_share_what_they_have_in_common() -> None:
    """Appending to a long history does not copy it."""
    long = History(range(100 * CHUNK))
    assert long.append(1)._chunks is long._chunks
