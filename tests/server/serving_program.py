"""A server in a process of its own: `… serving_program DATABASE PORT DRAIN_S MODEL`."""

import asyncio
import sys
from itertools import pairwise
from pathlib import Path

from msgspec.structs import replace

from palaver.domain.messages import Role
from palaver.environment import Environment
from palaver.providers.base import ModelInfo, ModelRequest
from palaver.server.run import open_server, serve
from palaver.settings import ServerSettings, Settings
from palaver.system import new_event_loop
from palaver.testing import Call, Line, Pause, Say, ScriptedModel
from tests.server.test_drops import weigh

ANSWER = "Together they are six kilograms, which is not very much for a cat with a hat."


def slowly(request: ModelRequest) -> list[Line]:
    """A call, then an answer that takes about a second; one that broke goes on where it broke."""
    last = request.messages[-1]
    if last.role is Role.USER and not last.tool_results:
        return ["I weigh. ", Pause(0.05), Call("weigh", {"what": "the cat"})]
    said = last.text if last.role is Role.ASSISTANT else ""
    left = ANSWER.removeprefix(said)
    cuts = [*range(0, len(left), 2), len(left)]
    return [line for a, b in pairwise(cuts) for line in (Say(left[a:b]), Pause(0.02))]


def halfway(request: ModelRequest) -> list[Line]:
    """The same, but the answer stops half-way and is never done."""
    lines = slowly(request)
    return lines if len(lines) < 40 else [*lines[:40], Pause(until=asyncio.Event())]


def never(request: ModelRequest) -> list[Line]:
    """Half an answer."""
    return ["Half", Pause(until=asyncio.Event())]


async def main(path: str, port: str, drain_s: str, model: str) -> None:
    """Serve until a signal comes."""
    info = ModelInfo("scripted:model", window=200_000, max_output=8_192, prefill=True)
    answering = ScriptedModel(info=info)
    answering.when("", {"slowly": slowly, "halfway": halfway, "never": never}[model])
    server = ServerSettings(port=int(port), drain_s=float(drain_s))
    settings = replace(Settings(), server=server)
    async with open_server(
        path,
        environment=Environment(home=Path(path).parent, model="offline", settings=settings),
        model=answering,
        tools=[weigh],
        builtin_tools=False,
    ) as opened:
        await serve(
            opened,
            announce=lambda address: print(address, flush=True),
            on_wait=lambda seconds: print(f"waits {seconds:g} s", flush=True),
        )
    print("ended", flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main(*sys.argv[1:]))
