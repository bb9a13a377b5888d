"""The outbox over HTTP: what waits until a model can be reached."""

import msgspec
from fastapi import APIRouter, Request
from msgspec import UNSET, UnsetType
from starlette.responses import Response

from palaver.domain.ids import ConversationId, MessageId
from palaver.domain.messages import Message
from palaver.domain.outbox import QueuedPrompt, find
from palaver.server.core import Reader, Writer
from palaver.server.given import Content, Said, said
from palaver.server.paging import Cursor, Limit, sliced
from palaver.server.schema import STORED, answers, body, either, link, read, reply
from palaver.server.turns import LINKS, AcceptedTurn, answered, check_taking

router = APIRouter(tags=["outbox"])


class Prompt(msgspec.Struct, frozen=True):
    """What will be said when a model can be reached."""

    id: MessageId
    conversation: ConversationId
    message: Message
    idempotency_key: str | None
    reason: str
    """Code of the error that kept it."""

    @classmethod
    def of(cls, conversation: ConversationId, queued: QueuedPrompt) -> "Prompt":
        """As it is shown."""
        return cls(queued.id, conversation, queued.message, queued.idempotency_key, queued.reason)


class PromptPage(msgspec.Struct, frozen=True):
    """Prompts that wait, in the order in which those of one conversation are sent."""

    items: tuple[Prompt, ...]
    cursor: str | None = None


@either("text", "content")
class PromptChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be said instead."""

    text: Said | UnsetType = UNSET
    content: Content | UnsetType = UNSET


@router.get("/outbox", responses=answers(200, PromptPage, "A page."), response_model=None)
async def list_outbox(caller: Reader, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """What waits in all conversations, the longest unchanged first."""
    waiting = await caller.manager.outbox()
    prompts = [Prompt.of(w.conversation, p) for w in waiting for p in w.prompts]
    return reply(PromptPage(*sliced(prompts, limit=limit, cursor=cursor)))


PROMPT_LINKS = {
    operation: link(
        operation,
        conversation="$request.path.conversation",
        prompt="$response.body#/items/0/id",
    )
    for operation in ("edit_prompt", "withdraw_prompt")
}


@router.get(
    "/conversations/{conversation}/outbox",
    responses=answers(200, PromptPage, "A page.", errors=(404,), links=PROMPT_LINKS),
    response_model=None,
)
async def list_prompts(
    caller: Reader, conversation: str, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """What waits in one conversation."""
    handle = await caller.manager.open(conversation)
    prompts = [Prompt.of(handle.id, prompt) for prompt in handle.outbox]
    return reply(PromptPage(*sliced(prompts, limit=limit, cursor=cursor)))


@router.patch(
    "/conversations/{conversation}/outbox/{prompt}",
    openapi_extra=body(PromptChange, example={"text": "And on Monday?"}),
    responses=answers(200, Prompt, "As it waits now.", errors=(404, 409, *STORED)),
    response_model=None,
)
async def edit_prompt(request: Request, caller: Writer, conversation: str, prompt: str) -> Response:
    """Let a prompt that waits say something else."""
    wanted = await read(request, PromptChange)
    instead = await said(caller, wanted)
    handle = await caller.manager.open(conversation)
    await handle.outbox.edit(prompt, instead)
    changed = find(handle.outbox.prompts, MessageId(prompt))
    assert changed is not None  # nothing was awaited since
    return reply(Prompt.of(handle.id, changed))


@router.delete(
    "/conversations/{conversation}/outbox/{prompt}",
    status_code=204,
    responses=answers(204, None, "It is never sent.", errors=(404, 409, *STORED)),
    response_model=None,
)
async def withdraw_prompt(caller: Writer, conversation: str, prompt: str) -> Response:
    """Take a prompt back."""
    handle = await caller.manager.open(conversation)
    await handle.outbox.withdraw(prompt)
    return Response(status_code=204)


@router.post(
    "/conversations/{conversation}/send-outbox",
    status_code=202,
    responses=answers(
        202,
        AcceptedTurn,
        "The first prompt is being sent.",
        errors=(404, 409, *STORED),
        location="The turn's events.",
        links=LINKS,
    )
    | {204: {"description": "Nothing waits."}},
    response_model=None,
)
async def send_outbox(caller: Writer, conversation: str) -> Response:
    """Send the first prompt now, whatever is known of the model. When nobody can be reached, it
    waits on."""
    check_taking(caller)
    handle = await caller.manager.open(conversation)
    session = await handle.outbox.send()
    if session is None:
        return Response(status_code=204)
    return await answered(caller, session)
