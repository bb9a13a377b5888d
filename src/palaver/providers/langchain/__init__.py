"""Every chat model that LangChain knows, as a `Model`. Nothing of LangChain is imported before use.

recognise.py   which wire a chat model speaks, and whether an object is one at all
model.py       the Model: names and objects
quiet.py       no retries, our clocks, connections of its own
stream.py      one attempt: reading, clocks, closing
chunks.py      LangChain's chunks become events and blocks (pieces.py joins what was cut)
endings.py     stop reasons and usage
history.py     our messages become LangChain's (history_openai.py, history_plain.py)
options.py     tools, settings and schemas as keyword arguments
failures.py    what LangChain, the SDKs and httpx2 raise, as typed errors

LangChain's adapters lose some of the wire; docs/reference/langchain-deviations.md lists what.
"""

from typing import Any

from palaver.providers.base import Model
from palaver.settings import Settings

_BASE = ("langchain_core.language_models.chat_models", "BaseChatModel")


def is_chat_model(value: Any) -> bool:
    """Whether `value` is a LangChain chat model. Imports nothing."""
    return any((c.__module__, c.__name__) == _BASE for c in type(value).__mro__)


def langchain_model(name: str, key: str, address: str, settings: Settings) -> Model:
    """The model `provider:model` by LangChain's `init_chat_model`.

    An empty key or address leaves LangChain's own variables in force. Raises ConfigurationError
    when a package or the key is missing.
    """
    from palaver.providers.langchain.model import LangChainModel, named

    model = named(name, key=key, address=address)
    return LangChainModel(model, name=f"langchain:{name}", clocks=settings.clocks)


def adopted(value: Any, settings: Settings) -> Model:
    """A chat model object as a Model. The object itself is left as it is."""
    from palaver.providers.langchain.model import LangChainModel

    return LangChainModel(value, clocks=settings.clocks)
