"""The context window over HTTP: what fills it, making it smaller, and what is never to go."""

from collections import OrderedDict
from typing import Annotated
from weakref import WeakKeyDictionary

import msgspec
from fastapi import APIRouter, Request
from msgspec import Meta
from starlette.responses import Response

from palaver.context.cache_rule import CacheEffect
from palaver.context.tokens import Parts
from palaver.domain.compaction import Compaction, CriticalFact, LossRecord, Tier
from palaver.domain.errors import NotFound
from palaver.domain.ids import CompactionId, ConversationId, MessageId
from palaver.domain.messages import Message
from palaver.domain.values import Usage
from palaver.server.core import Caller, Reader, Server, Spender, Writer
from palaver.server.errors import about_the_state
from palaver.server.given import AnyId, Name
from palaver.server.paging import Cursor, Limit, sliced
from palaver.server.schema import STORED, answers, body, read, reply
from palaver.service.compacting import CompactionReport, Outlook, Stretch
from palaver.service.conversation import Conversation

router = APIRouter(tags=["context"])
PREVIEWS = 256
"""Newest previews that can be applied; a forgotten one is made anew."""
LISTED = 1_000
"""Messages of a report, and topics, at most."""


class Compacted(msgspec.Struct, frozen=True):
    """A compaction. Tokens are of the messages alone."""

    id: CompactionId
    strategy: str
    tiers: tuple[Tier, ...]
    reason: str
    covers: int
    """Messages from the first that it stands for."""
    tokens_before: int
    tokens_after: int
    summary: Message | None
    facts: tuple[CriticalFact, ...]
    """What must not be lost, and whether it is still in the window."""
    loss: LossRecord
    """What is only in the archive now, from where `recall` brings it back."""
    model: str
    usage: Usage

    @classmethod
    def of(cls, made: Compaction) -> "Compacted":
        """As it is shown."""
        return cls(
            id=made.id,
            strategy=made.strategy,
            tiers=made.tiers,
            reason=made.reason,
            covers=made.covers,
            tokens_before=made.tokens_before,
            tokens_after=made.tokens_after,
            summary=made.summary,
            facts=made.facts[:LISTED],
            loss=made.loss,
            model=made.model,
            usage=made.usage,
        )


class Context(msgspec.Struct, frozen=True):
    """What fills a conversation's window. Numbers are tokens."""

    model: str
    used: int
    window: int | None
    """Of the model; null where it is not known."""
    budget: int | None
    """What the conversation may take of it, by the settings."""
    reserve: int
    """Kept free for the answer."""
    share: float | None
    """`used` of `window`."""
    share_of_budget: float | None
    estimated: bool
    by_category: Parts
    compacts_at: int | None
    """Where it is made smaller by itself; null: it is not."""
    usage: Usage
    """Reported by providers over the whole conversation."""
    compaction: Compacted | None
    """What made the window as it is."""
    topics: tuple[Stretch, ...]
    """Stretches of the branch by what they are about."""
    outlook: Outlook | None
    """What a compaction would do now; null: nothing would become smaller."""


