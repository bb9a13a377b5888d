import pytest

import palaver
from palaver.domain.errors import ProviderError
from palaver.providers.base import ModelRequest
from palaver.settings import RetrySettings, Settings
from palaver.testing import ChaosModel, Say, ScriptedModel, Weather, sent, valid_history
from palaver.testing.requests import WIRES, Wire

QUICK = Settings(retry=RetrySettings(network_base_s=0.001, rate_limit_base_s=0.001))


async def bad_days(seed: int) -> tuple[list[str], dict[str, int]]:
    """What forty turns gave under bad weather."""
    calm = ScriptedModel([[Say("all is well", piece=2)]] * 200)
    chaos = ChaosModel(calm, seed=seed, weather=Weather(0.3, 0.2, 0.1, 0.1))
    said = []
    async with palaver.open(":memory:", model=chaos, settings=QUICK) as manager:
        conversation = await manager.create()
        for _ in range(40):
            try:
                said.append((await conversation.say("?")).text)
            except ProviderError as error:
                said.append(error.code)
            assert conversation.state.turn is None
        assert valid_history(list(conversation.messages)) == []
    return said, chaos.mishaps


async def test_a_conversation_outlives_bad_days() -> None:
    """Whatever the weather, each turn ends, and a complete answer is a whole one."""
    said, mishaps = await bad_days(7)
    assert set(mishaps) == {"refused", "broken", "cut", "silent"}
    assert "all is well" in said
    assert all(text == "all is well" or " " not in text for text in said)


async def test_the_same_seed_gives_the_same_days() -> None:
    """A failure that was seen once can be seen again."""
    assert (await bad_days(3))[1] == (await bad_days(3))[1]


@pytest.mark.parametrize("wire", WIRES)
async def test_what_leaves_can_be_looked_at(wire: Wire) -> None:
    """The body is the one that the adapter sends, with the system prompt and the words in it."""
    request = ModelRequest(messages=(palaver.Message.user("a word", id="m1"),), system="be brief")
    body = await sent(wire, request)
    assert body["stream"] is True
    assert "a word" in str(body)
    assert "be brief" in str(body)
