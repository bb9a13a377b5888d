"""Conversations over HTTP: make, list, find, read, change, erase."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from msgspec import UNSET, Meta, UnsetType
from starlette.responses import Response

from palaver.domain.ids import ConversationId, MessageId, TurnId
from palaver.domain.messages import Message, ToolCall
from palaver.domain.state import ConversationState, OpenTurn, Origin
from palaver.domain.values import SuspendReason, Usage, UserPreferences
from palaver.recovery.degradation import DegradedConversationState
from palaver.server.core import Caller, Reader, Writer
from palaver.server.given import Content, Line, Long, Name, Said, said
from palaver.server.paging import Cursor, Limit, message_page, summary_page
from palaver.server.schema import STORED, answers, body, either, link, read, reply
from palaver.service.actions import ChangeMetadata
from palaver.service.conversation import Conversation as Handle
from palaver.store.base import SearchHit

router = APIRouter(tags=["conversations"])
Tags = Annotated[tuple[Line, ...], Meta(max_length=50)]
Custom = Annotated[dict[Name, Annotated[str, Meta(max_length=10_000)]], Meta(max_length=50)]
"""What a product wants to find again with the conversation: text by name."""
Share = Annotated[float, Meta(ge=0, le=1)]


class Preferences(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a conversation runs with; what is not given stays as it is. `null` takes the model's
    own."""

    model: Name | UnsetType = UNSET
    """`provider:model`, or `offline`."""
    system: Long | UnsetType = UNSET
    language: Annotated[str, Meta(max_length=50)] | UnsetType = UNSET
    approvals: Literal["ask", "allow", "deny"] | UnsetType = UNSET
    temperature: Annotated[float, Meta(ge=0, le=2)] | UnsetType | None = UNSET
    top_p: Share | UnsetType | None = UNSET
    max_tokens: Annotated[int, Meta(ge=1, le=10_000_000)] | UnsetType | None = UNSET
    stop: Annotated[tuple[Name, ...], Meta(max_length=16)] | UnsetType = UNSET
    seed: Annotated[int, Meta(ge=0, le=2**53)] | UnsetType | None = UNSET
    reasoning: Literal["off", "low", "medium", "high"] | UnsetType | None = UNSET
    tool_choice: Name | UnsetType = UNSET

    def changes(self) -> dict[str, Any]:
        """Those that are given, by name."""
        return {k: v for k, v in msgspec.structs.asdict(self).items() if v is not UNSET}


@either("text", "content")
class GivenMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A message that was said before: `text`, or `content`. Histories with tools come in by
    `import`."""

    role: Literal["user", "assistant"]
    text: Said | UnsetType = UNSET
    content: Content | UnsetType = UNSET


class NewConversation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A conversation to be made."""

    title: Line = ""
    tags: Tags = ()
    custom: Custom = {}
    preferences: Preferences = Preferences()
    messages: Annotated[tuple[GivenMessage, ...], Meta(max_length=1_000)] = ()
    """A history to begin with."""


class ConversationChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be different; what is not given stays as it is. `tags` and `custom` replace all
    that were there."""

    title: Line | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    custom: Custom | UnsetType = UNSET
    archived: bool | UnsetType = UNSET
    preferences: Preferences = Preferences()


class HeldTurn(msgspec.Struct, frozen=True):
    """The turn that runs, or waits for somebody."""

    id: TurnId
    held: SuspendReason | None
    """What it waits for; null while it runs."""
    waiting: tuple[ToolCall, ...]

    @classmethod
    def of(cls, state: ConversationState, opened: OpenTurn) -> "HeldTurn":
        """The open turn of a conversation."""
        waiting = tuple(c for c in state.pending_calls if c.id in opened.waiting)
        return cls(opened.id, opened.held, waiting)


class Conversation(msgspec.Struct, frozen=True):
    """A conversation without its messages. Times are seconds since 1970, UTC."""

    id: ConversationId
    title: str
    tags: tuple[str, ...]
    custom: dict[str, str]
    archived: bool
    preferences: UserPreferences
    messages: int
    """On the branch that is talked on."""
    head: MessageId | None
    """The last of them."""
    turn: HeldTurn | None
    usage: Usage
    """Everything that was spent on it."""
    outbox: int
    """Prompts that wait until a model can be reached."""
    degraded: DegradedConversationState | None
    """What of the service is amiss now; null while nothing is."""
    forked_from: Origin | None
    seq: int
    """The number of its newest fact."""
    created_at: float
    updated_at: float
    read_only: bool

    @classmethod
    def of(cls, handle: Handle) -> "Conversation":
        """As it is now."""
        state, degraded = handle.state, handle.degraded
        opened = state.turn
        return cls(
            id=state.id,
            title=state.metadata.title,
            tags=state.metadata.tags,
            custom=state.metadata.custom,
            archived=state.metadata.archived,
            preferences=state.preferences,
            messages=len(state.messages),
            head=None if state.last is None else state.last.id,
            turn=None if opened is None else HeldTurn.of(state, opened),
            usage=state.usage,
            outbox=len(state.outbox),
            degraded=degraded if degraded.is_degraded else None,
            forked_from=state.origin,
            seq=state.seq,
            created_at=state.created_at,
            updated_at=state.updated_at,
            read_only=state.read_only,
        )


class ConversationLine(msgspec.Struct, frozen=True):
    """A conversation in a list. Times are seconds since 1970, UTC."""

    id: ConversationId
    title: str
    tags: tuple[str, ...]
    archived: bool
    messages: int
    """What people and models said, on all branches."""
    preview: str
    """The beginning of the newest user message."""
    created_at: float
    updated_at: float


class ConversationPage(msgspec.Struct, frozen=True):
    """Some conversations, the newest change first. A page may hold fewer than asked for, even none:
    while there is a `cursor` there may be more."""

    items: tuple[ConversationLine, ...]
    cursor: str | None = None


class MessagePage(msgspec.Struct, frozen=True):
    """Some messages of one branch."""

    items: tuple[Message, ...]
    cursor: str | None = None


class HitPage(msgspec.Struct, frozen=True):
    """Messages that match, the best first. There are no further pages: search for more words."""

    items: tuple[SearchHit, ...]
    cursor: str | None = None


LINKS = {
    name: link(operation, conversation="$response.body#/id")
    for name, operation in {
        "read": "get_conversation",
        "change": "change_conversation",
        "messages": "list_messages",
        "say": "start_turn",
        "search": "search_conversation",
        "branches": "list_branches",
        "fork": "fork_conversation",
        "undo": "undo",
        "redo": "redo",
        "regenerate": "regenerate",
        "context": "get_context",
        "plan": "plan_compaction",
        "preview": "preview_compaction",
        "compact": "apply_compaction",
        "undo_compaction": "undo_compaction",
        "pins": "list_pins",
        "outbox": "list_prompts",
        "send": "send_outbox",
        "export": "export_conversation",
        "delete": "delete_conversation",
    }.items()
}
MESSAGE_LINKS = {
    operation: link(
        operation,
        conversation="$request.path.conversation",
        message="$response.body#/items/0/id",
    )
    for operation in ("edit_message", "redact_message", "pin_message", "unpin_message")
}
PLACE = "/api/conversations/"


def made(handle: Handle) -> Response:
    """A new conversation as an answer."""
    return reply(Conversation.of(handle), 201, headers={"location": f"{PLACE}{handle.id}"})


@router.post(
    "/conversations",
    status_code=201,
    openapi_extra=body(
        NewConversation,
        example={"title": "Trip to Oslo", "tags": ["travel"], "preferences": {"model": "offline"}},
        required=False,
    ),
    responses=answers(
        201,
        Conversation,
        "It is there.",
        errors=(404, *STORED),
        location="The conversation.",
        links=LINKS,
    ),
    response_model=None,
)
async def create_conversation(request: Request, caller: Writer) -> Response:
    """Make a conversation. Nothing has to be said about it."""
    wanted = await read(request, NewConversation, default=NewConversation())
    history = [await _message(caller, each) for each in wanted.messages]
    handle = await caller.manager.create_from(
        history, title=wanted.title, tags=wanted.tags, **wanted.preferences.changes()
    )
    if wanted.custom:
        await handle.states.dispatch(ChangeMetadata(custom=wanted.custom))
    return made(handle)


async def _message(caller: Caller, given: GivenMessage) -> Message:
    content = await said(caller, given)
    return Message.user(content) if given.role == "user" else Message.assistant(content)


@router.get(
    "/conversations",
    responses=answers(200, ConversationPage, "A page."),
    response_model=None,
)
async def list_conversations(
    caller: Reader,
    limit: Limit = 50,
    cursor: Cursor = None,
    archived: bool = False,
    tag: Annotated[str | None, Query(max_length=500)] = None,
    since: Annotated[float | None, Query(ge=0, le=1e12, allow_inf_nan=False)] = None,
    until: Annotated[float | None, Query(ge=0, le=1e12, allow_inf_nan=False)] = None,
) -> Response:
    """Conversations by newest change; with a tag, changed `since` and before `until` (seconds since
    1970). By words: `/api/search`."""
    page = await summary_page(
        caller.manager, limit=limit, cursor=cursor, archived=archived, tag=tag, since=since,
        until=until,
    )  # fmt: skip
    items = tuple(
        ConversationLine(
            each.id,
            each.metadata.title,
            each.metadata.tags,
            each.metadata.archived,
            each.messages,
            each.preview,
            each.created_at,
            each.updated_at,
        )
        for each in page.items
    )
    return reply(ConversationPage(items, page.cursor))


@router.get(
    "/conversations/{conversation}",
    responses=answers(200, Conversation, "As it is now.", errors=(404,), links=LINKS),
    response_model=None,
)
async def get_conversation(caller: Reader, conversation: str) -> Response:
    """A conversation without its messages: its name and settings, its open turn, what it cost."""
    return reply(Conversation.of(await caller.manager.open(conversation)))


@router.patch(
    "/conversations/{conversation}",
    openapi_extra=body(
        ConversationChange,
        example={"title": "Oslo in May", "preferences": {"temperature": 0.2}},
    ),
    responses=answers(200, Conversation, "As it is then.", errors=(404, 409, *STORED)),
    response_model=None,
)
async def change_conversation(request: Request, caller: Writer, conversation: str) -> Response:
    """Change title, tags, custom fields, preferences; archive it, or take it back."""
    wanted = await read(request, ConversationChange)
    handle = await caller.manager.open(conversation)
    if changes := wanted.preferences.changes():
        await handle.set_preferences(**changes)
    given = {
        name: value
        for name in ("title", "tags", "custom", "archived")
        if (value := getattr(wanted, name)) is not UNSET
    }
    if given:
        await handle.states.dispatch(ChangeMetadata(**given))
    return reply(Conversation.of(handle))


@router.delete(
    "/conversations/{conversation}",
    status_code=204,
    responses=answers(204, None, "It is gone.", errors=(404, 409, *STORED)),
    response_model=None,
)
async def delete_conversation(caller: Writer, conversation: str) -> Response:
    """Erase a conversation, for ever. An open turn is cancelled; forks live on."""
    await caller.manager.delete(conversation)
    return Response(status_code=204)


@router.get(
    "/conversations/{conversation}/messages",
    responses=answers(200, MessagePage, "A page.", errors=(404,), links=MESSAGE_LINKS),
    response_model=None,
)
async def list_messages(
    caller: Reader,
    conversation: str,
    limit: Limit = 50,
    cursor: Cursor = None,
    order: Literal["oldest", "newest"] = "oldest",
    branch: Annotated[
        str | None,
        Query(max_length=300, description="A message: the branch that ends with it."),
    ] = None,
) -> Response:
    """The messages of the branch that is talked on, or of another one."""
    handle = await caller.manager.open(conversation)
    items, following = message_page(
        handle.state, limit=limit, cursor=cursor, newest_first=order == "newest", branch=branch
    )
    return reply(MessagePage(items, following))


@router.get(
    "/search",
    responses=answers(200, HitPage, "What was found."),
    response_model=None,
)
async def search(
    caller: Reader,
    q: Annotated[str, Query(max_length=1000, description="Words; any text may be looked for.")],
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """Messages of all conversations with all words of `q`."""
    return reply(HitPage(await caller.manager.search(q, limit=limit)))


@router.get(
    "/conversations/{conversation}/search",
    responses=answers(200, HitPage, "What was found.", errors=(404,)),
    response_model=None,
)
async def search_conversation(
    caller: Reader,
    conversation: str,
    q: Annotated[str, Query(max_length=1000)],
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """Messages of one conversation with all words of `q`."""
    handle = await caller.manager.open(conversation)
    return reply(HitPage(await caller.manager.search(q, conversation=handle.id, limit=limit)))
