"""A process that writes to a store until it is killed; run by `test_sqlite_processes`.

Usage: python appender.py FILE MODE NAME COUNT. Each acknowledged fact is a line on stdout.
"""

import asyncio
import sys

from palaver.domain.errors import StaleWriter
from palaver.domain.ids import TurnId
from palaver.domain.messages import Message
from palaver.store.sqlite import SqliteStore
from palaver.testing.store_contract.base import CHAT, ME, said


async def append(store: SqliteStore, name: str, count: int) -> None:
    """Append `count` messages, each as often as others come first."""
    for number in range(count):
        while True:
            at = len(await store.read(ME, CHAT))
            try:
                done = await store.append(ME, CHAT, [said(f"{name} {number}")], expected=at)
            except StaleWriter:
                continue
            print(done.first, name, number, flush=True)
            break


async def hold(store: SqliteStore, name: str) -> None:
    """Accept a message and let the turn stay open."""
    at = len(await store.read(ME, CHAT))
    message = Message.user("hi", id=f"msg_{name}")
    await store.accept(ME, CHAT, message, turn=TurnId(name), expected=at)
    print("held", flush=True)
    await asyncio.sleep(60)


async def main(path: str, mode: str, name: str, count: str) -> None:
    """Open the store and do what `mode` says."""
    store = await SqliteStore.open(path)
    if mode == "hold":
        await hold(store, name)
    else:
        await append(store, name, int(count))
    await store.close()


asyncio.run(main(*sys.argv[1:]))
