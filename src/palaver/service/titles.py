"""Titles: from what was said, or from a model that has read it."""

import re

from palaver.domain.errors import ProviderError, StreamTruncated
from palaver.domain.events import SideRequestMade
from palaver.domain.messages import Flag, Message, Role
from palaver.domain.state import ConversationState
from palaver.domain.values import GenerationSettings, Usage
from palaver.engine.chain import endpoint
from palaver.providers.base import Finished, Model, ModelRequest
from palaver.recovery.manager import ErrorRecoveryManager

LONGEST = 60
_ASKED = (
    "Give this conversation a title of at most six words, in its own language. "
    "Answer with the title alone."
)
_SENTENCE = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])\s+|\n")
_EXCERPT = 2_000
"""Characters of each message that the model reads; a title needs no more."""


def extractive_title(state: ConversationState) -> str:
    """The first sentence of the first user message, at most 60 characters; empty where there is
    no text."""
    for message in state.messages:
        if Flag.REDACTED in message.flags:
            continue
        if message.role is Role.USER and message.text.strip():
            return shortened(_SENTENCE.split(message.text.strip())[0])
    return ""


def shortened(text: str) -> str:
    """`text` on one line, cut at a word, without quotes and marks of Markdown around it."""
    line = " ".join(text.split()).strip("\"'*_#` .")
    if len(line) <= LONGEST:
        return line
    cut = line[: LONGEST - 1]
    word, space, _ = cut.rpartition(" ")
    return (
        word if space and len(word) > LONGEST // 2 else cut
    ).rstrip() + "\N{HORIZONTAL ELLIPSIS}"


async def model_title(
    model: Model, state: ConversationState, recovery: ErrorRecoveryManager
) -> tuple[str, SideRequestMade]:
    """A title by `model`, from the first question and its answer, and what it cost. Raises
    ProviderError, at once where a breaker leaves the model alone."""
    call = await recovery.admit_aside(endpoint(model))
    try:
        named = await _named_by(model, state)
    except ProviderError as failure:
        call.failed(failure)
        call.gave_up(failure)
        raise
    else:
        call.succeeded()
        return named
    finally:
        call.release()


async def _named_by(model: Model, state: ConversationState) -> tuple[str, SideRequestMade]:
    read = [Message(m.role, m.content) for m in state.messages[:2] if m.text]
    excerpt = "\n\n".join(f"{m.role}: {m.text[:_EXCERPT]}" for m in read)
    request = ModelRequest(
        messages=(Message.user(f"{excerpt}\n\n{_ASKED}"),),
        settings=GenerationSettings(max_tokens=200),
    )
    stream = model.stream(request)
    try:
        async for batch in stream:
            for event in batch:
                if isinstance(event, Finished):
                    said = "".join(getattr(block, "text", "") for block in event.content)
                    title, usage = shortened(said), event.usage or Usage(estimated=True)
                    made = SideRequestMade("title", model.name, usage, is_used=bool(title))
                    return title or extractive_title(state), made
    finally:
        await stream.aclose()
    raise StreamTruncated("the title had no end")
