"""Every collected conversation is read, valid, whole, the same when read again, and can go on."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Literal

import pytest

from palaver.domain.ids import BlobId
from palaver.domain.messages import (
    Message,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from palaver.providers.anthropic import AnthropicManager
from palaver.providers.base import BlobReader, Finished, Model, ModelInfo, ModelRequest
from palaver.providers.openai import OpenAIManager
from palaver.settings import Clocks
from palaver.testing import ProviderServer, valid_history
from palaver.travel.base import Imported, RepairKind
from palaver.travel.detect import read, told
from palaver.travel.repair import repair
from palaver.travel.source import Source
from tests.travel.collected import content_hash, files, path_of

FILES = files()
FORMATS = {
    "aider_": "aider",
    "openhands_": "openhands",
    "swe_": "swe-agent",
    "chatgpt": "chatgpt",
    "claude-code": "claude-code",
    "cline": "cline",
    "codex": "codex",
    "gemini": "gemini-cli",
    "pi_": "pi",
    "tau": "tau",
    "mtbench": "openai",
    "oasst": "oasst",
    "taskmaster": "taskmaster",
}
LEAST = {"taskmaster": 0.1, "claude-code": 0.1, "chatgpt": 0.05, "codex": 0.1, "gemini-cli": 0.1}
"""The part of a file that is talk and not field names, at least."""
KINDS = frozenset(map(str, RepairKind))
QUICK = 3
"""Conversations of a file that go over the wire in the quick suite."""

pytestmark = pytest.mark.skipif(not FILES, reason="the collected conversations are not here")
each = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.removesuffix(".gz"))


def volume(conversation: Imported) -> int:
    """Characters of everything that was said, called and given, and bytes of attachments."""
    count = len(conversation.system) + sum(map(len, conversation.blobs.values()))
    for message in conversation.messages:
        for block in message.content:
            match block:
                case Text(text=text) | Refusal(text=text) | Reasoning(text=text):
                    count += len(text)
                case ToolCall(arguments=arguments):
                    count += len(arguments)
                case ToolResult() as result:
                    count += len(result.text)
                case _:
                    pass
    return count


@each
def test_is_read_valid_whole_and_the_same_again(path: Path) -> None:
    """The format is told, no conversation is invalid, and a second reading gives the same."""
    data = path.read_bytes()
    source = Source(data)
    expected = next(name for start, name in FORMATS.items() if path.name.startswith(start))
    assert told(source) == expected
    read_once, again = read(data), read(source.data)
    assert read_once
    assert again == read_once
    for conversation, same in zip(read_once, again, strict=True):
        talked = path_of(conversation)
        assert valid_history(talked) == []
        assert repair(talked) == (tuple(talked), ())
        assert content_hash(talked) == content_hash(path_of(same))
        ids = [message.id for message in conversation.messages]
        assert len(set(ids)) == len(ids)
    said = sum(volume(conversation) for conversation in read_once)
    assert said > LEAST.get(expected, 0.4) * len(source.data)


@each
def test_no_text_of_a_message_is_lost_on_a_branch(path: Path) -> None:
    """Every branch is valid too, not only the one that ends at the head."""
    for conversation in read(path.read_bytes()):
        known = {message.id: message for message in conversation.messages}
        parents = {message.parent for message in conversation.messages}
        for end in [message for message in conversation.messages if message.id not in parents]:
            branch = [end]
            while (above := branch[-1].parent) is not None:
                branch.append(known[above])
            assert valid_history(branch[::-1]) == []


async def goes_on(conversations: Sequence[Imported], server: ProviderServer) -> None:
    """Each of them is sent with another question over each API, and is answered."""
    for model in models(server):
        for conversation in conversations:
            said = [without_proofs(message) for message in path_of(conversation)]
            request = ModelRequest(
                (*said, Message.user("go on")),
                system=conversation.system,
                read_blob=reader(conversation),
            )
            events = [event async for batch in model.stream(request) for event in batch]
            end = events[-1]
            assert isinstance(end, Finished)
            assert Message(Role.ASSISTANT, end.content).text == "gone on"
        await model.aclose()


def models(server: ProviderServer) -> Sequence[Model]:
    claude = ModelInfo("anthropic:claude-haiku-4-5", window=9_000_000, max_output=9000)
    small = ModelInfo("openai:gpt-4o-mini", window=9_000_000, max_output=9000)
    thinking = ModelInfo("openai:gpt-5-mini", window=9_000_000, max_output=9000, reasoning=True)

    def openai(info: ModelInfo, api: Literal["chat", "responses"]) -> Model:
        name = info.name.removeprefix("openai:")
        url, clocks = server.openai_url, Clocks()
        return OpenAIManager(
            model=name, api_key="k", info=info, base_url=url, api=api, clocks=clocks
        )

    return (
        AnthropicManager(model="claude-haiku-4-5", api_key="k", info=claude, base_url=server.url),
        openai(small, "chat"),
        openai(thinking, "responses"),
    )


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with ProviderServer(window=9_000_000, default=["gone on"], piece=100) as server:
        yield server


def without_proofs(message: Message) -> Message:
    """The strict server takes only thinking that it signed itself."""
    content = tuple(block for block in message.content if not isinstance(block, Reasoning))
    return Message(message.role, content, message.id, stop=message.stop, model=message.model)


def reader(conversation: Imported) -> BlobReader:
    async def read_blob(id: BlobId) -> bytes:
        return conversation.blobs[id]

    return read_blob


@each
async def test_goes_on_with_any_provider(path: Path, server: ProviderServer) -> None:
    """The strict server takes the repaired history and another question, over each API."""
    await goes_on(read(path.read_bytes())[:QUICK], server)


@pytest.mark.long
@each
async def test_all_of_them_go_on(path: Path, server: ProviderServer) -> None:
    """The same for every conversation of the collection."""
    await goes_on(read(path.read_bytes()), server)


@pytest.mark.long
def test_table_of_repairs(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints what was repaired where; the page of the reference holds the figures."""
    counts: dict[str, Counter[str]] = {}
    for path in FILES:
        for conversation in read(path.read_bytes()):
            of = counts.setdefault(conversation.format, Counter())
            of["conversations"] += 1
            of["messages"] += len(conversation.messages)
            of.update(str(entry.kind) for entry in conversation.repairs)
    with capsys.disabled():
        print()
        for name, of in sorted(counts.items()):
            mended = ", ".join(f"`{kind}` {n}" for kind, n in of.most_common() if kind in KINDS)
            print(f"| `{name}` | {of['conversations']:,} | {of['messages']:,} | {mended} |")
    assert set(counts) >= {"aider", "claude-code", "codex", "pi", "tau"}
