"""/v1/conversations: conversations of ours, as OpenAI's clients know theirs."""

from collections.abc import Sequence

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from palaver.domain.errors import NotFound
from palaver.domain.messages import Message
from palaver.server.core import Reader, Writer
from palaver.server.schema import body, link, read, reply
from palaver.server.v1.chat_shapes import check_metadata
from palaver.server.v1.errors import answers
from palaver.server.v1.responses import Limit, Order
from palaver.server.v1.responses_about import NOTE
from palaver.server.v1.responses_input import read_history
from palaver.server.v1.responses_items import ItemList, ResponseItem, items_of, page
from palaver.server.v1.responses_shapes import DeletedObject, ResponseInput
from palaver.server.v1.talk import Place
from palaver.service.conversation import Conversation

router = APIRouter(tags=["openai"])
_LINKS = {
    name: link(f"v1_{name}", conversation="$response.body#/id")
    for name in (
        "retrieve_conversation",
        "update_conversation",
        "list_items",
        "create_items",
        "delete_conversation",
    )
}


class ConversationRequest(msgspec.Struct, frozen=True):
    """A conversation, with what was said in it already."""

    items: list[ResponseInput] | None = None
    metadata: dict[str, str] | None = None


class ConversationChange(msgspec.Struct, frozen=True):
    """New metadata in place of what is there."""

    metadata: dict[str, str] | None


class ConversationItems(msgspec.Struct, frozen=True):
    """What is added behind the last message."""

    items: list[ResponseInput]


class KnownConversation(msgspec.Struct, frozen=True):
    """A conversation. Its id is the one by which all other APIs of the server know it."""

    id: str
    created_at: int
    metadata: dict[str, str]
    object: str = "conversation"


@router.post(
    "/conversations",
    openapi_extra=body(ConversationRequest, example={"metadata": {"topic": "arithmetic"}}),
    responses=answers(KnownConversation, errors=(507,), links=_LINKS),
    response_model=None,
)
async def create_conversation(request: Request, caller: Writer) -> Response:
    """A new conversation, empty or with a history."""
    asked = await read(request, ConversationRequest)
    check_metadata(asked.metadata)
    place = Place(caller, is_kept=True)
    said = await read_history(asked.items or [], place.attach, goes_on=False, place="items")
    chosen = {} if said.system is None else {"system": said.system}
    made = await caller.manager.create_from(said.messages, **chosen)
    if asked.metadata:
        await _note(made, asked.metadata)
    return reply(_shown(made))


@router.get(
    "/conversations/{conversation}",
    responses=answers(KnownConversation, errors=(404,)),
    response_model=None,
)
async def retrieve_conversation(caller: Reader, conversation: str) -> Response:
    """A conversation."""
    return reply(_shown(await caller.manager.open(conversation)))


@router.post(
    "/conversations/{conversation}",
    openapi_extra=body(ConversationChange, example={"metadata": {"topic": "arithmetic"}}),
    responses=answers(KnownConversation, errors=(404, 409, 507)),
    response_model=None,
)
async def update_conversation(request: Request, caller: Writer, conversation: str) -> Response:
    """Change its metadata."""
    asked = await read(request, ConversationChange)
    check_metadata(asked.metadata)
    opened = await caller.manager.open(conversation)
    await _note(opened, asked.metadata or {})
    return reply(_shown(opened))


@router.delete(
    "/conversations/{conversation}",
    responses=answers(DeletedObject, errors=(404, 507)),
    response_model=None,
)
async def delete_conversation(caller: Writer, conversation: str) -> Response:
    """Erase it, with everything that was said in it."""
    await caller.manager.delete(conversation)
    return reply(DeletedObject(conversation, "conversation.deleted"))


@router.get(
    "/conversations/{conversation}/items",
    responses=answers(ItemList, errors=(404,)),
    response_model=None,
)
async def list_items(
    caller: Reader,
    conversation: str,
    limit: Limit = 20,
    after: str | None = None,
    order: Order = "desc",
) -> Response:
    """What was said on its active branch."""
    opened = await caller.manager.open(conversation)
    newest_first = order == "desc"
    return reply(page(opened.messages, limit=limit, after=after, newest_first=newest_first))


@router.post(
    "/conversations/{conversation}/items",
    openapi_extra=body(
        ConversationItems, example={"items": [{"role": "user", "content": "Hello"}]}
    ),
    responses=answers(ItemList, errors=(404, 409, 507)),
    response_model=None,
)
async def create_items(request: Request, caller: Writer, conversation: str) -> Response:
    """Add messages behind the last one. Nobody answers them now."""
    asked = await read(request, ConversationItems)
    opened = await caller.manager.open(conversation)
    place = Place(caller, is_kept=True)
    said = await read_history(asked.items, place.attach, goes_on=True, place="items")
    added: Sequence[Message] = ()
    if said.messages:
        added = (await opened.align((*opened.messages, *said.messages))).appended
    items = tuple(items_of(added))
    first, last = (items[0].id, items[-1].id) if items else ("", "")
    return reply(ItemList(items, first, last, has_more=False))


@router.get(
    "/conversations/{conversation}/items/{item}",
    responses=answers(ResponseItem, errors=(404,)),
    response_model=None,
)
async def retrieve_item(caller: Reader, conversation: str, item: str) -> Response:
    """One of them."""
    opened = await caller.manager.open(conversation)
    found = next((each for each in items_of(reversed(opened.messages)) if each.id == item), None)
    if found is None:
        raise NotFound(f"no item {item[:100]!r} in this conversation")
    return reply(found)


async def _note(conversation: Conversation, metadata: dict[str, str]) -> None:
    before = conversation.state.metadata
    ours = {name: text for name, text in before.custom.items() if name == NOTE}
    changed = msgspec.structs.replace(before, custom={**metadata, **ours})
    await conversation.set_metadata(changed)


def _shown(conversation: Conversation) -> KnownConversation:
    state = conversation.state
    metadata = {name: text for name, text in state.metadata.custom.items() if name != NOTE}
    return KnownConversation(state.id, int(state.created_at), metadata)
