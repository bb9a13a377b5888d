"""Every fault of the network, over real adapters and a real wire: a typed error, or a whole answer.

The time of the loop is virtual: it moves when nothing else can happen, so no clock fires because
the machine is slow, and nothing waits for a provider's patience.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

import pytest

import palaver
from palaver import Conversation
from palaver.domain.errors import (
    ConnectionFailed,
    ProviderError,
    ProviderTimeout,
    StreamTruncated,
)
from palaver.providers.base import ModelInfo
from palaver.settings import Clocks, RetrySettings, Settings
from palaver.testing import Say, valid_history
from palaver.testing.fault_proxy import (
    Bandwidth,
    Blackhole,
    Close,
    FaultProxy,
    Latency,
    NetworkFault,
    Refuse,
    Reset,
    Slicer,
    Stall,
)
from palaver.testing.provider_server import Linger, Pings, ProviderServer, Reply, continuing
from tests.contract.test_wires import WIRES

TEXT = "Schöne Grüße aus 東京 👩\u200d👧, und so weiter, bis zum Ende des Satzes. " * 4
CLOCKS = Clocks(connect_s=60.0, first_token_s=60.0, idle_s=60.0)
AGAIN = RetrySettings(network_base_s=0.0, resumes=2)
ONCE = RetrySettings(network_attempts=1, resumes=0)
pytestmark = pytest.mark.looptime
Begin: TypeAlias = Callable[..., Awaitable[Conversation]]


def model_at(wire: str, root: str, clocks: Clocks) -> Any:
    """An adapter for `wire` that talks to `root`."""
    if wire == "messages":
        info = ModelInfo("anthropic:claude-haiku-4-5", 200_000, 8_192)
        return palaver.AnthropicManager(
            model="claude-haiku-4-5", api_key="k", base_url=root, info=info, clocks=clocks
        )
    info = ModelInfo("openai:gpt-5-mini", 200_000, 8_192)
    api: Any = wire
    return palaver.OpenAIManager(
        model="gpt-5-mini", api_key="k", base_url=f"{root}/v1", info=info, clocks=clocks, api=api
    )


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with ProviderServer(piece=6) as server:
        yield server


@pytest.fixture
async def proxy(server: ProviderServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(server.port) as proxy:
        yield proxy


@pytest.fixture(params=WIRES)
async def begin(request: Any, proxy: FaultProxy) -> AsyncIterator[Begin]:
    """`await begin(retry)` gives a conversation over one of the wires, through the proxy."""
    async with AsyncExitStack() as stack:

        async def make(
            retry: RetrySettings = ONCE, *, clocks: Clocks = CLOCKS, root: str = ""
        ) -> Conversation:
            model = model_at(request.param, root or proxy.url, clocks)
            stack.push_async_callback(model.aclose)
            settings = Settings(retry=retry, clocks=clocks, titles="off")
            door = palaver.open(":memory:", model=model, settings=settings)
            return await (await stack.enter_async_context(door)).create()

        yield make


async def failed(conversation: Conversation) -> ProviderError:
    """The typed error that a question ends with, in time; what is left is valid and closed."""
    async with asyncio.timeout(600):
        with pytest.raises(ProviderError) as caught:
            await conversation.say("?")
    assert conversation.state.turn is None
    assert valid_history(list(conversation.messages)) == []
    assert caught.value.code
    return caught.value


async def goes_on(conversation: Conversation, server: ProviderServer, proxy: FaultProxy) -> None:
    """When the network is back, the same conversation is answered."""
    await proxy.heal()
    server.default = "Back again."
    async with asyncio.timeout(600):
        assert (await conversation.say("and now?")).text == "Back again."


async def test_a_name_that_nobody_knows(begin: Begin) -> None:
    """DNS has no such host: said at once, as a failure of the network."""
    error = await failed(await begin(root="http://palaver-test.invalid"))
    assert isinstance(error, ConnectionFailed)


async def test_refused(begin: Begin, server: ProviderServer, proxy: FaultProxy) -> None:
    """Nobody listens, and then somebody does."""
    await proxy.set("down", Refuse())
    conversation = await begin()
    assert isinstance(await failed(conversation), ConnectionFailed)
    await goes_on(conversation, server, proxy)


async def test_no_answer_to_connecting(
    begin: Begin, server: ProviderServer, proxy: FaultProxy
) -> None:
    """Packets vanish: the clock of connecting ends it."""
    await proxy.set("gone", Blackhole())
    conversation = await begin()
    error = await failed(conversation)
    assert isinstance(error, ProviderTimeout | ConnectionFailed)
    await goes_on(conversation, server, proxy)


async def test_no_tls_where_it_is_expected(begin: Begin, proxy: FaultProxy) -> None:
    """A server that does not speak TLS is asked once: it will not learn it."""
    retry = RetrySettings(network_base_s=0.0, network_attempts=3)
    error = await failed(await begin(retry, root=f"https://127.0.0.1:{proxy.port}"))
    assert isinstance(error, ConnectionFailed)
    assert not error.can_retry
    assert proxy.connections == 1


@pytest.mark.parametrize("fault", [Reset(times=2), Close(times=2)], ids=["reset", "closed"])
async def test_broken_before_the_answer(
    begin: Begin, server: ProviderServer, proxy: FaultProxy, fault: NetworkFault
) -> None:
    """Nothing had come: it is asked again, and the answer is whole."""
    server.default = TEXT
    await proxy.set("cut", fault)
    assert (await (await begin(AGAIN)).say("?")).text == TEXT
    assert len(server.journal) == 3


@pytest.mark.parametrize("after", [700, 1500, 2600])
@pytest.mark.parametrize("kind", [Reset, Close])
async def test_broken_in_mid_text(
    begin: Begin, server: ProviderServer, proxy: FaultProxy, kind: Any, after: int
) -> None:
    """A reset and a clean end without end marker are noticed, and the answer is continued: no
    character twice, none missing."""
    server.default = continuing(TEXT)
    conversation = await begin(AGAIN)
    await proxy.set("cut", kind(after=after, times=1))
    async with asyncio.timeout(600):
        assert (await conversation.say("?")).text == TEXT
    assert len(server.journal) == 2


@pytest.mark.parametrize("kind", [Reset, Close])
async def test_broken_for_good(
    begin: Begin, server: ProviderServer, proxy: FaultProxy, kind: Any
) -> None:
    """Where nothing is continued, the error says what it was; what came is kept."""
    server.default = continuing(TEXT)
    conversation = await begin()
    await proxy.set("cut", kind(after=3000))
    error = await failed(conversation)
    assert isinstance(error, ConnectionFailed | StreamTruncated)
    assert TEXT.startswith(conversation.messages[-1].text)
    await goes_on(conversation, server, proxy)


async def test_a_stall(begin: Begin, server: ProviderServer, proxy: FaultProxy) -> None:
    """An answer that stops without a word is ended by the idle clock."""
    server.default = TEXT
    conversation = await begin()
    await proxy.set("stalled", Stall(after=3000))
    error = await failed(conversation)
    assert isinstance(error, ProviderTimeout)
    assert error.clock == "idle"
    await goes_on(conversation, server, proxy)


async def test_a_stall_with_pings(begin: Begin, server: ProviderServer) -> None:
    """Keep-alives do not pass for content, however many come."""
    server.script([Reply([Say("some words", piece=2)], (Pings(6, every_s=1.0),))])
    error = await failed(await begin())
    assert isinstance(error, ProviderTimeout)
    assert error.clock == "idle"


async def test_a_trickle(begin: Begin, server: ProviderServer, proxy: FaultProxy) -> None:
    """Bytes that come one by one, too slowly to ever end, meet the turn's deadline."""
    server.default = TEXT
    clocks = Clocks(connect_s=1.0, first_token_s=60.0, idle_s=60.0, turn_s=0.3)
    conversation = await begin(clocks=clocks)
    await proxy.set("slow", Bandwidth(50.0))
    async with asyncio.timeout(600):
        with pytest.raises(ProviderTimeout) as caught:
            await conversation.say("?")
    assert caught.value.clock == "turn"
    assert conversation.state.turn is None


