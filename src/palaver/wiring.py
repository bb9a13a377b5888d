"""The one place that reads the environment and names concrete parts. `palaver.open` is its door."""

import asyncio
import hashlib
import os
import random
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from msgspec.structs import replace

from palaver import log
from palaver.domain.clock import Clock
from palaver.domain.errors import ConfigurationError
from palaver.domain.values import Scope, Usage, UserPreferences
from palaver.environment import (
    ADDRESSES,
    DEFAULT_ADDRESSES,
    KEYS,
    Environment,
    read_environment,
)
from palaver.providers.base import Model, ModelInfo
from palaver.service.manager import ConversationManager
from palaver.service.preferences import changed_preferences
from palaver.service.state import StateMiddleware
from palaver.settings import Settings
from palaver.store.base import BlobStore, ConversationStore
from palaver.system import SystemClock, import_later
from palaver.tools.definition import Keep, Tool
from palaver.tools.manager import ToolManager

if TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.messages import BaseMessage
    from langchain_core.tools import BaseTool

    from palaver.context.strategy import Strategy
    from palaver.recovery.manager import ErrorRecoveryManager

_SCOPE, _DEFAULTS = Scope(), UserPreferences()
MODELS = 256
"""That were named, and are kept."""


class Models:
    """Finds models by name, makes each once, and closes them all.

    Of those that were only named, `MODELS` are kept: callers of a server may name any number. One
    that nobody has named for long is closed when no turn can be using it any more.
    """

    def __init__(
        self,
        environment: Environment,
        *,
        default: "str | Model | BaseChatModel",
        clock: Clock | None = None,
    ) -> None:
        self._environment, self._clock = environment, clock or SystemClock()
        self._given: dict[str, Model] = {}
        self._named: OrderedDict[str, Model] = OrderedDict()
        self._left: deque[tuple[float, Model]] = deque()
        """Models that nobody finds any more, and when."""
        self._closing: set[asyncio.Task[None]] = set()
        self.default = self.adopt(default)

    def adopt(self, given: "str | Model | BaseChatModel") -> str:
        """The name under which a model that was given, or named, is found from now on."""
        if isinstance(given, str):
            return given
        from palaver.providers import langchain

        if langchain.is_chat_model(given):
            made = langchain.adopted(given, self._environment.settings)
        else:
            made = cast("Model", given)
        self._given[made.name] = made
        return made.name

    def __call__(self, name: str) -> Model:
        """The model called `name`, or the default for an empty name. Raises ConfigurationError."""
        name = name or self.default
        found = self._given.get(name) or self._named.get(name)
        if found is None:
            found = self._named[name] = self._make(name)
            self._make_room()
        elif name in self._named:
            self._named.move_to_end(name)
        return found

    def _make_room(self) -> None:
        now = self._clock.monotonic()
        if len(self._named) > MODELS:
            self._left.append((now, self._named.popitem(last=False)[1]))
        while self._left and self._left[0][0] + self._environment.settings.clocks.turn_s < now:
            task = asyncio.ensure_future(self._left.popleft()[1].aclose())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _make(self, name: str) -> Model:
        provider, _, model = name.partition(":")
        maker = _MAKERS.get(provider)
        if maker is None or (not model and provider != "offline"):
            raise ConfigurationError(
                f"there is no model {name!r}",
                hint="Name it provider:model, for example anthropic:claude-sonnet-4-5, "
                "openai:gpt-5-mini, or offline.",
            )
        whose = model.partition(":")[0] if provider == "langchain" else provider
        key = self._environment.keys.get(whose, "")
        address = self._environment.addresses.get(whose, "")
        if not key and not address and whose in KEYS:
            raise ConfigurationError(
                f"{name} needs an API key",
                hint=f"Set {KEYS[whose]}, or choose the model `offline`.",
            )
        where = address or DEFAULT_ADDRESSES.get(provider, "")
        if provider in ADDRESSES:
            _check_address(where, ADDRESSES[provider])
        return maker(model, key, where, self._environment.settings)

    async def aclose(self) -> None:
        """Close every model's connections."""
        left = (model for _, model in self._left)
        for model in (*self._given.values(), *self._named.values(), *left):
            await model.aclose()
        if self._closing:
            await asyncio.wait(self._closing)


