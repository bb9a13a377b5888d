"""Which kind a message is. LangChain is imported only when one of its objects has come in."""

from collections.abc import Mapping

from palaver.context.kinds import Foreign, Kind
from palaver.context.kinds_openai import dictionaries, fields_of
from palaver.context.kinds_own import OWN
from palaver.domain.errors import InvalidInput
from palaver.domain.messages import Message


def kind_of(foreign: Foreign) -> Kind:
    """The kind of a message. Raises InvalidInput for what is none."""
    if isinstance(foreign, Message):
        return OWN
    if isinstance(foreign, Mapping):
        return dictionaries(foreign)
    if any(base.__module__.startswith("langchain_core.") for base in type(foreign).__mro__):
        from palaver.context.kinds_langchain import LANGCHAIN

        return LANGCHAIN
    if hasattr(foreign, "role") and hasattr(foreign, "model_dump"):
        return dictionaries(fields_of(foreign))  # an object of a provider's client
    raise InvalidInput(
        f"a {type(foreign).__name__} is no message",
        hint="Pass dictionaries with `role` and `content`, LangChain's messages or Palaver's.",
    )
