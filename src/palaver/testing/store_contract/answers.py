"""Which answers belong to which requests: what an `AnswerStore` keeps, and what it forgets."""

from palaver.domain.errors import NotFound
from palaver.domain.events import MessageAdded, MessageRedacted
from palaver.domain.ids import ConversationId, MessageId
from palaver.domain.messages import Message
from palaver.domain.redaction import redacted
from palaver.store.base import AnswerStore, ConversationStore
from palaver.testing.store_contract.base import (
    CHAT,
    ME,
    STRANGER,
    Contract,
    HandClock,
    begin,
    raises,
    said,
)
from palaver.testing.store_contract.forks import FORK, fork

KEY, OTHER = b"k" * 32, b"o" * 32
DAY = 86_400.0


def answer(text: str, *, id: str) -> MessageAdded:
    """A model's message as a fact outside of any turn."""
    return MessageAdded(Message.assistant(text, id=id))


async def found(store: ConversationStore, key: bytes = KEY, *, age_s: float = DAY) -> str:
    """The text of the answer to a request; empty where there is none."""
    assert isinstance(store, AnswerStore)
    message = await store.find_answer(ME, key, max_age_s=age_s)
    return "" if message is None else message.text


async def note(
    store: ConversationStore, number: int, key: bytes = KEY, *, keep: int = 100, name: str = CHAT
) -> None:
    """Fact `number` of a conversation answers the request."""
    assert isinstance(store, AnswerStore)
    await store.note_answer(ME, ConversationId(name), number, key, keep=keep)


class AnswersContract(Contract):
    """Answers to requests, by where they stand."""

    async def test_an_answer_is_found_by_its_request(self) -> None:
        """By the tenant that it was given to, and by its key alone; the newest counts."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store, CHAT, said("q"), answer("one", id="a1"), answer("two", id="a2"))
            await note(store, 3)
            assert await found(store) == "one"
            assert await found(store, OTHER) == ""
            await note(store, 4)
            assert await found(store) == "two"
            assert isinstance(store, AnswerStore)
            assert await store.find_answer(STRANGER, KEY, max_age_s=DAY) is None
            with raises(NotFound):
                await store.note_answer(STRANGER, CHAT, 3, KEY, keep=9)

    async def test_answers_grow_old_and_few_are_kept(self) -> None:
        """By age exactly, by number about."""
        clock = HandClock()
        async with self.open_store(clock=clock) as store:
            await begin(store, CHAT, said("q"), answer("one", id="a1"))
            await note(store, 3)
            clock.time += 100.0
            assert await found(store, age_s=100.0) == "one"
            assert await found(store, age_s=99.0) == ""
            keys = [number.to_bytes(32, "big") for number in range(200)]
            for key in keys:
                await note(store, 3, key, keep=10)
            kept = [key for key in keys if await found(store, key)]
            assert 10 <= len(kept) <= 10 + 64
            assert kept == keys[-len(kept) :]
            assert await found(store) == ""

    async def test_what_is_erased_is_not_found(self) -> None:
        """With its conversation, and where anything in that was redacted, in forks too."""
        async with self.open_store(clock=HandClock()) as store:
            await begin(store, CHAT, said("q", id="q"), answer("one", id="a1"))
            await fork(store, at=3)
            await store.append(ME, FORK, [answer("forked", id="a2")], expected=4)
            await note(store, 3)
            await note(store, 5, OTHER, name=FORK)
            assert [await found(store), await found(store, OTHER)] == ["one", "forked"]
            await store.rewrite(
                ME,
                CHAT,
                [(2, MessageAdded(redacted(Message.user("q", id="q"))))],
                [MessageRedacted(MessageId("q"))],
                expected=3,
            )
            assert [await found(store), await found(store, OTHER)] == ["", ""]
            await note(store, 3)
            await store.delete(ME, CHAT)
            assert await found(store) == ""
