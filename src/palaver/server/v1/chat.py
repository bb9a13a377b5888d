"""POST /v1/chat/completions."""

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import Response

from palaver.server.core import Caller, Writer
from palaver.server.schema import body, read, reply
from palaver.server.turns import check_taking
from palaver.server.v1.chat_answer import ChatStreaming, completion_id, streamed, whole
from palaver.server.v1.chat_shapes import ChatCompletion, ChatRequest
from palaver.server.v1.errors import TURN, answers, failed
from palaver.server.v1.incoming import read_messages
from palaver.server.v1.models import chosen
from palaver.server.v1.streaming import (
    CLOSED,
    OpenAIStream,
    StreamResponse,
    TurnEnded,
    begun,
    error_chunk,
    unless_gone,
)
from palaver.server.v1.talk import HEADER, NEW, Place, Talk, Wanted

router = APIRouter(tags=["openai"])
EXAMPLE = {"model": "default", "messages": [{"role": "user", "content": "What is 17 * 23?"}]}


@router.post(
    "/chat/completions",
    openapi_extra=body(ChatRequest, example=EXAMPLE),
    responses=answers(
        ChatCompletion, "The answer, or its chunks.", errors=(404, 409, *TURN), streams=True
    ),
    response_model=None,
)
async def chat_completions(request: Request, caller: Writer) -> Response:
    """Answer a conversation: the one that is named, or what the request holds of one."""
    asked = await read(request, ChatRequest)
    asked.check()
    check_taking(caller)
    wanted = _wanted(caller, asked, request.headers.get("idempotency-key"))
    talk = await _talk(caller, asked, wanted, _name(request, asked))
    if asked.stream:
        return await _streamed(caller, talk, asked)
    return await _whole(request, caller, talk)


def _name(request: Request, asked: ChatRequest) -> str:
    """The conversation that the request names: an id, `new`, or nothing."""
    in_header = request.headers.get(HEADER, "").strip()
    return in_header or (asked.metadata or {}).get("conversation_id", "")


async def _talk(caller: Caller, asked: ChatRequest, wanted: Wanted, name: str) -> Talk:
    place = Place(caller, is_kept=bool(name) or bool(asked.store))
    try:
        is_there = name not in ("", NEW)
        opened = await caller.manager.open(name) if is_there else None
        said = await read_messages(asked.messages, place.attach, goes_on=is_there)
        if opened is not None:
            return await place.go_on(opened, said, wanted)
        return await place.begin(said, wanted)
    except BaseException:
        await place.aclose()
        raise


def _wanted(caller: Caller, asked: ChatRequest, key: str | None) -> Wanted:
    tools = tuple(tool.function.tool() for tool in asked.tools or ())
    output = (
        None if asked.response_format is None else asked.response_format.output("response_format")
    )
    return Wanted(
        chosen(caller.server.parts, asked.model),
        asked.sampling(tools).preferences(),
        tools,
        output,
        key,
    )


async def _streamed(caller: Caller, talk: Talk, asked: ChatRequest) -> Response:
    with_usage = asked.stream_options is not None and bool(asked.stream_options.include_usage)
    streaming = ChatStreaming(
        completion_id(talk.turn, talk.part), _now(caller), asked.model, with_usage=with_usage
    )
    try:
        chunks = await begun(streamed(talk, streaming), caller.server.settings.heartbeat_s)
    except TurnEnded as ended:
        return failed(ended.info, may_repeat=not talk.is_kept)
    closed = error_chunk(CLOSED)
    return StreamResponse(OpenAIStream(caller, chunks, closed=closed, headers=talk.headers))


async def _whole(request: Request, caller: Caller, talk: Talk) -> Response:
    work = asyncio.ensure_future(whole(talk, completion_id(talk.turn, talk.part), _now(caller)))
    try:
        answer = await unless_gone(work, request.receive)
    except TurnEnded as ended:
        return failed(ended.info, may_repeat=not talk.is_kept)
    finally:
        await talk.aclose()
    return Response(status_code=499) if answer is None else reply(answer, headers=talk.headers)


def _now(caller: Caller) -> int:
    return int(caller.server.parts.clock.now())
