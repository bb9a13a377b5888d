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


def survivors(
    facts: Sequence[CriticalFact], draft: Draft, held: Sequence[Message]
) -> tuple[CriticalFact, ...]:
    """`facts`, each with whether it is in the window `held` that `draft` makes: its message is
    there as it was, or its words are. Of a failed call a stub is enough, which says that it failed.
    """
    replaced: set[int] = set()
    stubs: set[int] = set()
    for item in draft.items:
        if isinstance(item, Written):
            places = {at for span in item.covers for at in range(span.start, span.stop)}
            replaced |= places
            stubs |= places if item.message.role is Role.TOOL else set()
    if not replaced:
        return tuple(facts)
    text = _plain("\n".join(said_in(message) for message in held))

    def survives(fact: CriticalFact) -> bool:
        if fact.kind == "unresolved_error" and fact.position in stubs:
            return True
        return fact.position not in replaced or _plain(fact.text) in text

    return tuple(
        fact if survives(fact) else msgspec.structs.replace(fact, survives=False) for fact in facts
    )


def _brief(message: Message) -> str:
    return " ".join(message.text.split())[:_QUOTED]


def _plain(text: str) -> str:
    return " ".join(text.split())
