"""Clients from npm, as their makers ship them, against the server.

They are installed once for each version of their lock, outside of the repository. Where there is no
Node, or npm cannot install them, these tests are skipped.
"""

import asyncio
import contextlib
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from palaver.testing import Call, Pause, Say, ScriptedModel, Think
from tests.server.v1.conftest import Connecting

SOURCE = Path(__file__).parent / "node"
INSTALL_S = 180.0
RUN_S = 60.0
TURNS: list[Any] = [
    [Think("hm"), Say("Let me look."), Call("weather", {"city": "Oslo"})],
    "Rain in Oslo.",
]


async def run(*command: str, folder: Path, seconds: float) -> str:
    """What a program printed. Fails the test where it fails."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(seconds):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.communicate()
        pytest.fail(f"{command} took longer than {seconds} s")
    if process.returncode:
        pytest.fail(f"{command} failed:\n{err.decode()[-2000:]}")
    return out.decode()


async def install(folder: Path) -> None:
    """Put the packages into `folder`, all or nothing: several workers may try at once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        new = Path(made) / "clients"
        new.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SOURCE / name, new)
        await run("npm", "ci", "--no-audit", "--no-fund", folder=new, seconds=INSTALL_S)
        with contextlib.suppress(OSError):  # another worker was faster
            new.replace(folder)


@pytest.fixture
async def clients() -> Path:
    """The folder in which the packages are."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no Node here")
    lock = (SOURCE / "package-lock.json").read_bytes()
    name = hashlib.sha256(lock).hexdigest()[:16]
    folder = Path(platformdirs.user_cache_dir("palaver-tests")) / f"openai-clients-{name}"
    if not folder.exists():
        try:
            await install(folder)
        except (pytest.fail.Exception, OSError) as failure:
            pytest.skip(f"npm cannot install the clients: {failure}")
    return folder


async def told(script: str, clients: Path, url: str) -> dict[str, Any]:
    """What a script saw. It is run from a copy: imports are looked for beside it."""
    with tempfile.TemporaryDirectory(dir=clients) as made:
        copy = Path(made) / script
        shutil.copy(SOURCE / script, copy)
        printed = await run("node", str(copy), url, folder=clients, seconds=RUN_S)
    seen: dict[str, Any] = json.loads(printed)
    return seen


async def test_openai(connected: Connecting, clients: Path) -> None:
    """Models, a loop over tools, a stream, an error; responses with tools, in the background with a
    dropped stream that is read on, and cancel."""
    long: list[Any] = [Say("The first half"), Pause(0.02), ", and all."]
    model = ScriptedModel([*TURNS, "Streamed.", *TURNS, long])
    seen = await told("openai.mjs", clients, (await connected(model)).url)
    assert seen.pop("usage")["total_tokens"] > 0
    assert seen == {
        "models": ["scripted:model", "offline"],
        "chat": "Rain in Oslo.",
        "streamed": "Streamed.",
        "error": {"status": 400, "type": "invalid_request_error", "name": "BadRequestError"},
        "responses": "Rain in Oslo.",
        "resumed": "The first half, and all.",
        "end": "response.completed",
        "contiguous": True,
        "cancelled": "completed",
    }
    assert not model.problems


async def test_ai_sdk(connected: Connecting, clients: Path) -> None:
    """Loops over tools, streamed and not, thinking, usage, and an answer in a shape."""
    model = ScriptedModel([*TURNS, *TURNS, '{"name":"Oslo"}'])
    seen = await told("ai-sdk.mjs", clients, (await connected(model)).url)
    assert seen.pop("tokens") > 0
    kinds = seen.pop("kinds")
    assert {"text-delta", "tool-call", "tool-result", "finish"} <= set(kinds)
    assert "error" not in kinds
    assert seen == {
        "text": "Rain in Oslo.",
        "steps": ["tool-calls", "stop"],
        "results": ["rain in Oslo"],
        "reasoning": "hm",
        "streamed": "Rain in Oslo.",
        "object": {"name": "Oslo"},
    }
    assert model.requests[0].system == "Be short."
    assert not model.problems
