"""`palaver outbox`: what waits until a model can be reached."""

from collections.abc import Callable
from pathlib import Path

import pytest

from palaver import PromptKept, sync
from palaver.cli import exits
from palaver.cli.main import run
from palaver.domain.errors import ConnectionFailed
from palaver.settings import BreakerSettings, OutboxSettings, RetrySettings, Settings
from palaver.testing import Fail, ScriptedModel

Palaver = Callable[..., tuple[int, str]]
KEPT = Settings(
    retry=RetrySettings(network_attempts=1),
    breaker=BreakerSettings(failures=1),
    outbox=OutboxSettings(on_unreachable="queue", automatic=False),
)


@pytest.fixture
def palaver(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Palaver:
    """Runs a command where three prompts wait: exit code, and what it said."""
    monkeypatch.setenv("PALAVER_HOME", str(tmp_path))
    monkeypatch.setenv("PALAVER_MODEL", "offline")
    model = ScriptedModel([Fail(ConnectionFailed("refused"))])
    with sync.open(str(tmp_path / "palaver.db"), model=model, settings=KEPT) as manager:
        conversation = manager.create(title="Away")
        for said in ("what is 2+3?", "never mind", "what is 5*5?"):
            with pytest.raises(PromptKept):
                conversation.say(said)

    def call(*arguments: str) -> tuple[int, str]:
        code = run(arguments)
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return call


def test_it_is_shown_changed_and_sent(palaver: Palaver) -> None:
    """In the order in which it was said, each once; looking alone sends nothing."""
    code, told = palaver("outbox")
    assert code == exits.OK
    lines = [line.split() for line in told.splitlines()]
    assert "what is 2+3?" in told
    never = next(line[0] for line in lines if line[-2:] == ["never", "mind"])
    first = next(line[0] for line in lines if line[-1] == "2+3?")
    assert palaver("outbox", "withdraw", never)[0] == exits.OK
    assert palaver("outbox", "edit", first, "what", "is", "3+4?")[0] == exits.OK
    assert palaver("outbox", "withdraw", never)[0] != exits.OK
    code, told = palaver("outbox", "send")
    assert (code, "2 waited, 2 answered, 0 wait on" in told) == (exits.OK, True)
    shown = palaver("show", "last")[1]
    assert shown.index("what is 3+4?") < shown.index("what is 5*5?")
    assert "never mind" not in shown
    assert "nothing waits" in palaver("outbox")[1]


def test_words_that_mean_nothing_do_nothing(palaver: Palaver) -> None:
    """They are refused with what could have been meant."""
    code, told = palaver("outbox", "sned")
    assert code != exits.OK
    assert "withdraw PROMPT" in told
