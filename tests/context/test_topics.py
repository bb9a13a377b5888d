"""The topic map: topics cover the conversation, are named by what was said, and find each other."""

from itertools import pairwise

from hypothesis import given, settings, strategies as st

from palaver.context.topics import Topic, TopicTracker, topic_map

ORDER = [
    ("user", "Where is my order A4711-B? The lamp has not arrived."),
    ("assistant", "Order A4711-B with the lamp left the warehouse on Monday."),
]
GARDEN = [
    ("user", "When should I plant tomatoes in the garden?"),
    ("assistant", "Plant tomatoes after the last frost, when the garden soil is warm."),
    ("user", "And how much water do the tomatoes need?"),
]
AGAIN = [
    ("user", "The lamp of order A4711-B came, but its shade is broken."),
    ("assistant", "I am sorry. A new shade for the lamp of A4711-B goes out today."),
]


def test_a_map_a_person_can_read() -> None:
    """Each topic has its place, a label in words that were said, and its tokens."""
    first, second = topic_map([*ORDER, *GARDEN], boundaries=[2], tokens=[10, 20, 1, 2, 3])
    assert (first.first, first.last, first.messages, first.tokens) == (0, 1, 2, 30)
    assert (second.first, second.last, second.messages, second.tokens) == (2, 4, 3, 6)
    assert "lamp" in first.label
    assert "tomatoes" in second.label
    assert second.terms[0] == "tomato"


def test_a_matter_taken_up_again_is_one_thread() -> None:
    """A topic that shares identifiers and rare words with an earlier one resumes it."""
    topics = topic_map([*ORDER, *GARDEN, *AGAIN], boundaries=[2, 5])
    assert [topic.thread for topic in topics] == [0, 1, 0]
    assert [topic.resumes for topic in topics] == [None, None, 0]


def test_labels_in_other_scripts() -> None:
    """Labels are words of the conversation, also where words are not separated."""
    chinese = ["我想订去北京的机票。", "北京的机票八百元。", "红烧肉怎么做？", "红烧肉要用五花肉。"]
    russian = [
        "Когда сажать помидоры?",
        "Помидоры сажают в мае.",
        "Где мой паспорт?",
        "Паспорт тут.",
    ]
    first, second = topic_map(chinese, boundaries=[2])
    assert "北京" in first.label
    assert "红烧肉" in second.label
    first, second = topic_map(russian, boundaries=[2])
    assert "помидоры" in first.label.lower()
    assert "паспорт" in second.label.lower()


def test_nothing_has_no_topics() -> None:
    """No utterances, no topics; silence is a topic without a label."""
    assert topic_map([]) == ()
    assert TopicTracker().topics() == ()
    assert topic_map(["", ""]) == (Topic(first=0, last=1, label="", open=False),)


WORDS = [
    "tomato",
    "soil",
    "tax",
    "office",
    "Thanks",
    "hello",
    "and",
    "A-12",
    "it",
    "?",
    "机票",
    "北京",
]
texts = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(st.lists(texts, max_size=120))
def test_topics_cover_the_conversation(conversation: list[str]) -> None:
    """At any time topics follow each other without gaps; closed ones keep their places."""
    tracker = TopicTracker()
    closed: list[tuple[int, int]] = []
    for count, text in enumerate(conversation, 1):
        tracker.add(text, tokens=1)
        if count % 9 and count != len(conversation):
            continue
        topics = tracker.topics()
        assert [topic.first for topic in topics] == [0, *tracker.boundaries()]
        assert all(a.last + 1 == b.first for a, b in pairwise(topics))
        assert topics[-1].last == count - 1
        assert sum(topic.tokens for topic in topics) == count
        assert all(topic.tokens == topic.messages for topic in topics)
        now = [(topic.first, topic.last) for topic in topics if not topic.open]
        assert now[: len(closed)] == closed
        closed = now


def test_keeping_the_map_is_the_same_as_making_it() -> None:
    """A tracker that has seen everything names topics as the whole conversation does."""
    conversation = [*ORDER, *GARDEN, *AGAIN] * 12
    tracker = TopicTracker()
    for utterance in conversation:
        tracker.add(utterance)
    kept = tracker.topics()
    made = topic_map(conversation, boundaries=tracker.boundaries())
    assert [(t.first, t.last, t.thread) for t in kept] == [
        (t.first, t.last, t.thread) for t in made
    ]
