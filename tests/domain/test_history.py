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


def test_versions_share_what_they_have_in_common() -> None:
    """Appending to a long history does not copy it."""
    long = History(range(100 * CHUNK))
    assert long.append(1)._chunks is long._chunks