def _check_address(address: str, variable: str) -> None:
    try:
        parts = urlsplit(address)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_good = False
    if not is_good:
        raise ConfigurationError(
            f"{address!r} is no address of a provider",
            hint=f"{variable} must look like https://api.example.org.",
        )


def _placed(info: ModelInfo, key: str, address: str) -> ModelInfo:
    """What is known of a model, and whom circuit breakers tell apart: where, and by which key."""
    fingerprint = hashlib.sha256(key.encode()).hexdigest()[:8] if key else ""
    return replace(
        info, address=urlsplit(address).netloc.rpartition("@")[2], credential=fingerprint
    )


def _anthropic(model: str, key: str, address: str, settings: Settings) -> Model:
    from palaver.providers import catalogue
    from palaver.providers.anthropic import AnthropicManager

    return AnthropicManager(
        model=model,
        api_key=key,
        info=_placed(catalogue.info(f"anthropic:{model}"), key, address),
        clocks=settings.clocks,
        base_url=address,
    )


def _openai(model: str, key: str, address: str, settings: Settings) -> Model:
    from palaver.providers import catalogue
    from palaver.providers.openai import OpenAIManager

    return OpenAIManager(
        model=model,
        api_key=key,
        info=_placed(catalogue.info(f"openai:{model}"), key, address),
        clocks=settings.clocks,
        base_url=address,
        background=settings.openai.background,
    )


def _langchain(model: str, key: str, address: str, settings: Settings) -> Model:
    from palaver.providers.langchain import langchain_model

    return langchain_model(model, key, address, settings)


def _offline(model: str, key: str, address: str, settings: Settings) -> Model:
    from palaver.providers.offline import OfflineModel

    return OfflineModel()


def _standing_in() -> Model:
    from palaver.providers.offline import OfflineModel

    return OfflineModel(stands_in=True)


_MAKERS: dict[str, Callable[[str, str, str, Settings], Model]] = {
    "anthropic": _anthropic,
    "openai": _openai,
    "langchain": _langchain,
    "offline": _offline,
}


async def _taken_in(said: object, keep: Keep) -> object:
    """A LangChain message as ours, its pictures and files in the blob store; all else as it is."""
    if not any(c.__module__.startswith("langchain_core.messages") for c in type(said).__mro__):
        return said
    from palaver.langchain import from_langchain, stored

    (message,) = await stored(from_langchain([cast("BaseMessage", said)]), keep)
    return message


def _price(model: str, usage: Any) -> float | None:
    from palaver.providers import catalogue

    return catalogue.price(model.removeprefix("langchain:"), usage)


