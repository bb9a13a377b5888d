"""Topic boundaries: where they are put, that they stay, and that they cost the same throughout."""

import pytest
from hypothesis import given, settings, strategies as st

from palaver.context.segment import LAG, Segmenter, segment
from palaver.context.segment_features import Utterance

GARDEN = [
    ("user", "When should I plant tomatoes in the garden?"),
    ("assistant", "Plant tomatoes after the last frost, when the garden soil is warm."),
    ("user", "And how much water do the tomatoes need?"),
    ("assistant", "Give tomatoes deep water twice a week, and keep the soil moist."),
]
TAXES = [
    ("user", "Can you explain which expenses I can deduct from my income tax?"),
    (
        "assistant",
        "Deductible expenses lower the income that tax is paid on: travel, an office.",
    ),
    ("user", "Does the office at home count as a deductible expense?"),
    ("assistant", "An office at home is deductible if the room is used for work only."),
]
CHINESE = [
    ("user", "你好，我想订一张去北京的机票。"),
    ("assistant", "去北京的机票有上午和下午两班，您要哪一班？"),
    ("user", "上午那班机票多少钱？"),
    ("assistant", "上午去北京的机票八百元。"),
    ("user", "另外，请告诉我红烧肉怎么做。"),
    ("assistant", "红烧肉要先把五花肉焯水，再用糖和酱油炖。"),
    ("user", "五花肉要炖多久？"),
    ("assistant", "五花肉用小火炖一个小时，酱油最后再加。"),
]


def test_a_new_matter_opens_a_topic() -> None:
    """The first utterance of another matter is listed; the first of all is not."""
    assert segment(GARDEN + TAXES) == [4]
    assert segment(GARDEN) == []


def test_speakers_may_be_unknown() -> None:
    """Plain texts are enough."""
    assert segment([text for _, text in GARDEN + TAXES]) == [4]


def test_chinese_has_topics() -> None:
    """A script without spaces is segmented by the same words of two characters."""
    assert segment(CHINESE) == [4]


@pytest.mark.parametrize("conversation", [[], [""], ["hi"], ["", "", ""], [("a", "?")] * 3])
def test_little_is_enough(conversation: list[str]) -> None:
    """Nothing, silence and repetition have no boundaries."""
    assert segment(conversation) == []


WORDS = ["tomato", "soil", "tax", "office", "thanks", "hello", "and", "it", "?", "机票", "北京"]
utterances = st.lists(
    st.builds(
        Utterance,
        st.sampled_from(["user", "assistant", ""]),
        st.lists(
            st.sampled_from(
                [
                    "tomato",
                    "soil",
                    "tax",
                    "office",
                    "thanks",
                    "hello",
                    "and",
                    "it",
                    "?",
                    "机票",
                    "北京",
                ]
            )
        ).map(" ".join),
    ),
    max_size=90,
)


@settings(max_examples=60, deadline=None)
@given(utterances)
def test_closed_boundaries_stay(conversation: list[Utterance]) -> None:
    """What is closed never changes, is part of every later answer, and closes within the lag."""
    segmenter = Segmenter()
    closed: list[int] = []
    for count, utterance in enumerate(conversation, 1):
        segmenter.add(utterance)
        now, guess = segmenter.closed, segmenter.boundaries()
        assert now[: len(closed)] == closed
        assert guess[: len(now)] == now
        assert guess == sorted(set(guess))
        assert all(0 < at < count for at in guess)
        assert all(at > count - LAG - 4 for at in guess[len(now) :])
        closed = now


def matter(number: int) -> list[str]:
    """Six utterances on a matter with words of its own."""
    nouns = [f"{noun}{number}" for noun in ("boiler", "valve", "gasket", "flange", "burner")]
    return [
        f"Can you help me with the {nouns[0]} and its {nouns[1]}?",
        f"The {nouns[1]} of a {nouns[0]} sits behind the {nouns[2]}.",
        f"How do I take out the {nouns[2]} of the {nouns[0]}?",
        f"Loosen the {nouns[3]}, then the {nouns[2]} comes off the {nouns[1]}.",
        f"Is the {nouns[4]} below the {nouns[3]}?",
        f"Yes, the {nouns[4]} of the {nouns[0]} is held by the {nouns[3]}.",
    ]


def test_looking_changes_nothing() -> None:
    """Asking for the boundaries in between leaves the outcome as it would have been."""
    asked, quiet = Segmenter(), Segmenter()
    for utterance in [*matter(1), *matter(2), *matter(3)]:
        asked.add(utterance)
        asked.boundaries()
        quiet.add(utterance)
    assert asked.boundaries() == quiet.boundaries() == [6, 12]


def test_topics_close_as_the_conversation_goes_on() -> None:
    """One utterance at a time finds what the whole does, and all but the newest is closed."""
    conversation = [text for number in range(30) for text in matter(number)]
    segmenter = Segmenter()
    for utterance in conversation:
        segmenter.add(utterance)
    places = set(range(6, len(conversation), 6))
    assert places >= set(segment(conversation))
    assert places >= set(segmenter.boundaries())
    assert len(segmenter.closed) >= 5
