"""`@tool`: a function becomes a tool, described by its own signature and docstring.

    @tool(effect="read")
    async def weather(city: str, days: int = 1) -> str:
        '''Forecast for a city.

        Args:
            city: Its name in English.
        '''

The result is a `Tool` for a ToolManager, and still the function for everybody else.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Generic, Literal, ParamSpec, TypeAlias, TypeVar, overload

import msgspec

from palaver.domain.errors import InvalidInput
from palaver.domain.values import Effect
from palaver.tools.definition import ExecutionContext, Tool, ToolDefinition, ToolRetryPolicy
from palaver.tools.signature import Signature, inspect_function
from palaver.tools.threads import in_thread

P = ParamSpec("P")
R = TypeVar("R")
EffectName: TypeAlias = Effect | Literal["read", "idempotent", "effect"]


class FunctionTool(Tool, Generic[P, R]):
    """A function with the definition read from it. Calling it calls the function."""

    def __init__(
        self, function: Callable[P, R], definition: ToolDefinition, signature: Signature
    ) -> None:
        super().__init__(definition)
        self._signature = signature
        self._function = function
        self._is_async = _is_async(function)
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself, without validation or bounds."""
        return self._function(*args, **kwargs)

    async def execute(self, arguments: dict[str, Any], context: ExecutionContext) -> Any:
        """Run the function: awaited when it is async, in a thread when it blocks."""
        values = self._signature.convert(arguments)
        name = self._signature.context
        if self._is_async:
            value: Any = self._bound(values, name, context)()
        else:
            value = await in_thread(self._bound(values, name, _for_thread(context)))
        # A plain function may hand out a coroutine (a wrapper around one, for example).
        return await value if inspect.isawaitable(value) else value

    def _bound(
        self, values: dict[str, Any], name: str | None, context: ExecutionContext
    ) -> Callable[[], Any]:
        if name is not None:
            values = values | {name: context}
        return functools.partial(self._function, **values)


@overload
def tool(function: Callable[P, R], /) -> FunctionTool[P, R]: ...


@overload
def tool(
    *,
    effect: EffectName | None = None,
    name: str | None = None,
    description: str | None = None,
    timeout_s: float | None = None,
    argument_hint: str | None = None,
    is_hidden: bool = False,
    is_exclusive: bool = False,
    needs_approval: bool | None = None,
    retry_policy: ToolRetryPolicy | None = None,
) -> Callable[[Callable[P, R]], FunctionTool[P, R]]: ...


def tool(
    function: Callable[P, R] | None = None,
    /,
    *,
    effect: EffectName | None = None,
    name: str | None = None,
    description: str | None = None,
    timeout_s: float | None = None,
    argument_hint: str | None = None,
    is_hidden: bool = False,
    is_exclusive: bool = False,
    needs_approval: bool | None = None,
    retry_policy: ToolRetryPolicy | None = None,
) -> FunctionTool[P, R] | Callable[[Callable[P, R]], FunctionTool[P, R]]:
    """A tool from a function; `@tool` and `@tool(effect="read", …)` both work.

    Without an effect, or with an unknown one, the tool counts as `effect`: it asks before it runs.
    Raises InvalidInput for a signature that cannot be described to a model.
    """

    def decorate(target: Callable[P, R]) -> FunctionTool[P, R]:
        _check(target)
        signature = inspect_function(target)
        title = name if name is not None else str(getattr(target, "__name__", ""))
        hint = " ".join(
            f"<{p.name}>" if p.is_required else f"[{p.name}]" for p in signature.parameters
        )
        definition = ToolDefinition(
            name=title,
            description=description or signature.summary or title.replace("_", " "),
            parameters_schema=signature.schema,
            is_hidden=is_hidden,
            argument_hint=hint if argument_hint is None else argument_hint,
            timeout_s=timeout_s,
            retry_policy=retry_policy or ToolRetryPolicy(),
            effect=_effect(effect),
            is_exclusive=is_exclusive,
            needs_approval=needs_approval,
        )
        return FunctionTool(target, definition, signature)

    return decorate if function is None else decorate(function)


def _check(target: Any) -> None:
    if isinstance(target, Tool):
        raise InvalidInput(f"{target.definition.name} is a tool already")
    if not callable(target) or isinstance(target, type):
        raise InvalidInput(f"only a function can become a tool, not {target!r}")
    if not hasattr(target, "__name__"):
        raise InvalidInput(f"{target!r} has no name; wrap it in a function")
    if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
        raise InvalidInput(
            f"{target.__name__}: a generator cannot be a tool; return the whole value",
            hint="Use `context.progress` for what should be seen on the way.",
        )


def _effect(name: EffectName | None) -> Effect:
    try:
        return Effect(name) if name is not None else Effect.EFFECT
    except ValueError:
        return Effect.EFFECT


def _is_async(function: Callable[..., Any]) -> bool:
    return any(map(inspect.iscoroutinefunction, (function, inspect.unwrap(function))))


def _for_thread(context: ExecutionContext) -> ExecutionContext:
    """The same context, whose `progress` may be called from any thread."""
    import asyncio

    loop, progress = asyncio.get_running_loop(), context.progress

    def tell(text: str, fraction: float | None = None) -> None:
        loop.call_soon_threadsafe(progress, text, fraction)

    return msgspec.structs.replace(context, progress=tell)
