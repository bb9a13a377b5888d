"""A LangChain chat model as a `Model`, made by name or given."""

from collections.abc import AsyncIterator
from typing import Any

from langchain_core.messages import BaseMessage
from msgspec.structs import replace

from palaver.domain.errors import ConfigurationError, InvalidRequest
from palaver.providers import catalogue
from palaver.providers.base import ModelInfo, ModelRequest, ToolSpec
from palaver.providers.langchain.failures import text_of as said
from palaver.providers.langchain.history import history
from palaver.providers.langchain.options import options, tool, tool_choice
from palaver.providers.langchain.quiet import quieted
from palaver.providers.langchain.recognise import OPENAI, Spoken, recognised
from palaver.providers.langchain.stream import LangChainStream
from palaver.providers.openai_request import Server
from palaver.settings import Clocks

_CLOCKS = Clocks()


class LangChainModel:
    """A `Model` on any chat model. `name` defaults to `langchain:provider:model`."""

    def __init__(
        self,
        model: Any,
        *,
        name: str = "",
        info: ModelInfo | None = None,
        clocks: Clocks = _CLOCKS,
    ) -> None:
        if isinstance(model, str):
            name = name or f"langchain:{model.removeprefix('langchain:')}"
            model = named(model.removeprefix("langchain:"))
        self.spoken: Spoken = recognised(model)
        self.clocks = clocks
        self.tells_its_end = self.spoken.tells_its_end
        """Whether a whole answer of this model has a stop reason; learnt where it is not known."""
        self._model, self._close = quieted(model, self.spoken, clocks)
        known = name.removeprefix("langchain:") or f"{self.spoken.provider}:{self.spoken.model}"
        self._info = info or replace(catalogue.info(known), name=f"langchain:{known}")
        self._tools: tuple[tuple[ToolSpec, ...], str, Any] = ((), "", None)

    def __repr__(self) -> str:
        return f"LangChainModel({self.name!r}, wire={self.spoken.wire.value!r})"

    @property
    def name(self) -> str:
        """`langchain:provider:model`, or the name that was given."""
        return self._info.name

    @property
    def info(self) -> ModelInfo:
        """What is known about the model behind LangChain."""
        return self._info

    def stream(self, request: ModelRequest) -> LangChainStream:
        """Begin an attempt; nothing is sent before the first step of the iteration."""
        return LangChainStream(self, request)

    async def aclose(self) -> None:
        """Close the connections, unless the model came with an HTTP client of its user's."""
        if self._close is not None:
            await self._close()

    async def chunks(self, request: ModelRequest) -> AsyncIterator[BaseMessage]:
        """LangChain's stream for the request. Raises ProviderError for what cannot be asked."""
        messages = await history(request, self.spoken, self._info)
        arguments = options(self._model, request, self.spoken, self._info)
        bound = self._bound(request)
        if bound is not None:
            return bound.astream(messages, **arguments)  # type: ignore[no-any-return]
        return self._model.astream(messages, **arguments)  # type: ignore[no-any-return]

    def _bound(self, request: ModelRequest) -> Any:
        """The model with the request's tools; made anew only when they change."""
        if not request.tools:
            return None
        choice = request.settings.tool_choice
        if self._tools[0] is not request.tools or self._tools[1] != choice:
            wire = self.spoken.wire
            tools = [tool(spec, wire) for spec in request.tools]
            chosen = tool_choice(choice, wire, self.spoken.model)
            more = {} if chosen is None else {"tool_choice": chosen}
            try:
                bound = self._model.bind_tools(tools, **more)
            except NotImplementedError:
                raise InvalidRequest(
                    f"{self.name} cannot use tools: its LangChain class has no bind_tools",
                    hint="Register no tools, or use another model.",
                ) from None
            self._tools = (request.tools, choice, bound)
        return self._tools[2]


def named(name: str, *, key: str = "", address: str = "") -> Any:
    """The chat model `provider:model`. Raises ConfigurationError."""
    provider, _, model = name.partition(":")
    if not model:
        raise ConfigurationError(
            f"langchain:{name} does not name a model",
            hint="Write langchain:provider:model, for example langchain:mistralai:mistral-large.",
        )
    try:
        from langchain.chat_models import init_chat_model
    except ImportError:
        raise ConfigurationError(
            "models by name need the package langchain",
            hint="pip install langchain, and the package of the provider.",
        ) from None
    more: dict[str, Any] = {}
    if key or address:
        more["api_key"] = key or "none"  # servers on the own machine want none, the SDKs do
    if address:
        more["base_url"] = address
    if provider == "openai":
        more["use_responses_api"] = Server(address or OPENAI).is_openai
    try:
        return init_chat_model(model, model_provider=provider, **more)
    except ImportError as error:
        package = f"langchain-{provider.replace('_', '-')}"
        raise ConfigurationError(
            f"langchain:{name} needs another package: {said(error)}",
            hint=f"pip install {package}",
        ) from error
    except Exception as error:
        raise ConfigurationError(
            f"langchain:{name} cannot be made: {said(error)}",
            hint="Check the provider's name and its API key in the environment.",
        ) from error
