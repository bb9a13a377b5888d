"""`palaver serve`, with everything switched on, and its SQLite file."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import palaver
from bench.contestants.base import DESCRIPTIONS, TOOLS
from bench.contestants.palaver_engine import model
from palaver.environment import Environment
from palaver.server.run import listening, open_server
from palaver.settings import ServerSettings, Settings


@asynccontextmanager
async def serving(api: str, url: str, folder: Path) -> AsyncIterator[str]:
    """The address."""
    server = ServerSettings(port=0, drain_s=0, streams_per_caller=2_000)
    tools = [palaver.tool(effect="read", description=DESCRIPTIONS[n])(f) for n, f in TOOLS.items()]
    async with (
        open_server(
            str(folder / "palaver.db"),
            environment=Environment(home=folder, model="offline", settings=Settings(server=server)),
            model=model(api, url),
            tools=tools if "/many-" in url else (),
            builtin_tools=False,
        ) as opened,
        listening(opened) as address,
    ):
        yield address
