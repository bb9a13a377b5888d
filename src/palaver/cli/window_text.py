"""What fills a window, and what a compaction does, in words: for commands and slash commands."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from palaver.cli.safe import one_line, safe
from palaver.cli.tables import table
from palaver.cli.words import dollars, tokens, used

if TYPE_CHECKING:
    from palaver.context.window import ContextWindow
    from palaver.domain.compaction import Compaction
    from palaver.domain.messages import Message
    from palaver.domain.state import ConversationState
    from palaver.service.compacting import CompactionReport, ContextReport

CATEGORIES = {
    "system": "system prompt",
    "tool_schemas": "tools",
    "user": "you",
    "assistant": "model",
    "reasoning": "reasoning",
    "tool_calls": "tool calls",
    "tool_results": "tool results",
    "summaries": "summaries",
}
BAR = 30
TOPICS = 20
"""Lines of the topic map; the newest."""
FACTS = 12


def gauge(window: "ContextWindow") -> str:
    """How full it is, on a line."""
    share = f" ({window.used / window.budget:.0%})" if window.budget else ""
    about = "about " if window.estimated else ""
    whole = f" of {window.budget:,}" if window.budget else ""
    own = f"; {window.model} takes {window.window:,}" if window.window else f"; {window.model}"
    return f"{about}{window.used:,}{whole} tokens{share}{own}"


def context_text(report: "ContextReport", *, width: int | None = None) -> str:
    """The whole picture."""
    window = report.window
    lines = [gauge(window), "", *_bars(window)]
    lines.append(f"\nkept free for the answer: {tokens(window.reserve)}")
    if report.usage.total:
        lines.append(f"spent so far: {used(report.usage)}")
    lines += ["", *_state_of(report)]
    if report.topics:
        lines += ["", table(("topics", ""), _topics(report), width=width)]
    return "\n".join(lines)


def _bars(window: "ContextWindow") -> list[str]:
    whole = window.budget or window.used or 1
    rows = []
    for name, label in CATEGORIES.items():
        count = getattr(window.by_category, name)
        if count:
            bar = "#" * max(1, round(BAR * count / whole))
            rows.append((label, f"{count:,}", bar))
    if window.budget and window.budget > window.used:
        free = window.budget - window.used
        rows.append(("free", f"{free:,}", "." * round(BAR * free / whole)))
    return [f"  {label:<14}{count:>9}  {bar}" for label, count, bar in rows]


def _state_of(report: "ContextReport") -> list[str]:
    lines = []
    if report.compaction is not None:
        lines.append(f"made smaller before: {brief(report.compaction)}")
    if report.compacts_at is None:
        lines.append("made smaller only when asked")
    else:
        lines.append(f"made smaller by itself at {report.compacts_at:,} tokens")
    outlook = report.outlook
    if outlook is None:
        lines.append("a compaction now would take nothing off")
    else:
        lines.append(
            f"a compaction now: {outlook.tokens_before:,} to about {outlook.tokens_after:,} tokens"
            f" of messages, {outlook.messages} messages to the archive"
            f" ({outlook.strategy}: {outlook.because})"
        )
    return lines


def _topics(report: "ContextReport") -> list[tuple[str, str]]:
    from palaver.context.handles import handle

    return [
        (f"{handle(t.start)}–{handle(t.stop - 1)}", one_line(t.label, 200))
        for t in report.topics[-TOPICS:]
    ]


def brief(compaction: "Compaction") -> str:
    """A compaction on a line."""
    how = ", ".join(tier.value for tier in compaction.tiers) or compaction.reason
    by = f" by {one_line(compaction.model, 60)}" if compaction.model else ""
    return (
        f"{compaction.tokens_before:,} to {compaction.tokens_after:,} tokens"
        f" ({compaction.strategy}: {how}{by})"
    )


def report_text(report: "CompactionReport", *, is_preview: bool) -> str:
    """What a compaction did or would do."""
    compaction, loss, cache = report.compaction, report.loss, report.cache
    lines = [("would be " if is_preview else "") + brief(compaction)]
    lines.append(
        f"  {len(report.goes)} messages go to the archive, {len(report.stays)} stand in the window"
    )
    if loss.results_cleared:
        lines.append(f"  {loss.results_cleared} results of tools became stubs")
    if loss.identifiers_lost:
        short = [name for name in loss.identifiers if len(name.split()) == 1]
        names = ", ".join(one_line(name, 40) for name in short[:8])
        shown = f", {names} among them" if names else ""
        lines.append(f"  {loss.identifiers_lost} names and values are only in the archive{shown}")
    lines += _money(report)
    lines.append(
        f"  each later request is {cache.tokens_shed:,} tokens shorter;"
        f" {cache.tokens_rewritten:,} have to be cached anew"
    )
    lines += _facts(report)
    return "\n".join(lines)


def _money(report: "CompactionReport") -> list[str]:
    cache = report.cache
    lines = []
    if report.compaction.model:
        lines.append(f"  writing the summary cost {dollars(report.cost_usd)}")
    if cache.usd_once is not None and cache.usd_per_request:  # nothing to say where all is free
        later = f"each later one saves {dollars(cache.usd_per_request)}"
        if cache.usd_once > 0:
            even = cache.breaks_even_after
            after = f", even after {even:.0f} requests" if even else ""
            lines.append(f"  the next request costs {dollars(cache.usd_once)} more, {later}{after}")
        else:
            lines.append(f"  the next request saves {dollars(-cache.usd_once)}, {later}")
    return lines


def _facts(report: "CompactionReport") -> Iterable[str]:
    if not report.facts:
        return []
    kept = sum(fact.survives for fact in report.facts)
    lines = [f"  {kept} of {len(report.facts)} critical facts stand in the window"]
    ordered = sorted(report.facts, key=lambda fact: fact.survives)
    for fact in ordered[:FACTS]:
        mark = "+" if fact.survives else "-"
        lines.append(f"    {mark} {fact.kind.replace('_', ' ')}: {one_line(fact.text, 70)}")
    return lines


def window_text(state: "ConversationState") -> str:
    """What a model is sent of the conversation: what was written names what it stands for."""
    from palaver.context.handles import handle
    from palaver.domain.compaction import Kept

    compaction, path = state.compaction, state.messages
    if compaction is None:
        return messages_text(path, 0)
    parts = []
    for item in compaction.items:
        if isinstance(item, Kept):
            parts.append(messages_text(path[item.start : item.stop], item.start))
            continue
        ends = (
            handle(s.start) + (f"–{handle(s.stop - 1)}" if s.stop - s.start > 1 else "")
            for s in item.covers
        )
        said = [item.message.text, *(result.text for result in item.message.tool_results)]
        text = safe("\n".join(filter(None, said)))
        parts.append(f"[in place of {one_line(', '.join(ends), 90)}]\n{text}")
    if compaction.covers < len(path):
        parts.append(messages_text(path[compaction.covers :], compaction.covers))
    return "\n\n".join(parts)


def messages_text(messages: Sequence["Message"], first: int) -> str:
    """Originals under their handles."""
    from palaver.cli.transcript import WHO
    from palaver.context.handles import handle

    parts = []
    for at, message in enumerate(messages, first):
        said = [message.text] if message.text else []
        said += [f"{call.name} {call.arguments}" for call in message.tool_calls]
        said += [result.text for result in message.tool_results]
        who = WHO.get(message.role, message.role)
        parts.append(f"[{handle(at)}] {who}\n{safe(chr(10).join(said))}")
    return "\n\n".join(parts)
