"""Branches over HTTP: going back, forth and aside. What is left behind stays as a branch."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from msgspec import UNSET, UnsetType
from starlette.responses import Response

from palaver.domain.ids import ConversationId, MessageId
from palaver.domain.messages import Message
from palaver.server.conversations import LINKS, Conversation, made
from palaver.server.core import Reader, Writer
from palaver.server.errors import about_the_state
from palaver.server.given import AnyId, Content, GivenOutput, GivenTool, Line, Said, said, tools_of
from palaver.server.paging import Cursor, Limit, sliced
from palaver.server.schema import STORED, answers, body, either, read, reply
from palaver.server.turns import Accept, Wait, answered, check_taking, is_streamed, opening
from palaver.service.branching import Branch
from palaver.service.output import shape_of
from palaver.service.redaction import RedactionReceipt

router = APIRouter(tags=["branches"])


class BranchPage(msgspec.Struct, frozen=True):
    """Branches by their last message, the active one first."""

    items: tuple[Branch, ...]
    cursor: str | None = None


class Moved(msgspec.Struct, frozen=True):
    """Where the conversation goes on now."""

    conversation: ConversationId
    head: MessageId | None
    """The last message; null at the beginning."""
    messages: int
    undone: Message | None = None
    """The question that an undo went back before."""


class Fork(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the two part: behind this message, else at the end."""

    at: AnyId | None = None


class Switch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A message of the branch that is to be talked on."""

    message: AnyId


@either("text", "content")
class Edit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is said instead."""

    text: Said | UnsetType = UNSET
    content: Content | UnsetType = UNSET
    output: GivenOutput | None = None
    client_tools: tuple[GivenTool, ...] = ()
    own_tools: bool = True
    stream: bool = False


class Again(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which question is to be answered again: this one, or the one that this message answers; else
    the last one."""

    message: AnyId | None = None
    output: GivenOutput | None = None
    client_tools: tuple[GivenTool, ...] = ()
    own_tools: bool = True
    stream: bool = False


class Redaction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why, for the record."""

    note: Line = ""


def _moving() -> dict[int | str, dict[str, Any]]:
    return answers(200, Moved, "It goes on there.", errors=(404, 409, *STORED))


@router.get(
    "/conversations/{conversation}/branches",
    responses=answers(200, BranchPage, "A page.", errors=(404,)),
    response_model=None,
)
async def list_branches(
    caller: Reader, conversation: str, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """All branches of a conversation."""
    handle = await caller.manager.open(conversation)
    return reply(BranchPage(*sliced(handle.branches(), limit=limit, cursor=cursor)))


@router.post(
    "/conversations/{conversation}/fork",
    status_code=201,
    openapi_extra=body(Fork, example={"at": "msg_01k0c8a"}, required=False),
    responses=answers(
        201,
        Conversation,
        "The new conversation.",
        errors=(404, 409, *STORED),
        location="The new conversation.",
        links=LINKS,
    ),
    response_model=None,
)
async def fork_conversation(request: Request, caller: Writer, conversation: str) -> Response:
    """A new conversation that shares this one's history. Nothing is copied."""
    wanted = await read(request, Fork, default=Fork())
    return made(await caller.manager.fork(conversation, at=wanted.at))


@router.post("/conversations/{conversation}/undo", responses=_moving(), response_model=None)
async def undo(caller: Writer, conversation: str) -> Response:
    """Go back before the last question. 409 where there is none."""
    handle = await caller.manager.open(conversation)
    with about_the_state():
        question = await handle.undo()
    return reply(_moved(handle, question))


@router.post("/conversations/{conversation}/redo", responses=_moving(), response_model=None)
async def redo(caller: Writer, conversation: str) -> Response:
    """Take the last undo back. 409 where there is none."""
    handle = await caller.manager.open(conversation)
    with about_the_state():
        await handle.redo()
    return reply(_moved(handle))


@router.post(
    "/conversations/{conversation}/switch",
    openapi_extra=body(Switch, example={"message": "msg_01k0c8a"}),
    responses=_moving(),
    response_model=None,
)
async def switch_branch(request: Request, caller: Writer, conversation: str) -> Response:
    """Go on with another branch, at its end."""
    wanted = await read(request, Switch)
    handle = await caller.manager.open(conversation)
    await handle.switch(wanted.message)
    return reply(_moved(handle))


def _moved(handle: Any, undone: Message | None = None) -> Moved:
    state = handle.state
    head = None if state.last is None else state.last.id
    return Moved(state.id, head, len(state.messages), undone)


@router.post(
    "/conversations/{conversation}/messages/{message}/edit",
    status_code=202,
    openapi_extra=body(Edit, example={"text": "What is 17 * 24?"}),
    responses=opening(),
    response_model=None,
)
async def edit_message(
    request: Request,
    caller: Writer,
    conversation: str,
    message: str,
    wait: Wait = None,
    accept: Accept = None,
) -> Response:
    """Say something else in place of an earlier question, in a branch beside it. Answers as the
    start of a turn does."""
    wanted = await read(request, Edit)
    instead = await said(caller, wanted)
    output = None if wanted.output is None else wanted.output.checked()
    check_taking(caller)
    handle = await caller.manager.open(conversation)
    session = await handle.edit(
        message,
        instead,
        output=output,
        client_tools=tools_of(wanted.client_tools),
        own_tools=wanted.own_tools,
    )
    stream = is_streamed(accept, wanted.stream)
    return await answered(caller, session, stream=stream, wait=wait, shape=shape_of(output))


@router.post(
    "/conversations/{conversation}/regenerate",
    status_code=202,
    openapi_extra=body(Again, example={"stream": False}, required=False),
    responses=opening(),
    response_model=None,
)
async def regenerate(
    request: Request,
    caller: Writer,
    conversation: str,
    wait: Wait = None,
    accept: Accept = None,
) -> Response:
    """Answer a question again, in a branch beside the old answer. Answers as the start of a turn
    does."""
    wanted = await read(request, Again, default=Again())
    output = None if wanted.output is None else wanted.output.checked()
    check_taking(caller)
    handle = await caller.manager.open(conversation)
    with about_the_state():
        session = await handle.regenerate(
            wanted.message,
            output=output,
            client_tools=tools_of(wanted.client_tools),
            own_tools=wanted.own_tools,
        )
    stream = is_streamed(accept, wanted.stream)
    return await answered(caller, session, stream=stream, wait=wait, shape=shape_of(output))


@router.post(
    "/conversations/{conversation}/messages/{message}/redact",
    openapi_extra=body(Redaction, example={"note": "Asked for by the customer."}, required=False),
    responses=answers(200, RedactionReceipt, "What was erased.", errors=(404, 409, *STORED)),
    response_model=None,
)
async def redact_message(
    request: Request, caller: Writer, conversation: str, message: str
) -> Response:
    """Erase what a message says, everywhere, for ever: log, search, streams, forks, files."""
    wanted = await read(request, Redaction, default=Redaction())
    handle = await caller.manager.open(conversation)
    return reply(await handle.redact(message, note=wanted.note))
