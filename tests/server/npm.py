"""Clients from npm, as their makers ship them.

They are installed once for each version of their lock, outside of the repository. Where there is no
Node, or npm cannot install them, their tests are skipped.
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

SOURCE = Path(__file__).parent / "node"
INSTALL = ("npm", "ci", "--no-audit", "--no-fund", "--fetch-retries=0", "--fetch-timeout=30000")
INSTALL_S = 100.0
RUN_S = 120.0


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
        await run(*INSTALL, folder=new, seconds=INSTALL_S)
        with contextlib.suppress(OSError):  # another worker was faster
            new.replace(folder)


async def installed() -> Path:
    """The folder in which the packages are. Skips the test where they cannot be had."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no Node here")
    lock = (SOURCE / "package-lock.json").read_bytes()
    name = hashlib.sha256(lock).hexdigest()[:16]
    folder = Path(platformdirs.user_cache_dir("palaver-tests")) / f"clients-{name}"
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
