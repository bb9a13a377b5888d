"""A chat model made quiet: one attempt, our clocks, connections that can be closed.

The given object is never changed: a copy of it talks. Its SDK makes one attempt (the engine owns
retries) and its read timeout lies behind our clocks. LangChain lends all models of a process the
same HTTP clients, which nobody may close and which break when another event loop uses them; unless
the user brought a client or a proxy, the copy gets one of its own.
"""

import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from palaver.providers.langchain.recognise import Spoken, Wire
from palaver.settings import Clocks

Close: TypeAlias = Callable[[], Awaitable[None]]
_CUSTOM = ("http_async_client", "http_client", "openai_proxy", "anthropic_proxy")


def quieted(model: Any, spoken: Spoken, clocks: Clocks) -> tuple[Any, Close | None]:
    """The copy, and what closes its connections if they are its own."""
    fields = getattr(type(model), "model_fields", {})
    copy = model.model_copy(
        update={name: value for name, value in _wanted(spoken).items() if name in fields}
    )
    place = "_async_client" if spoken.wire is Wire.ANTHROPIC else "root_async_client"
    client = None if spoken.wire is Wire.PLAIN else getattr(model, place, None)
    if not hasattr(client, "with_options"):
        return copy, None
    http = _own_http(model, client)
    client = _patient(client, clocks, http)
    # For ChatAnthropic a cached property, so this is where the copy looks for it.
    copy.__dict__[place] = client
    if spoken.wire is not Wire.ANTHROPIC:
        copy.__dict__["async_client"] = client.chat.completions
    return copy, None if http is None else http.aclose


def _wanted(spoken: Spoken) -> dict[str, Any]:
    if spoken.wire is Wire.PLAIN:
        return {"max_retries": 0}
    is_responses = spoken.wire is Wire.RESPONSES
    return {
        "max_retries": 0,
        "stream_usage": True,
        # Ours fires on silence, too, and knows the settings.
        "stream_chunk_timeout": None,
        "output_version": "responses/v1" if is_responses else "v0",
        "use_responses_api": is_responses,
    }


def _own_http(model: Any, client: Any) -> Any:
    """A new HTTP client of the kind that the SDK makes itself; None where the user chose one."""
    if any(getattr(model, name, None) is not None for name in _CUSTOM):
        return None
    make = getattr(_sdk(client), "DefaultAsyncHttpxClient", None)
    return None if make is None else make(base_url=client.base_url)


def _patient(client: Any, clocks: Clocks, http: Any) -> Any:
    """The SDK's client without retries and with our bounds."""
    make = getattr(_sdk(client), "Timeout", None)
    silence_s = max(clocks.first_token_s, clocks.idle_s) + 1.0
    timeout = silence_s if make is None else make(silence_s, connect=clocks.connect_s)
    more = {} if http is None else {"http_client": http}
    return client.with_options(max_retries=0, timeout=timeout, **more)


def _sdk(client: Any) -> Any:
    return sys.modules.get(type(client).__module__.partition(".")[0])
