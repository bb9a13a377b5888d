"""Which kind a message is. LangChain is imported only when one of its objects has come in."""

from collections.abc import Mapping

from palaver.context.kinds import Foreign, Kind
from palaver.context.kinds_openai import dictionaries
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
    raise InvalidInput(
        f"a {type(foreign).__name__} is no message",
        hint="Pass dictionaries with `role` and `content`, LangChain's messages or Palaver's.",
    )