class Parts:
    """What all managers of one process share. Made by `parts`."""

    def __init__(
        self,
        environment: Environment,
        *,
        models: Models,
        fallbacks: Sequence[str],
        store: ConversationStore,
        blobs: BlobStore,
        clock: Clock,
        recovery: "ErrorRecoveryManager | None" = None,
    ) -> None:
        from palaver.recovery.manager import ErrorRecoveryManager

        self.environment, self.settings = environment, environment.settings
        self.models, self.fallbacks = models, tuple(fallbacks)
        self.store, self.blobs, self.clock = store, blobs, clock
        self.recovery = recovery or ErrorRecoveryManager(
            clock=clock, chance=random.random, settings=self.settings
        )

    def manager(
        self,
        scope: Scope = _SCOPE,
        *,
        system: str | None = None,
        tools: "Sequence[Tool | Callable[..., Any] | BaseTool]" = (),
        builtin_tools: bool = False,
        folders: Sequence[str | os.PathLike[str]] | None = None,
        approvals: str = "ask",
        middleware: Sequence[StateMiddleware] = (),
        strategies: "Sequence[Strategy]" = (),
        owns_store: bool = False,
    ) -> ConversationManager:
        """Conversations of one scope; see `open`. Raises InvalidInput for tools that are none."""
        prompt = self.environment.system if system is None else system
        made = ConversationManager(
            store=self.store,
            blobs=self.blobs,
            model=self.models,
            tools=ToolManager(settings=self.settings.tools, limits=self.settings.turn),
            clock=self.clock,
            chance=random.random,
            price=_price,
            fallbacks=self.fallbacks,
            recovery=self.recovery,
            take_in=_taken_in,
            settings=self.settings,
            scope=scope,
            defaults=changed_preferences(_DEFAULTS, {"system": prompt, "approvals": approvals}),
            middleware=middleware,
            strategies=strategies,
            offline=_standing_in,
            owns_store=owns_store,
        )
        _register(made, tools, builtin_tools, folders, self.environment)
        return made

    def price(self, model: str, usage: Usage) -> float | None:
        """USD at list prices; None where nobody knows the model's."""
        return _price(model, usage)

    def passing(self, scope: Scope = _SCOPE) -> ConversationManager:
        """For conversations that nobody keeps: they are in memory, without tools of ours, and go
        with their manager, which costs a tenth of a millisecond to make.

        Their window is the model's own, and no model is paid for making one smaller.
        """
        from palaver.store.blobs import MemoryBlobStore
        from palaver.store.memory import MemoryStore

        context = replace(self.settings.context, window="auto", summaries="off")
        answers = replace(self.settings.answers, keep=0)
        return ConversationManager(
            store=MemoryStore(clock=self.clock),
            blobs=MemoryBlobStore(),
            model=self.models,
            tools=ToolManager(settings=self.settings.tools, limits=self.settings.turn),
            clock=self.clock,
            chance=random.random,
            price=_price,
            fallbacks=self.fallbacks,
            recovery=self.recovery,
            settings=replace(self.settings, context=context, answers=answers, titles="off"),
            scope=scope,
        )


@asynccontextmanager
async def parts(
    path: str | os.PathLike[str] | None = None,
    *,
    model: "str | Model | BaseChatModel | None" = None,
    fallbacks: "Sequence[str | Model | BaseChatModel] | None" = None,
    settings: Settings | None = None,
    store: ConversationStore | None = None,
    blobs: BlobStore | None = None,
    clock: Clock | None = None,
    environment: Environment | None = None,
    recovery: "ErrorRecoveryManager | None" = None,
) -> AsyncIterator[Parts]:
    """Make what managers share, for the arguments of `open`; at the end it is closed."""
    found = environment or read_environment()
    if settings is not None:
        found = replace(found, settings=settings)
    hidden = (*found.keys.values(), found.settings.server.metrics_token)
    log.configure(found.log or None, level=found.log_level, secrets=hidden)
    clock = clock or SystemClock()
    async with AsyncExitStack() as closing:
        models = Models(found, default=model or found.model, clock=clock)
        closing.push_async_callback(models.aclose)
        standing_in = [models.adopt(m) for m in _chosen(fallbacks, found)]
        for name in (models.default, *standing_in):
            models(name)  # a wrong name or a missing key is said now, not at a message
        is_own = store is None
        store, blobs = await _stores(path, found, store, blobs, clock)
        if is_own:
            closing.push_async_callback(store.close)
        if models.default.partition(":")[0] in KEYS:
            closing.callback(import_later("aiohttp").cancel)
        yield Parts(
            found,
            models=models,
            fallbacks=standing_in,
            store=store,
            blobs=blobs,
            clock=clock,
            recovery=recovery,
        )


