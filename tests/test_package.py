import ast
import subprocess
import sys
from pathlib import Path

import palaver
from palaver import sync
from palaver.domain.values import TurnOutcome
from palaver.testing import Call, ScriptedModel

SOURCE = Path(palaver.__file__)


def test_every_public_name_is_there() -> None:
    """What `__all__` promises can be imported."""
    for name in palaver.__all__:
        assert getattr(palaver, name) is not None


def test_type_checkers_see_the_same_names() -> None:
    """The lazy names and the ones in the TYPE_CHECKING block are the same."""
    tree = ast.parse(SOURCE.read_text())
    block = next(n for n in tree.body if isinstance(n, ast.If))
    seen = {alias.name for n in block.body if isinstance(n, ast.ImportFrom) for alias in n.names}
    assert seen | {"__version__"} == set(palaver.__all__)


def test_importing_palaver_costs_next_to_nothing() -> None:
    """`import palaver` loads no provider, no store, no web or terminal library."""
    code = "import palaver, sys; print(sorted(m.split('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for heavy in ("aiohttp", "apsw", "click", "rich", "msgspec", "jsonschema", "asyncio"):
        assert f"'{heavy}'" not in done.stdout


def test_the_same_without_async() -> None:
    """`palaver.sync` talks, streams, and asks for approval without an event loop in sight."""

    @palaver.tool(effect="effect")
    def send(to: str) -> str:
        """Send."""
        return f"sent to {to}"

    model = ScriptedModel(["Hello", "Streamed", Call("send", {"to": "bob"}), "Sent."])
    with sync.open(":memory:", model=model, tools=[send]) as manager:
        conversation = manager.create(title="T")
        assert conversation.say("hi").text == "Hello"
        events = list(conversation.stream("again"))
        assert "".join(e.text for e in events if isinstance(e, palaver.TextDelta)) == "Streamed"
        asked = conversation.say("write")
        reply = conversation.resume({call.id: True for call in asked.waiting})
        assert reply.outcome is TurnOutcome.COMPLETED
        assert len(manager.list().items) == 1
        assert manager.search("streamed")[0].conversation == conversation.id