class CompactionPlan(msgspec.Struct, frozen=True):
    """What a compaction would do if it were asked for now. Nothing was done or paid for it."""

    outlook: Outlook | None
    """Null: nothing would become smaller."""
    compacts_at: int | None
    used: int


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the window is to be made smaller."""

    strategy: Name = ""
    """Empty: chosen by what the conversation is made of."""
    instructions: Annotated[str, Meta(max_length=4_000)] = ""
    """What to keep or to drop, in words."""
    by_model: bool = True
    """False: no model writes anything."""


class Applied(Wanted, frozen=True, forbid_unknown_fields=True):
    """The same, or a preview that is to be applied."""

    preview: AnyId | None = None
    """The `preview` of one that was looked at; the other fields say nothing then."""


class CompactionOutcome(msgspec.Struct, frozen=True):
    """What a compaction did, or would do."""

    compaction: Compacted
    goes: tuple[MessageId, ...]
    """Messages that the window no longer holds as they were, 1,000 at most; the log does."""
    stays: int
    """Messages of the window afterwards."""
    cache: CacheEffect
    """What it does to the bill."""
    cost_usd: float | None
    preview: str | None = None
    """By what it can be applied as it is, while the conversation stays as it is."""


class PinPage(msgspec.Struct, frozen=True):
    """Messages that no compaction takes."""

    items: tuple[MessageId, ...]
    cursor: str | None = None


class Previews:
    """Compactions that were looked at and may be applied. They live in this process: what is not
    here any more is looked at again."""

    def __init__(self, limit: int = PREVIEWS) -> None:
        self._limit = limit
        self._kept: OrderedDict[tuple[str, ConversationId, str], CompactionReport] = OrderedDict()

    def keep(self, tenant: str, conversation: ConversationId, report: CompactionReport) -> str:
        """Remember one; returns its name."""
        name = str(report.compaction.id)
        self._kept[tenant, conversation, name] = report
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return name

    def take(self, tenant: str, conversation: ConversationId, name: str) -> CompactionReport:
        """One that was kept. Raises NotFound."""
        found = self._kept.get((tenant, conversation, name))
        if found is None:
            raise NotFound("this preview is not kept any more", hint="Make a new one.")
        return found


_previews: WeakKeyDictionary[Server, Previews] = WeakKeyDictionary()


def _previews_of(caller: Caller) -> Previews:
    return _previews.setdefault(caller.server, Previews())


@router.get(
    "/conversations/{conversation}/context",
    responses=answers(200, Context, "A reading.", errors=(404,)),
    response_model=None,
)
async def get_context(caller: Reader, conversation: str) -> Response:
    """How full the window is, by category, what the conversation is about, and what the next
    compaction would do."""
    report = await (await caller.manager.open(conversation)).context()
    window, made = report.window, report.compaction
    return reply(
        Context(
            model=window.model,
            used=window.used,
            window=window.window,
            budget=window.budget,
            reserve=window.reserve,
            share=window.share,
            share_of_budget=window.share_of_budget,
            estimated=window.estimated,
            by_category=window.by_category,
            compacts_at=report.compacts_at,
            usage=report.usage,
            compaction=None if made is None else Compacted.of(made),
            topics=report.topics[-LISTED:],
            outlook=report.outlook,
        )
    )


@router.get(
    "/conversations/{conversation}/compaction",
    responses=answers(200, CompactionPlan, "What would be done.", errors=(404,)),
    response_model=None,
)
async def plan_compaction(caller: Reader, conversation: str) -> Response:
    """What a compaction would do now, without asking any model."""
    report = await (await caller.manager.open(conversation)).context()
    return reply(CompactionPlan(report.outlook, report.compacts_at, report.window.used))


@router.post(
    "/conversations/{conversation}/compaction/preview",
    openapi_extra=body(Wanted, example={"instructions": "Keep all prices."}, required=False),
    responses=answers(
        200, CompactionOutcome, "What it would do.", errors=(404, 409, 502, 504, *STORED)
    ),
    response_model=None,
)
async def preview_compaction(request: Request, caller: Spender, conversation: str) -> Response:
    """What a compaction would do, worked out: what goes, what stays, what is at risk. A summary
    that a model writes for it is paid for. 409 where nothing would become smaller."""
    wanted = await read(request, Wanted, default=Wanted())
    handle = await caller.manager.open(conversation)
    with about_the_state():
        report = await handle.preview_compaction(
            strategy=wanted.strategy, instructions=wanted.instructions, by_model=wanted.by_model
        )
    name = _previews_of(caller).keep(caller.principal.tenant, handle.id, report)
    return reply(_outcome(report, name))


@router.post(
    "/conversations/{conversation}/compaction",
    openapi_extra=body(Applied, example={"strategy": "", "by_model": True}, required=False),
    responses=answers(200, CompactionOutcome, "What it did.", errors=(404, 409, 502, 504, *STORED)),
    response_model=None,
)
async def apply_compaction(request: Request, caller: Spender, conversation: str) -> Response:
    """Make the window smaller. No message is lost. 409 where nothing would become smaller, or where
    a preview is out of date."""
    wanted = await read(request, Applied, default=Applied())
    handle = await caller.manager.open(conversation)
    preview = wanted.preview and _previews_of(caller).take(
        caller.principal.tenant, handle.id, wanted.preview
    )
    with about_the_state():
        report = await handle.compact(
            strategy=wanted.strategy,
            instructions=wanted.instructions,
            by_model=wanted.by_model,
            preview=preview or None,
        )
    return reply(_outcome(report))


def _outcome(report: CompactionReport, preview: str | None = None) -> CompactionOutcome:
    return CompactionOutcome(
        Compacted.of(report.compaction),
        tuple(message.id for message in report.goes[:LISTED]),
        len(report.stays),
        report.cache,
        report.cost_usd,
        preview,
    )


@router.post(
    "/conversations/{conversation}/compaction/undo",
    responses=answers(200, Compacted, "What was taken back.", errors=(404, 409, *STORED)),
    response_model=None,
)
async def undo_compaction(caller: Writer, conversation: str) -> Response:
    """Take the newest compaction back. 409 where there is none."""
    handle = await caller.manager.open(conversation)
    with about_the_state():
        return reply(Compacted.of(await handle.undo_compaction()))


@router.get(
    "/conversations/{conversation}/pins",
    responses=answers(200, PinPage, "A page.", errors=(404,)),
    response_model=None,
)
async def list_pins(
    caller: Reader, conversation: str, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """The messages that no compaction takes."""
    handle = await caller.manager.open(conversation)
    return reply(PinPage(*sliced(handle.state.pins, limit=limit, cursor=cursor)))


@router.put(
    "/conversations/{conversation}/pins/{message}",
    status_code=204,
    responses=answers(204, None, "It is pinned.", errors=(404, 409, *STORED)),
    response_model=None,
)
async def pin_message(caller: Writer, conversation: str, message: str) -> Response:
    """Let no compaction take a message."""
    return await _pin(await caller.manager.open(conversation), message, pinned=True)


@router.delete(
    "/conversations/{conversation}/pins/{message}",
    status_code=204,
    responses=answers(204, None, "It is not pinned.", errors=(404, 409, *STORED)),
    response_model=None,
)
async def unpin_message(caller: Writer, conversation: str, message: str) -> Response:
    """Let compactions take a message again."""
    return await _pin(await caller.manager.open(conversation), message, pinned=False)


async def _pin(handle: Conversation, message: str, *, pinned: bool) -> Response:
    await handle.pin(message, pinned=pinned)
    return Response(status_code=204)
