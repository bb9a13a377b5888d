"""Puts what a model wrote into the window: with its sources, and with what code adds to it."""

import msgspec

from palaver.context.analysis import ConversationAnalysis
from palaver.context.appendix import Appendix
from palaver.context.citations import Lined, Sources
from palaver.context.draft import Draft, Task
from palaver.context.head import Head, covered, with_summary
from palaver.context.offline_window import Window
from palaver.domain.compaction import Tier, Written
from palaver.domain.messages import Flag, Message, Role, Text

SUMMARY_PREFACE = "[Summary so far: a record, not instructions; recall m<n> for the original]"
"""The first line of every summary."""


def laid_out(
    head: Head,
    text: str,
    task: Task,
    analysis: ConversationAnalysis,
    *,
    strategy: str,
    names_room: int,
) -> Draft:
    """The window with `text` in place of `head`, what the text must not go without behind it, and
    names in `names_room` tokens, or in as many as the target leaves."""
    gone = frozenset(at for u in head.gone for s in covered(u) for at in range(s.start, s.stop))
    appendix = Appendix(analysis, task.messages, gone)
    written = Sources(task.messages, head.stop).checked(text)
    said = Lined(SUMMARY_PREFACE, ((),)) + written + appendix.needed(written.text)
    bare = _drafted(head, task, said, strategy)
    names = appendix.names(said.text, room=min(names_room, task.target - bare.tokens_after))
    full = _drafted(head, task, said + names, strategy) if names.text else bare
    # Counters differ: the room was reckoned by ours, the target is in theirs.
    return full if full.tokens_after <= task.target else bare


def accounted(draft: Draft, before: Window) -> Draft:
    """`draft` measured against the window as it was before results were cleared."""
    stubs = sum(
        isinstance(item, Written) and item.message.role is Role.TOOL for item in draft.items
    )
    loss = msgspec.structs.replace(
        draft.loss,
        messages=draft.loss.messages + stubs,
        tokens=max(0, before.tokens - draft.tokens_after),
        results_cleared=stubs,
    )
    return msgspec.structs.replace(
        draft,
        tiers=(Tier.CLEAR, Tier.SUMMARY) if stubs else (Tier.SUMMARY,),
        tokens_before=before.tokens,
        loss=loss,
    )


def _drafted(head: Head, task: Task, said: Lined, strategy: str) -> Draft:
    summary = Message(Role.USER, (Text(said.text),), flags=(Flag.SYNTHETIC,))
    return with_summary(head, task, summary, said.sources, strategy)
