"""Which event loop Palaver's own programs run on. Nobody else's is chosen for them."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from palaver import sync
from palaver.system import new_event_loop
from palaver.testing import ScriptedModel

UNIX = pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes of Unix")


def kind(loop: asyncio.AbstractEventLoop) -> str:
    return type(loop).__module__.partition(".")[0]


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_uvloop_is_taken_where_it_is() -> None:
    """A new loop is uvloop's, and only making one imports it."""
    pytest.importorskip("uvloop")
    loop = new_event_loop()
    loop.close()
    assert kind(loop) == "uvloop"
    assert (
        run("import sys, palaver.system, palaver.sync; print('uvloop' in sys.modules)") == "False"
    )


def test_without_uvloop_nothing_is_said_and_all_works() -> None:
    """asyncio's own loop is taken silently."""
    code = (
        "import sys; sys.modules['uvloop'] = None\n"
        "from palaver import sync\n"
        "from palaver.testing import ScriptedModel\n"
        "from palaver.system import new_event_loop\n"
        "loop = new_event_loop(); loop.close(); print(type(loop).__module__.split('.')[0])\n"
        "with sync.open(':memory:', model=ScriptedModel(['Hello'])) as manager:\n"
        "    print(manager.create().say('hi').text)\n"
    )
    assert run(code).split() == ["asyncio", "Hello"]


def test_sync_runs_on_it_and_a_hosts_loop_stays() -> None:
    """`palaver.sync` has a loop of its own; the policy of the process is untouched."""
    seen: list[str] = []

    def answer(_: object) -> str:
        seen.append(kind(asyncio.get_running_loop()))
        return "Hello"

    policy = asyncio.get_event_loop_policy()
    with sync.open(":memory:", model=ScriptedModel([answer])) as manager:
        assert manager.create().say("hi").text == "Hello"
    own = new_event_loop()
    own.close()
    assert seen == [kind(own)]
    assert asyncio.get_event_loop_policy() is policy


WHERE = """
import asyncio, sys
from palaver.cli.interrupts import run
async def program(_):
    print(type(asyncio.get_running_loop()).__module__.split('.')[0])
    return 0
sys.exit(run(program, carries_turns=%s))
"""


def loop_of_a_command(stdin: int, *, carries_turns: bool) -> str:
    done = subprocess.run(
        [sys.executable, "-c", WHERE % carries_turns],
        stdin=stdin,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@UNIX
def test_commands_take_it_where_it_pays_and_harms_nothing() -> None:
    """Turns in scripts run on the fast loop. What only looks into the store, and whatever a person
    types into, runs on asyncio's: libuv would leave the terminal non-blocking."""
    pytest.importorskip("uvloop")
    import pty

    main, terminal = pty.openpty()
    try:
        assert loop_of_a_command(subprocess.DEVNULL, carries_turns=True) == "uvloop"
        assert loop_of_a_command(subprocess.DEVNULL, carries_turns=False) == "asyncio"
        assert loop_of_a_command(terminal, carries_turns=True) == "asyncio"
    finally:
        os.close(main)
        os.close(terminal)


@UNIX
def test_a_signal_ends_a_command_in_good_order_on_every_loop() -> None:
    """Ctrl-C and SIGTERM cancel what runs, and the exit code says which it was."""
    program = (
        "import asyncio, os, signal, sys\n"
        "from palaver.cli.interrupts import run\n"
        "async def program(_):\n"
        "    asyncio.get_running_loop().call_soon(os.kill, os.getpid(), {number})\n"
        "    try:\n"
        "        await asyncio.sleep(30)\n"
        "    finally:\n"
        "        print('closed')\n"
        "sys.exit(run(program, carries_turns={fast}))\n"
    )
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        for fast in (True, False):
            done = subprocess.run(
                [sys.executable, "-c", program.format(number=int(number), fast=fast)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            assert (done.returncode, done.stdout, done.stderr) == (code, "closed\n", "")
