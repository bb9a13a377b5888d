"""`python -m palaver.testing.provider_server`: the server for people who try a client."""

import argparse
import asyncio
import sys

from palaver.testing.provider_server.echo import echo
from palaver.testing.provider_server.server import ProviderServer


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m palaver.testing.provider_server",
        description="A scripted stand-in for Anthropic and OpenAI on 127.0.0.1. Any key will do.",
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--pace", type=float, default=0.02, help="seconds between two deltas")
    parser.add_argument("--piece", type=int, default=4, help="characters of a delta")
    parser.add_argument("--reply", help="always say this instead of echoing")
    options = parser.parse_args()
    try:
        asyncio.run(_serve(options.port, options.pace, options.piece, options.reply))
    except KeyboardInterrupt:
        sys.exit(130)


async def _serve(port: int, pace_s: float, piece: int, reply: str | None) -> None:
    default = echo if reply is None else reply
    async with ProviderServer(port=port, pace_s=pace_s, piece=piece, default=default) as server:
        lines = (
            f"Anthropic  ANTHROPIC_BASE_URL={server.url}",
            f"OpenAI     OPENAI_BASE_URL={server.openai_url}",
            "Ask for a 'tool' to have the first offered tool called. Ctrl-C ends it.",
        )
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    main()
