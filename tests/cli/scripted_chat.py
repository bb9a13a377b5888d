"""A chat with a scripted model and two tools, as a program: what the terminal tests drive."""

import argparse
import asyncio
import fcntl
import os
import sys
import termios
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from palaver import ExecutionContext, tool, wiring
from palaver.cli.ask import AskOptions, run_ask
from palaver.cli.chat import ChatOptions, run_chat
from palaver.cli.exits import report
from palaver.cli.main import _survive_encodings
from palaver.cli.opening import Opened, Wanted
from palaver.cli.unfinished import recovered
from palaver.domain.messages import Role, StopReason
from palaver.providers.base import ModelRequest
from palaver.testing import Call, Pause, Say, ScriptedModel, Stop, Think
from palaver.testing.script import Line

TABLE = """## Cities

| city | rain |
|------|-----:|
| Oslo | 3 mm |
| Rome | 0 mm |

1. first
2. second

```python
def hello(name: str) -> str:
    return f"hello {name}"
```

Done with *all* of it.
"""


@tool(effect="read")
async def look_up(city: str, context: ExecutionContext) -> str:
    """Look a city up; where `SCRIPTED_GATE` names a file, not before that is there."""
    gate = os.environ.get("SCRIPTED_GATE", "")
    for i in range(3):
        context.progress(f"asking station {i + 1}", (i + 1) / 3)
        await asyncio.sleep(0.1)
    while gate and not Path(gate).exists():  # noqa: ASYNC110 - made by another process
        await asyncio.sleep(0.02)
    if city == "Atlantis":
        raise ValueError("no such city")
    return f"{city}: rain, 11 degrees\nwind from the west\nmore\nand more\nand more"


@tool(effect="effect")
async def send_mail(to: str, body: str) -> str:
    """Send a mail."""
    return f"sent to {to}"


@tool(effect="effect")
async def pay(order: int) -> str:
    """Pay for an order; the bank is slow."""
    await asyncio.sleep(60)
    return f"paid {order}"


def answer(request: ModelRequest) -> Line | Sequence[Line]:
    """What the model says, told by a word in the question."""
    last = request.messages[-1]
    if last.role is Role.TOOL:
        return [f"The tool said: {last.tool_results[0].text.splitlines()[0]}"]
    text = last.text
    if "table" in text:
        return [Think("Which cities?\nOslo and Rome."), Say(TABLE, piece=3)]
    if "slow" in text:
        words = [step for i in range(10) for step in (Say(f"word{i} "), Pause(0.05))]
        return [*words, Pause(until=asyncio.Event())]
    if "steady" in text:
        return [step for i in range(30) for step in (Say(f"word{i} "), Pause(0.02))]
    if "code" in text:
        code = "".join(f"x{i} = {i}  # line\n" for i in range(60))
        return [Say(part, 20) for part in ("```python\n", code, "```\nend")]
    if "mail" in text:
        return ["I'll send it.", Call("send_mail", {"to": "bob@example.org", "body": "hi\x1b[2J"})]
    if "pay" in text:
        return ["I pay for it.", Call("pay", {"order": 7})]
    if "look" in text:
        return [
            "Let me look.",
            Call("look_up", {"city": "Oslo"}),
            Call("look_up", {"city": "Atlantis"}),
        ]
    if "limit" in text:
        return ["It was", Stop(StopReason.MAX_TOKENS)]
    if "json" in text:
        return ['{"city": "Oslo"}']
    if "evil" in text:
        return ["be\x1b]0;owned\x07fore\x1b[2Jafter\r\nnext"]
    return [f"You said: {text}"]


TOOLS = (look_up, send_mail, pay)


@asynccontextmanager
async def opener(wanted: Wanted) -> AsyncIterator[Opened]:
    model = ScriptedModel([answer] * 100, name="scripted:model")
    async with wiring.open(wanted.db or ":memory:", model=model, tools=TOOLS) as m:
        yield Opened(m, model.name, tuple(recovered(m)), drain_s=600.0)


def take_terminal() -> None:
    """Standard input becomes the controlling terminal, so that Ctrl-C is a signal."""
    if sys.stdin.isatty() and os.getsid(0) == os.getpid():
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def main() -> int:
    """A chat, or with `--ask TEXT` one question."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--yes", action="store_true")
    parser.add_argument("--db")
    parser.add_argument("--conversation", default="")
    parser.add_argument("--ask")
    parser.add_argument("--schema", default="")
    given = parser.parse_args()
    wanted = Wanted(db=given.db)
    if given.ask is None:
        chat = ChatOptions(wanted=wanted, conversation=given.conversation, allow=given.yes)
        return run_chat(chat, opener=opener)
    asked = AskOptions(wanted=wanted, prompt=given.ask, schema=given.schema, allow=given.yes)
    return run_ask(asked, opener=opener)


if __name__ == "__main__":
    _survive_encodings()
    take_terminal()
    try:
        code = main()
    except Exception as error:
        code = report(error)
    sys.exit(code)
