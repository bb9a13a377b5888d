"""Which wire a chat model speaks, told by its classes: adapters of one wire share their quirks."""

from enum import StrEnum
from typing import Any

import msgspec

from palaver.providers.anthropic_answer import ORIGIN as ANTHROPIC
from palaver.providers.openai_chat import ORIGIN as CHAT
from palaver.providers.openai_request import Server
from palaver.providers.openai_responses import ORIGIN as RESPONSES

OPENAI = "https://api.openai.com/v1"


class Wire(StrEnum):
    """What is behind a chat model. `PLAIN`: something else, known by LangChain's part only."""

    ANTHROPIC = ANTHROPIC
    CHAT = CHAT
    RESPONSES = RESPONSES
    PLAIN = "langchain"


class Spoken(msgspec.Struct, frozen=True):
    """What was recognised. `origin` marks blocks that only their maker may get back."""

    wire: Wire
    provider: str
    """As in `init_chat_model`: `anthropic`, `openai`, `google_genai` …"""
    model: str
    origin: str
    host: str = ""

    @property
    def is_home(self) -> bool:
        """Whether it goes to the company whose wire it is."""
        if self.provider not in ("anthropic", "openai"):
            return False
        return not self.host or self.host in ("api.anthropic.com", "api.openai.com")

    @property
    def tells_its_end(self) -> bool:
        """Whether a whole answer always has a stop reason."""
        return self.wire is not Wire.PLAIN


def recognised(model: Any) -> Spoken:
    """What kind of chat model this is."""
    classes = {c.__name__ for c in type(model).__mro__}
    provider = type(model).__module__.partition(".")[0].removeprefix("langchain_")
    name = _first(model, "model", "model_name", "model_id") or type(model).__name__
    if "ChatAnthropic" in classes:
        host = Server(_first(model, "anthropic_api_url")).host
        return Spoken(Wire.ANTHROPIC, provider, name, ANTHROPIC, host)
    if "BaseChatOpenAI" not in classes:
        return Spoken(Wire.PLAIN, provider, name, f"langchain.{provider}")
    server = Server(_first(model, "openai_api_base") or OPENAI)
    if not _uses_responses(model, name):
        return Spoken(Wire.CHAT, provider, name, CHAT, server.host)
    # The same names as the native adapter's, so that a conversation may move between the two.
    origin = RESPONSES if server.is_openai else f"{RESPONSES}@{server.host}"
    return Spoken(Wire.RESPONSES, provider, name, origin, server.host)


def _uses_responses(model: Any, name: str) -> bool:
    chosen = getattr(model, "use_responses_api", None)
    # LangChain sends this family to Responses as soon as there are tools.
    return bool(chosen) if chosen is not None else name.lower().startswith("gpt-6")


def _first(model: Any, *names: str) -> str:
    """The first of the attributes that is a text and not empty."""
    for name in names:
        value = getattr(model, name, None)
        if isinstance(value, str) and value:
            return value
    return ""