@asynccontextmanager
async def open(
    path: str | os.PathLike[str] | None = None,
    *,
    model: "str | Model | BaseChatModel | None" = None,
    fallbacks: "Sequence[str | Model | BaseChatModel] | None" = None,
    system: str | None = None,
    tools: "Sequence[Tool | Callable[..., Any] | BaseTool]" = (),
    builtin_tools: bool = False,
    folders: Sequence[str | os.PathLike[str]] | None = None,
    approvals: str = "ask",
    settings: Settings | None = None,
    scope: Scope = _SCOPE,
    store: ConversationStore | None = None,
    blobs: BlobStore | None = None,
    clock: Clock | None = None,
    middleware: Sequence[StateMiddleware] = (),
    strategies: "Sequence[Strategy]" = (),
    environment: Environment | None = None,
    recovery: "ErrorRecoveryManager | None" = None,
) -> AsyncIterator[ConversationManager]:
    """Open conversations in a file (made if absent), or in memory for `path=":memory:"`.

    Without `path` they live in the data folder (PALAVER_HOME). `model` is a name or a Model;
    without it PALAVER_MODEL, then the provider with a key, then the offline responder. `fallbacks`
    (PALAVER_FALLBACKS) stand in, in their order, for a model that fails. `tools` are
    functions with `@tool`, plain functions or Tools; `builtin_tools` adds calculator, time, files
    (inside `folders`), fetch and search. LangChain's chat models and tools are taken as they are.
    Turns that a dead process left open are ended first, or run on (`turn.on_restart`).

    A `store` that is given here stays open at the end: whoever opened it closes it.

    Raises ConfigurationError, InvalidInput and StoreError; then nothing that was opened here stays
    open.
    """
    async with parts(
        path,
        model=model,
        fallbacks=fallbacks,
        settings=settings,
        store=store,
        blobs=blobs,
        clock=clock,
        environment=environment,
        recovery=recovery,
    ) as shared:
        manager = shared.manager(
            scope,
            system=system,
            tools=tools,
            builtin_tools=builtin_tools,
            folders=folders,
            approvals=approvals,
            middleware=middleware,
            strategies=strategies,
            owns_store=store is None,
        )
        try:
            if shared.settings.turn.on_restart != "leave":
                await manager.recover()
            if shared.settings.outbox.automatic:
                manager.keep_sending()
            yield manager
        finally:
            await manager.aclose()


def _chosen(
    given: "Sequence[str | Model | BaseChatModel] | None", environment: Environment
) -> "Sequence[str | Model | BaseChatModel]":
    return environment.fallbacks if given is None else given


async def _stores(
    path: str | os.PathLike[str] | None,
    environment: Environment,
    store: ConversationStore | None,
    blobs: BlobStore | None,
    clock: Clock,
) -> tuple[ConversationStore, BlobStore]:
    if store is None and path == ":memory:":
        from palaver.store.memory import MemoryStore

        store = MemoryStore(clock=clock)
    if blobs is None and path == ":memory:":
        from palaver.store.blobs import MemoryBlobStore

        blobs = MemoryBlobStore()
    file = _database_file(path, environment)
    if store is None:
        from palaver.store.sqlite import SqliteStore

        store = await SqliteStore.open(
            file, clock=clock, keep_runs=environment.settings.stream.keep_turns
        )
    if blobs is None:
        from palaver.store.blobs import FileBlobStore

        blobs = FileBlobStore(file.with_name(file.name + "-blobs"))
    return store, blobs


def _database_file(path: str | os.PathLike[str] | None, environment: Environment) -> Path:
    file = environment.home / "palaver.db" if path is None else Path(path).expanduser()
    if file.is_dir():
        raise ConfigurationError(f"{file} is a folder", hint="Name a file in it.")
    return file


def _register(
    manager: ConversationManager,
    tools: "Sequence[Tool | Callable[..., Any] | BaseTool]",
    builtin: bool,
    folders: Sequence[str | os.PathLike[str]] | None,
    environment: Environment,
) -> None:
    for tool in tools:
        manager.tools.register_tool(tool)
    if builtin:
        from palaver.tools.builtin import builtin_tools

        allowed = environment.folders if folders is None else [Path(f) for f in folders]
        for made in builtin_tools(folders=list(allowed), search=_search_port(manager)):
            if made.definition.name not in {
                d.name for d in manager.tools.definitions(include_hidden=True)
            }:
                manager.tools.register_tool(made)
    _register_recall(manager)


def _register_recall(manager: ConversationManager) -> None:
    """Whoever brings other tools, or none, can recall what a compaction took from the window."""
    from palaver.tools.builtin.recall import NAME, recall_tool

    if NAME not in {d.name for d in manager.tools.definitions(include_hidden=True)}:
        manager.tools.register_tool(recall_tool(only_compacted=True))


def _search_port(manager: ConversationManager) -> Any:
    async def search(scope: Scope, query: str, limit: int) -> Sequence[Any]:
        return await manager.search(query, limit=limit)

    return search
