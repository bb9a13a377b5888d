"""Whether a draft may stand for the beginning of a conversation: one check for every tier.

A provider refuses a history whose calls and results do not match, and says so only after the old
window is gone; a person finds out about a lost instruction much later. So a draft is checked
against its task before it is accepted, and what is wrong is said in sentences.
"""

from collections.abc import Iterator, Sequence

from palaver.context.draft import Draft, Task
from palaver.context.handles import position_of
from palaver.context.identifiers import identifiers, texts
from palaver.context.summary_faults import Source
from palaver.domain.compaction import Kept, Span, Tier, Written
from palaver.domain.messages import Flag, Message, Role, StopReason, Text

UNSUPPORTED = 0.05
"""Share of a summary's identifiers that may be absent from what it stands for; a model's own
summaries have at most this in measurements (slashed phrases, mostly)."""


def problems(task: Task, draft: Draft, *, least_gain: float = 0.0) -> tuple[str, ...]:
    """What is wrong with `draft`, one sentence each; empty when it can be accepted.

    It accounts for every message once and in order; any provider takes the window that it makes;
    system messages, the first and the latest message of the user and pinned ones are untouched;
    its counts are true; it is within the target, and smaller by `least_gain` (0 to 1) at least.
    """
    found = list(_items(draft, len(task.messages)))
    if found:
        return tuple(found)
    made = window_of(task, draft)
    found += _validity(made)
    found += _untouched(task, draft)
    found += _sizes(task, draft, made, least_gain)
    if Tier.SUMMARY in draft.tiers:
        found += _invented(task, draft)
    return tuple(found)


def window_of(task: Task, draft: Draft) -> list[Message]:
    """The messages that a model would be sent. Costs what the window has, not the path."""
    made: list[Message] = []
    for item in draft.items:
        if isinstance(item, Written):
            made.append(item.message)
        else:
            made.extend(task.messages[at] for at in range(item.start, item.stop))
    made.extend(task.messages[at] for at in range(draft.covers, len(task.messages)))
    return made


def _items(draft: Draft, length: int) -> Iterator[str]:
    if not draft.items or not 0 < draft.covers <= length:
        yield "it stands for no message, or for some that are not there"
        return
    spans: list[Span] = []
    kept = 0
    for item in draft.items:
        if isinstance(item, Kept):
            if item.start < kept:
                yield "messages that stay are not in their order"
            kept = item.stop
            spans.append(Span(item.start, item.stop))
        else:
            spans += item.covers
            lines = item.message.text.count("\n") + 1
            if item.message.role is Role.USER and len(item.sources) > lines:
                yield "more lines have sources than there are"
    reached = 0
    for span in sorted(spans, key=lambda each: each.start):
        if span.start != reached or span.stop <= span.start:
            yield f"message {reached} is not accounted for exactly once"
            return
        reached = span.stop
    if reached != draft.covers:
        yield f"message {reached} is not accounted for exactly once"


def _validity(made: Sequence[Message]) -> Iterator[str]:
    """The rules of `palaver.testing.valid_history`, of which a compaction can break these."""
    before: Message | None = None
    for at, message in enumerate(made):
        asked = [call.id for call in before.tool_calls] if before is not None else []
        answered = [result.call_id for result in message.tool_results]
        if message.role is Role.TOOL and (not asked or asked != answered):
            yield f"window[{at}] does not answer the calls before it"
        elif message.role is not Role.TOOL and asked:
            yield f"window[{at}] stands between calls and their results"
        if message.role is Role.ASSISTANT and not _may_speak(before):
            yield f"window[{at}]: the assistant speaks without being spoken to"
        if not message.content or (message.role is Role.USER and _is_blank(message)):
            yield f"window[{at}] is empty"
        before = message
    if all(message.role is Role.SYSTEM for message in made):
        yield "nobody speaks in it"


def _may_speak(before: Message | None) -> bool:
    if before is None or before.role is Role.SYSTEM:
        return False
    return before.role is not Role.ASSISTANT or before.stop is StopReason.PAUSE


def _is_blank(message: Message) -> bool:
    return all(isinstance(b, Text) and not b.text.strip() for b in message.content)


def _untouched(task: Task, draft: Draft) -> Iterator[str]:
    stays = [False] * draft.covers
    for item in draft.items:
        if isinstance(item, Kept):
            stays[item.start : item.stop] = [True] * (item.stop - item.start)
    for at, name in _binding(task, draft).items():
        if at < draft.covers and not stays[at]:
            yield f"{name} (message {at}) did not stay as it was"


def _binding(task: Task, draft: Draft) -> dict[int, str]:
    """Positions that must stay, of those that the window held until now."""
    names: dict[int, str] = {}
    users: list[int] = []
    for at in _shown(task):
        message = task.messages[at]
        if message.role is Role.SYSTEM:
            names[at] = "a system message"
        elif message.id and message.id in task.pins:
            names[at] = "a pinned message"
        if message.role is Role.USER:
            users.append(at)
    own = [at for at in users if Flag.SYNTHETIC not in task.messages[at].flags]
    users = own or users
    if users:
        names[users[0]] = "the first message of the user"
        names[users[-1]] = "the latest message of the user"
    return names


def _shown(task: Task) -> Iterator[int]:
    start = 0
    if task.previous is not None:
        start = task.previous.covers
        for item in task.previous.items:
            if isinstance(item, Kept):
                yield from range(item.start, item.stop)
    yield from range(start, len(task.messages))


def _sizes(task: Task, draft: Draft, made: Sequence[Message], least_gain: float) -> Iterator[str]:
    after = sum(task.count(message) for message in made)
    if after != draft.tokens_after:
        yield f"it says {draft.tokens_after:,} tokens and has {after:,}"
    if after > task.target:
        yield f"{after:,} tokens are more than the target of {task.target:,}"
    if draft.tiers and after >= draft.tokens_before:
        yield f"it did not become smaller: {draft.tokens_before:,} tokens, now {after:,}"
    elif after > draft.tokens_before * (1 - least_gain):
        yield f"it gains less than {least_gain:.0%}"


def _invented(task: Task, draft: Draft) -> Iterator[str]:
    written = [item.message for item in draft.items if isinstance(item, Written)]
    names = dict.fromkeys(name for m in written for name in identifiers(m.text))
    source = Source([text for message in _read(task) for text in texts(message)])
    absent = [n for n in names if position_of(n) is None and not source.holds(n)]
    if len(absent) > max(1, UNSUPPORTED * len(names)):
        yield "identifiers that nobody said: " + ", ".join(absent[:8])


def _read(task: Task) -> Iterator[Message]:
    """What a summary was written from: the window, and the originals of results that were cleared
    in it."""
    start = 0
    if task.previous is not None:
        start = task.previous.covers
        for item in task.previous.items:
            if isinstance(item, Written):
                yield item.message
            if isinstance(item, Kept):
                yield from (task.messages[at] for at in range(item.start, item.stop))
            elif item.message.role is Role.TOOL:
                for span in item.covers:
                    yield from (task.messages[at] for at in range(span.start, span.stop))
    yield from (task.messages[at] for at in range(start, len(task.messages)))
