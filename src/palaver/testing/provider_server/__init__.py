"""A provider that speaks the wire of Anthropic and OpenAI on the loopback, strict and scripted.

server.py            routes, plays replies, keeps the journal
reply.py             one scripted reply, made ready for a wire
anthropic.py         Messages: frames and bodies         checked by anthropic_rules.py
openai_chat.py       chat completions                    checked by openai_chat_rules.py
openai_responses.py  responses                           checked by openai_responses_rules.py
refusal.py           what is refused, in each provider's error format
continuing.py        goes on with an answer that was cut
faults.py            what can go wrong below the protocol
usage.py             tokens and the prompt cache
proofs.py            signatures and encrypted content that only this server can issue
"""

from typing import TYPE_CHECKING

from palaver.testing.provider_server.continuing import continuing
from palaver.testing.provider_server.faults import (
    Answer,
    Broken,
    End,
    Fault,
    Hang,
    Linger,
    Pings,
    Reset,
    Severed,
    Split,
    Stray,
    Type,
)
from palaver.testing.provider_server.journal import Journal, Received
from palaver.testing.provider_server.reply import Reply

if TYPE_CHECKING:
    from palaver.testing.provider_server.server import ProviderServer as ProviderServer

__all__ = [
    "Answer",
    "Broken",
    "End",
    "Fault",
    "Hang",
    "Journal",
    "Linger",
    "Pings",
    "ProviderServer",
    "Received",
    "Reply",
    "Reset",
    "Severed",
    "Split",
    "Stray",
    "Type",
    "continuing",
]


def __getattr__(name: str) -> object:
    # The server loads a web framework; faults and replies do not need one.
    if name != "ProviderServer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from palaver.testing.provider_server.server import ProviderServer

    return ProviderServer
