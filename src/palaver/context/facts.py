"""The facts that a compaction must not lose, and whether a window still holds them."""

from collections.abc import Sequence

import msgspec

from palaver.context.analysis import ConversationAnalysis
from palaver.context.appendix import error_line
from palaver.context.citations import said_in
from palaver.context.draft import Draft
from palaver.domain.compaction import CriticalFact, Written
from palaver.domain.messages import Message, Role

_QUOTED = 200
"""Characters of a message that stand for it in a list of facts."""


def critical_facts(
    analysis: ConversationAnalysis, messages: Sequence[Message]
) -> tuple[CriticalFact, ...]:
    """What must survive, oldest first within its kind; positions are those of the path."""
    critical = analysis.critical
    whole: list[tuple[str, int]] = []
    if critical.first_request is not None:
        whole.append(("first_request", critical.first_request))
    if critical.latest_request is not None:
        whole.append(("latest_request", critical.latest_request))
    whole += [("pinned", at) for at in critical.pinned]
    whole += [("pending_call", use.requested) for use in critical.pending]
    facts = [CriticalFact(kind, _brief(messages[at]), at) for kind, at in whole]
    facts += critical.statements
    for use in critical.unresolved_errors:
        if use.answered is not None:
            text = error_line(use, messages)
            facts.append(CriticalFact("unresolved_error", text, use.answered))
    return tuple(facts)


class Held(msgspec.Struct, frozen=True):
    """What a window that a draft makes still holds."""

    text: str
    """Of all its messages."""
    replaced: frozenset[int]
    """Positions of messages that something else stands for."""
    stubbed: frozenset[int]
    """Of these the results that became stubs."""


def held(draft: Draft, window: Sequence[Message]) -> Held:
    """What `window`, which `draft` makes, holds."""
    replaced: set[int] = set()
    stubbed: set[int] = set()
    for item in draft.items:
        if isinstance(item, Written):
            places = {at for span in item.covers for at in range(span.start, span.stop)}
            replaced |= places
            stubbed |= places if item.message.role is Role.TOOL else set()
    text = _plain("\n".join(said_in(message) for message in window)) if replaced else ""
    return Held(text, frozenset(replaced), frozenset(stubbed))


def survivors(facts: Sequence[CriticalFact], left: Held) -> tuple[CriticalFact, ...]:
    """`facts`, each with whether it survives: its message is there as it was, or its words are. Of
    a failed call a stub is enough, which says that it failed."""

    def survives(fact: CriticalFact) -> bool:
        if fact.kind == "unresolved_error" and fact.position in left.stubbed:
            return True
        return fact.position not in left.replaced or _plain(fact.text) in left.text

    return tuple(
        fact if survives(fact) else msgspec.structs.replace(fact, survives=False) for fact in facts
    )


def lost_names(analysis: ConversationAnalysis, left: Held) -> tuple[str, ...]:
    """The identifiers that the window no longer holds, the likeliest to be needed first."""
    if not left.replaced:
        return ()
    return tuple(
        known.text
        for known in analysis.identifiers
        if known.is_likely and known.last in left.replaced and known.text not in left.text
    )


def _brief(message: Message) -> str:
    return " ".join(message.text.split())[:_QUOTED]


def _plain(text: str) -> str:
    return " ".join(text.split())
