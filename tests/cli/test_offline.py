"""A chat whose provider goes away and comes back, and what `/offline` tells."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import palaver
from palaver.cli.chat import ChatOptions, run_chat
from palaver.cli.opening import Opened, Wanted
from palaver.cli.words import service
from palaver.domain.degradation import DegradationLevel, Feature
from palaver.domain.errors import ConnectionFailed
from palaver.domain.values import ErrorInfo
from palaver.settings import BreakerSettings, OutboxSettings, RetrySettings, Settings
from palaver.testing import Fail, ScriptedModel

AWAY = Fail(ConnectionFailed("connection refused"))
QUICK = Settings(
    retry=RetrySettings(network_attempts=1),
    breaker=BreakerSettings(failures=9),
    outbox=OutboxSettings(automatic=False),
)
"""Every message finds out anew whether the model is back."""
Chat = Callable[..., tuple[str, str]]


@pytest.fixture
def chat(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Chat:
    """`chat(model, *lines)`: answers and notices of a chat in plain text."""

    def talk(model: ScriptedModel, *lines: str, settings: Settings = QUICK) -> tuple[str, str]:
        @asynccontextmanager
        async def opener(_: Wanted) -> AsyncIterator[Opened]:
            door = palaver.open(":memory:", model=model, builtin_tools=True, settings=settings)
            async with door as manager:
                yield Opened(manager, model.name)

        (tmp_path / "lines").write_text("".join(f"{line}\n" for line in lines))
        with (tmp_path / "lines").open() as given:
            monkeypatch.setattr(sys, "stdin", given)
            run_chat(ChatOptions(), opener=opener)
        shown = capsys.readouterr()
        return shown.out, shown.err

    return talk


def test_it_says_once_that_the_model_is_away_and_once_that_it_is_back(chat: Chat) -> None:
    """One quiet line each; the offline responder's answers between them say what they are."""
    model = ScriptedModel(["Hello.", AWAY, AWAY, "Here again.", "Still here."], name="a:1")
    out, told = chat(model, "hi", "/offline on", "what is 17*23?", "really?", "back?", "sure?")
    assert "No model can be reached now; the offline responder answers." in out
    assert "391" in out
    assert "Still here." in out
    assert told.count("no model can be reached; the offline responder answers") == 1
    assert told.count("the chosen model answers again") == 1


def test_an_earlier_answer_is_named_as_one(chat: Chat) -> None:
    """It is shown word for word; the line above it says what it is."""
    model = ScriptedModel(["A walrus.", AWAY], name="a:1")
    out, told = chat(model, "what is that?", "/new", "/offline on", "what is that?")
    assert out.count("A walrus.") == 2
    assert "this is an earlier answer to the same request" in told


def test_unless_asked_a_chat_keeps_what_it_cannot_send(chat: Chat) -> None:
    """And says that it is kept, and where to look."""
    _, told = chat(ScriptedModel([AWAY], name="a:1"), "hi")
    assert "/offline says what works" in told
    assert "What you said is kept" in told


def test_offline_tells_what_works_and_how_the_provider_is(chat: Chat) -> None:
    """Service, tools, breakers, budget and the errors of this program's last hour."""
    well, _ = chat(ScriptedModel(["Hello."], name="a:1"), "hi", "/offline")
    assert "service: all of it" in well
    assert "calculator" in well
    settings = Settings(retry=QUICK.retry, breaker=BreakerSettings(failures=1))
    model = ScriptedModel(["Hello.", AWAY], name="a:1")
    ill, _ = chat(model, "hi", "/offline on", "and now?", "/offline", settings=settings)
    assert "service: basic chat" in ill
    assert "connection refused" in ill
    assert "an earlier answer, else the offline responder" in ill
    (row,) = [line.split() for line in ill.splitlines() if line.startswith("a:1 ")]
    assert row[:5] == ["a:1", "open", "1", "of", "2"]
    assert row[-1] == "network"
    assert "last hour: 1 of 2 requests failed: network 1" in ill


def test_a_conversation_is_looked_at_without_a_model(chat: Chat) -> None:
    """Summary, topics, numbers and search ask nobody."""
    model = ScriptedModel(["A walrus has tusks."], name="a:1")
    commands = [f"/offline {word}" for word in ("summary", "topics", "numbers", "search tusks")]
    out, _ = chat(model, "what is a walrus?", *commands, "/offline dance")
    assert "User: what is a walrus?" in out
    assert "m1" in out
    assert "messages: 1 user, 1 assistant" in out
    assert "assistant: A walrus has tusks." in out
    assert len(model.requests) == 1


@pytest.mark.parametrize("level", DegradationLevel)
def test_every_level_has_its_words_or_another_lines(level: DegradationLevel) -> None:
    """What a switch of models or a compaction has said already is not said again."""
    error = ErrorInfo("network", "refused")
    told = service(palaver.ServiceDegraded(level, (), (), error, 42.0))
    is_told_elsewhere = level.rank < DegradationLevel.CACHED_ANSWERS.rank
    assert (told == "") is is_told_elsewhere
    assert is_told_elsewhere or "in 42 s" in told
    full = palaver.ServiceDegraded(level, (), (Feature.MESSAGES,), error)
    if level is DegradationLevel.READ_ONLY:
        assert "nothing can be stored: refused" in service(full)
