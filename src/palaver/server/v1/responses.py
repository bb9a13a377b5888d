"""/v1/responses: make one, follow it, find it again."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from palaver.domain.errors import Conflict
from palaver.domain.ids import MessageId
from palaver.domain.messages import File, Image, Message, ToolResult
from palaver.domain.state import ConversationState, tool_message_id
from palaver.domain.stream import TurnFailed, TurnInterrupted
from palaver.server.core import Caller, Reader, Writer
from palaver.server.schema import body, link, read, reply
from palaver.server.turns import check_taking
from palaver.server.v1.chat_answer import INTERRUPTED
from palaver.server.v1.errors import TURN, answers, failed
from palaver.server.v1.models import chosen
from palaver.server.v1.responses_about import NOTE, About, Note, Part
from palaver.server.v1.responses_events import ResponseEvents
from palaver.server.v1.responses_input import read_items
from palaver.server.v1.responses_items import ItemList, page
from palaver.server.v1.responses_log import (
    as_it_stands,
    end_of,
    find,
    given_to,
    path_to,
    streamed,
)
from palaver.server.v1.responses_shapes import DeletedObject, ResponseObject, ResponseRequest
from palaver.server.v1.streaming import (
    CLOSED,
    OpenAIStream,
    StreamResponse,
    TurnEnded,
    begun,
    error_chunk,
    unless_gone,
)
from palaver.server.v1.talk import Place, Talk, Wanted
from palaver.service.conversation import Conversation

router = APIRouter(tags=["openai"])
EXAMPLE = {"model": "default", "input": "What is 17 * 23?"}
_LINKS = {
    name: link(f"v1_{name}", response="$response.body#/id")
    for name in ("retrieve_response", "list_input_items", "cancel_response", "delete_response")
}
Limit = Annotated[int, Query(ge=1, le=100)]
Order = Literal["asc", "desc"]


@router.post(
    "/responses",
    openapi_extra=body(ResponseRequest, example=EXAMPLE),
    responses=answers(
        ResponseObject,
        "The response, or its events.",
        errors=(404, 409, *TURN),
        streams=True,
        links=_LINKS,
    ),
    response_model=None,
)
async def create_response(request: Request, caller: Writer) -> Response:
    """Have a model respond: at once, in a stream, or in the background."""
    asked = await read(request, ResponseRequest)
    asked.check()
    check_taking(caller)
    note = Note(
        asked.metadata or {},
        asked.previous_response_id,
        bool(asked.background),
        asked.truncation or "disabled",
    )
    wanted = _wanted(caller, asked, note)
    talk = await _talk(caller, asked, wanted)
    about = await _about(caller, talk, note)
    if asked.stream:
        chunks = _closing(talk, streamed(talk.session, about))
        return await _streaming(caller, chunks, talk.headers, is_kept=talk.is_kept)
    if asked.background:
        await talk.aclose()
        return reply(about.response("in_progress"), headers=talk.headers)
    return await _whole(request, talk, about)


def _wanted(caller: Caller, asked: ResponseRequest, note: Note) -> Wanted:
    return Wanted(
        chosen(caller.server.parts, asked.model),
        asked.sampling().preferences(),
        asked.client_tools(),
        asked.output.output("text.format"),
        note=(NOTE, note.encoded()) if asked.is_kept else None,
    )


async def _talk(caller: Caller, asked: ResponseRequest, wanted: Wanted) -> Talk:
    """The turn that makes the response: of a new conversation, of a named one, or behind another
    response."""
    place = Place(caller, is_kept=asked.is_kept)
    try:
        before = asked.previous_response_id
        goes_on = bool(before or asked.conversation_id)
        # What a client does not say again does not hold for the next response; a conversation's
        # own prompt does.
        told = asked.instructions or ("" if before else None)
        said = await read_items(asked.input, place.attach, instructions=told, goes_on=goes_on)
        if before and said.system is None:
            said = msgspec.structs.replace(said, system="")
        if before:
            opened, behind = await _behind(caller, before, said.messages)
            if place.is_kept:
                return await place.go_on(opened, said, wanted, is_new=True, behind=behind)
            path = opened.messages if behind is None else behind
            carried = [await _carried(caller, place, message) for message in path]
            said = msgspec.structs.replace(said, messages=(*carried, *said.messages))
            return await place.begin(said, wanted)
        if asked.conversation_id:
            opened = await caller.manager.open(asked.conversation_id)
            return await place.go_on(opened, said, wanted, is_new=True)
        return await place.begin(said, wanted)
    except BaseException:
        await place.aclose()
        raise


async def _behind(
    caller: Caller, response: str, new: Sequence[Message]
) -> tuple[Conversation, Sequence[Message] | None]:
    """The conversation of a response, and the path to its end; None where that is the end of the
    conversation."""
    part = Part.of(response)
    opened = await caller.manager.open((await caller.manager.turn(part.turn)).conversation)
    end = await end_of(caller, opened.state, part)
    results = tool_message_id(end)
    last = opened.state.last
    if last is not None and last.id in (end, results):
        is_waiting = opened.state.turn is not None
        if is_waiting or not new[0].tool_results:
            return opened, None
    if not new[0].tool_results and _has(opened.state, results):
        end = results
    return opened, path_to(opened.state, end)


def _has(state: ConversationState, id: MessageId) -> bool:
    paths = (state.messages, *(tail.messages for tail in state.aside))
    return any(message.id == id for path in paths for message in path)


async def _carried(caller: Caller, place: Place, message: Message) -> Message:
    """A message of the store for a conversation in memory, with its pictures and files."""

    async def copied(block: Image | File) -> Image | File:
        if block.blob is None:
            return block
        data = await caller.manager.read_blob(block.blob)
        return await place.attach(data, block.media_type, block.name)

    blocks = list(message.content)
    for number, block in enumerate(blocks):
        if isinstance(block, Image | File):
            blocks[number] = await copied(block)
        elif isinstance(block, ToolResult):
            content = [await copied(b) if isinstance(b, Image | File) else b for b in block.content]
            blocks[number] = msgspec.structs.replace(block, content=tuple(content), full=None)
    return msgspec.structs.replace(message, content=tuple(blocks))


async def _about(caller: Caller, talk: Talk, note: Note) -> About:
    record = await talk.manager.store.turn(caller.principal.scope, talk.turn)
    preferences = talk.conversation.state.preferences
    return About(
        part=Part(talk.turn, talk.part),
        created_at=int(record.started_at),
        model=preferences.model or caller.server.parts.models.default,
        preferences=preferences,
        tools=talk.tools,
        output=talk.output,
        note=note,
        conversation=talk.conversation.id if talk.is_kept else None,
    )


async def _closing(talk: Talk, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in chunks:
            yield chunk
    finally:
        await chunks.aclose()
        await talk.aclose()


async def _streaming(
    caller: Caller, chunks: AsyncGenerator[bytes, None], headers: dict[str, str], *, is_kept: bool
) -> Response:
    """A stream. One that is kept ends without a last word where the server ends: its client comes
    back for the rest."""
    ready = await begun(chunks, caller.server.settings.heartbeat_s)
    closed = b"" if is_kept else error_chunk(CLOSED)
    return StreamResponse(OpenAIStream(caller, ready, closed=closed, headers=headers))


async def _whole(request: Request, talk: Talk, about: About) -> Response:
    try:
        answer = await unless_gone(asyncio.ensure_future(_made(talk, about)), request.receive)
    except TurnEnded as ended:
        return failed(ended.info, may_repeat=not talk.is_kept)
    finally:
        await talk.aclose()
    if answer is None:
        return Response(status_code=499)
    return reply(answer, headers=talk.headers)


async def _made(talk: Talk, about: About) -> ResponseObject:
    events = ResponseEvents(about)
    async for batch in talk.session.batches(talk.after):
        for event in batch.events:
            match event:
                case TurnFailed(error=error):
                    raise TurnEnded(error)
                case TurnInterrupted():
                    raise TurnEnded(INTERRUPTED)
                case _:
                    events.fed((event,))
            if events.is_over:
                return events.response
    return events.response


# Responses that are there.


@router.get(
    "/responses/{response}",
    responses=answers(ResponseObject, errors=(404, 410), streams=True),
    response_model=None,
)
async def retrieve_response(
    caller: Reader,
    response: str,
    stream: bool = False,
    starting_after: Annotated[int, Query(ge=-1)] = -1,
) -> Response:
    """A response as it stands; or, with `stream`, its events behind number `starting_after`, to its
    end. They are kept for the newest turns of a conversation."""
    found = await find(caller, response)
    if not stream:
        return reply(await as_it_stands(caller, found))
    session = await caller.manager.session(found.about.part.turn)
    chunks = streamed(session, found.about, behind=starting_after)
    return await _streaming(caller, chunks, {}, is_kept=True)


@router.post(
    "/responses/{response}/cancel",
    responses=answers(ResponseObject, errors=(404,)),
    response_model=None,
)
async def cancel_response(caller: Writer, response: str) -> Response:
    """End a response that is in progress; what came of it is kept. One that has ended stays as it
    is."""
    found = await find(caller, response)
    if found.last is None:
        opened = await caller.manager.open(found.status.conversation)
        turn = opened.state.turn
        if turn is not None and turn.id == found.status.id:
            await opened.cancel()
        found = await find(caller, response)
    return reply(await as_it_stands(caller, found))


@router.delete(
    "/responses/{response}",
    responses=answers(DeletedObject, errors=(404, 409)),
    response_model=None,
)
async def delete_response(caller: Writer, response: str) -> Response:
    """Erase a response that is all there is of its conversation, with the conversation."""
    found = await find(caller, response)
    conversation = found.status.conversation
    opened = await caller.manager.store.read(
        caller.principal.scope, conversation, kinds=("turn.opened",)
    )
    if len(opened) > 1:
        raise Conflict(
            f"the response is part of {conversation}, in which more was said",
            hint=f"Delete the conversation: DELETE /v1/conversations/{conversation}.",
        )
    await caller.manager.delete(conversation)
    return reply(DeletedObject(response, "response"))


@router.get(
    "/responses/{response}/input_items",
    responses=answers(ItemList, errors=(404,)),
    response_model=None,
)
async def list_input_items(
    caller: Reader,
    response: str,
    limit: Limit = 20,
    after: str | None = None,
    order: Order = "desc",
) -> Response:
    """All that the model was given for a response: its input, and what was said before."""
    found = await find(caller, response)
    opened = await caller.manager.open(found.status.conversation)
    messages = await given_to(caller, opened.state, found)
    return reply(page(messages, limit=limit, after=after, newest_first=order == "desc"))