async def test_open_behind_the_end(begin: Begin, server: ProviderServer) -> None:
    """The turn ends at the end marker, not at the end of the connection."""
    server.script([Reply([TEXT], (Linger(),))])
    async with asyncio.timeout(600):
        assert (await (await begin()).say("?")).text == TEXT


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_sliced(begin: Begin, server: ProviderServer, proxy: FaultProxy, size: int) -> None:
    """Wherever packets end, within a character or a frame, the text is the same."""
    server.default = TEXT
    await proxy.set("sliced", Slicer(size))
    async with asyncio.timeout(600):
        assert (await (await begin(clocks=Clocks())).say("?")).text == TEXT


async def test_late(begin: Begin, server: ProviderServer, proxy: FaultProxy) -> None:
    """A slow network is no failure."""
    server.default = TEXT
    await proxy.set("far", Latency(0.02))
    assert (await (await begin()).say("?")).text == TEXT


async def test_faults_are_switched_while_connections_live(
    begin: Begin, server: ProviderServer, proxy: FaultProxy
) -> None:
    """What stalls goes on when the fault is switched off, over the same connection."""
    server.default = TEXT
    conversation = await begin(clocks=Clocks())
    await proxy.set("stalled", Stall(after=900))
    asked = asyncio.ensure_future(conversation.say("?"))
    await server.wait_for(1, over=False)
    await asyncio.sleep(0.02)
    assert not asked.done()
    await proxy.heal("stalled")
    async with asyncio.timeout(600):
        assert (await asked).text == TEXT
    assert proxy.connections == 1
