"""From a tier's draft to the compaction that a log can hold."""

from palaver.context.draft import Draft
from palaver.context.need import Need, Reason
from palaver.domain.compaction import Compaction, is_on
from palaver.domain.history import History
from palaver.domain.ids import CompactionId
from palaver.domain.messages import Message
from palaver.domain.state import EMPTY_HASH, ConversationState, next_hash
from palaver.domain.values import Usage


def proposed(
    id: CompactionId,
    path: History[Message],
    draft: Draft,
    *,
    reason: Reason,
    instructions: str = "",
    model: str = "",
    usage: Usage | None = None,
) -> Compaction:
    """`draft` as a compaction of `path`. Costs a walk over what it covers, for the hash."""
    return Compaction(
        id=id,
        covers=draft.covers,
        upto=path[draft.covers - 1].id,
        items=draft.items,
        strategy=draft.strategy,
        tiers=draft.tiers,
        reason=reason,
        tokens_before=draft.tokens_before,
        tokens_after=draft.tokens_after,
        source_hash=hash_of(path.first(draft.covers)),
        instructions=instructions,
        model=model,
        usage=usage or Usage(),
        facts=draft.facts,
        loss=draft.loss,
    )


def hash_of(path: History[Message]) -> str:
    """The chain hash of a path, as the state of a conversation has it."""
    chain = EMPTY_HASH
    for message in path:
        chain = next_hash(chain, message)
    return chain


def refusal(draft: Draft | None, need: Need, min_gain: float) -> str:
    """Why a draft does not help; empty when it does.

    What a person asked for may gain less than `min_gain`, and what a provider refused must only
    become smaller; an automatic one breaks the provider's cache and has to be worth it.
    """
    if draft is None or not draft.covers:
        return "there is nothing that can be made smaller"
    least = min_gain if need.reason == "auto" else 0.0
    if draft.tokens_after >= draft.tokens_before * (1 - least):
        return "it would have gained too little"
    return ""


def still_fits(state: ConversationState, compaction: Compaction) -> bool:
    """Whether what was prepared may stand for the beginning of the conversation now: it begins with
    the same messages, of which none was erased. Costs a walk over them."""
    if not is_on(state.messages, compaction):
        return False
    return hash_of(state.messages.first(compaction.covers)) == compaction.source_hash
