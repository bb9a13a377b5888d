"""Any chat model of LangChain as the writer of summaries; its failures are values."""

import asyncio
import contextvars
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from langchain_core.exceptions import ContextOverflowError
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableConfig

from palaver.context.summary import Limits, SummaryAnswer, SummaryRequest
from palaver.context.tokens import text_tokens
from palaver.domain.errors import ContextOverflow
from palaver.domain.messages import StopReason
from palaver.domain.values import ErrorInfo, Usage

T = TypeVar("T")
_QUIET: RunnableConfig = {"tags": ["nostream"], "metadata": {"lc_source": "summarization"}}
"""Streams of the agent's messages do not show the summary as it is written."""
_STOPS = {
    "length": StopReason.MAX_TOKENS,
    "max_tokens": StopReason.MAX_TOKENS,
    "MAX_TOKENS": StopReason.MAX_TOKENS,
    "content_filter": StopReason.CONTENT_FILTER,
    "refusal": StopReason.REFUSAL,
    "SAFETY": StopReason.CONTENT_FILTER,
    "model_context_window_exceeded": StopReason.CONTEXT_FULL,
}


class ChatSummariser:
    """A `Summariser` over a chat model. `is_blocking`: asks it in the thread that it is called in,
    as a program without an event loop does."""

    def __init__(self, model: BaseChatModel, *, is_blocking: bool) -> None:
        self._model, self._is_blocking = model, is_blocking

    async def __call__(self, request: SummaryRequest) -> SummaryAnswer:
        """The answer, good or bad; errors are in it."""
        asked = [SystemMessage(request.system), HumanMessage(request.prompt)]
        try:
            if self._is_blocking:
                answer: BaseMessage = self._model.invoke(asked, _QUIET)
            else:
                answer = await self._model.ainvoke(asked, _QUIET)
        except ContextOverflowError as error:
            return _failed(ContextOverflow.code, error)
        except Exception as error:  # noqa: BLE001  # whatever a provider's package raises
            return _failed("provider_error", error)
        return _answered(request, answer)


def limits_of(model: BaseChatModel) -> Limits:
    """What LangChain knows of the model's window and output."""
    profile: Any = getattr(model, "profile", None) or {}
    return Limits(_number(profile, "max_input_tokens"), _number(profile, "max_output_tokens"))


def finished(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, waited for in a thread with a loop of its own: there may be one here
    that must not be entered twice."""
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(context.run, _run, work).result()


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def _number(profile: Any, name: str) -> int | None:
    value = profile.get(name) if isinstance(profile, dict) else None
    return value if isinstance(value, int) and value > 0 else None


def _failed(code: str, error: Exception) -> SummaryAnswer:
    return SummaryAnswer(error=ErrorInfo(code, f"{type(error).__name__}: {error}", "", False))


def _answered(request: SummaryRequest, answer: BaseMessage) -> SummaryAnswer:
    told: dict[str, Any] = answer.response_metadata
    reason = str(told.get("stop_reason") or told.get("finish_reason") or "")
    reported = answer.usage_metadata if isinstance(answer, AIMessage) else None
    text = str(answer.text)
    usage = (
        Usage(input=reported["input_tokens"], output=reported["output_tokens"])
        if reported
        else Usage(
            input=text_tokens(request.system) + text_tokens(request.prompt),
            output=text_tokens(text),
            estimated=True,
        )
    )
    has_reasoned = not isinstance(answer.content, str) and any(
        isinstance(part, dict) and part.get("type") in ("thinking", "reasoning")
        for part in answer.content
    )
    return SummaryAnswer(
        text=text,
        stop=_STOPS.get(reason, StopReason.END_TURN),
        usage=usage,
        model=str(told.get("model_name") or told.get("model") or ""),
        has_reasoned=has_reasoned,
    )
