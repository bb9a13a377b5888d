"""A server that ends when its standard input ends, and says its address on standard output.

`python -m bench.servers NAME LOOP API URL FOLDER`; URL is the provider's, with the scenario.
"""

import asyncio
import os
import sys
from importlib import import_module
from pathlib import Path

from bench.processes import allow_sockets


async def _main(name: str, api: str, url: str, folder: Path) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    serving = import_module(f"bench.servers.{name}").serving
    async with serving(api, url, folder) as address:
        os.write(1, f"{address}\n".encode())
        await ended.wait()


if __name__ == "__main__":
    _, name, loop, api, url, folder = sys.argv
    allow_sockets()
    factory = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_main(name, api, url, Path(folder)))
