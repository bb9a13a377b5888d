"""The protocol's own client, from npm, against the server."""

from pathlib import Path
from typing import Any

from palaver.testing import Call, Say, ScriptedModel, Think
from tests.server.agui.test_runs import double, send
from tests.server.conftest import Serving
from tests.server.npm import told


async def test_ag_ui_client(serving: Serving, clients: Path) -> None:
    """A thread with tools of the server and of the client, and an approval; the client checks the
    order of all events."""
    first: list[Any] = [
        Think("Both."),
        Say("Let me."),
        Call("double", {"number": 21}),
        Call("colour", {"to": "red"}),
    ]
    model = ScriptedModel([first, "Red, and 42.", [Call("send", {"to": "Ada"})], "Sent."])
    served = await serving(model, tools=[double, send])
    seen = await told("ag-ui.mjs", clients, served.address)
    assert {"RUN_STARTED", "REASONING_START", "TOOL_CALL_ARGS", "RUN_FINISHED"} <= set(
        seen.pop("kinds")
    )
    assert seen == {
        "outcome": "success",
        "results": ["42"],
        "arguments": {"to": "red"},
        "said": "Red, and 42.",
        "reason": "tool_approval",
        "sent": "Sent.",
    }
    assert not model.problems
