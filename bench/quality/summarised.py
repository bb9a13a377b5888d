"""Beside a model: a coding session that another program had summarised by a model, and the same
session shortened here to the same number of tokens."""

from collections.abc import Sequence
from typing import Any

from bench.quality.data import DATA, count, holds, path_of, pi_session, text_of
from bench.quality.rivals import content_words
from bench.report import Table
from palaver.context import offline
from palaver.context.draft import Task
from palaver.context.identifiers import identifiers
from palaver.context.validate import window_of
from palaver.domain.errors import ContextWindowExceeded
from palaver.domain.messages import Message, Role
from palaver.travel import detect

_SESSIONS = DATA / "coding_agents" / "sessions"
_PAIRS = (("by a model (Cline, agentic)", "agentic"), ("by rules (Cline, basic)", "basic"))


def table(figures: dict[str, Any]) -> Table:
    """What is left of the session's identifiers and words, theirs beside ours at the same size."""
    made = Table("Beside a summary by a model", ("tokens", "identifiers", "words", "user"))
    whole = _messages("session.messages")
    made.rows.append(("the session", *_cells(whole, whole)))
    for name, kind in _PAIRS:
        theirs = _messages(f"{kind}.compaction")
        made.rows.append((name, *_cells(theirs, whole)))
        stays = count(whole[0]) + count([m for m in whole if m.role is Role.USER][-1])
        size = sum(map(count, theirs))
        ours = _ours(whole, size + stays)
        made.rows.append((f"Palaver, {size:,} beside what must stay", *_cells(ours, whole)))
        rest = [m for m in ours if m is not whole[0]]
        made.rows.append(("Palaver, without the first message", *_cells(rest, whole)))
    figures["beside_a_model"] = made.rows
    made.notes = [
        "identifiers: of those that the session names twice or more; words: content words alike; %",
        "user: messages word for word; one session; its first message, 5,089 tokens, holds a file",
        _firsts(figures),
    ]
    return made


def _messages(name: str) -> list[Message]:
    (file,) = _SESSIONS.glob(f"cline__cline__{name}.json.gz")
    (conversation,) = detect.read(file.read_bytes(), name=file.name)
    return path_of(conversation)


def _ours(messages: Sequence[Message], size: int) -> list[Message]:
    task = Task(messages=messages, target=size, count=count)
    try:
        return window_of(task, offline.compact(task))
    except ContextWindowExceeded:
        return []


def _cells(left: Sequence[Message], whole: Sequence[Message]) -> tuple[str, ...]:
    text, source = text_of(left), text_of(whole)
    names = [n for n in identifiers(source) if source.count(n) >= 4]  # text_of holds it twice
    kept = sum(n in text for n in names) / max(1, len(names))
    words = [w for w in content_words(source) if source.lower().count(w) >= 6]
    said = sum(w in content_words(text) for w in words) / max(1, len(words))
    spoken = {m.text for m in left if m.role is Role.USER}
    asked = [m.text for m in whole if m.role is Role.USER]
    user = sum(one in spoken for one in asked) / len(asked)
    tokens = sum(map(count, left))
    return (f"{tokens:,}", *(f"{100 * share:.0f}" for share in (kept, said, user)))


def _firsts(figures: dict[str, Any]) -> str:
    """Arguments first used after a cut of the long session, at the size of a model's summary."""
    session = pi_session()
    found: dict[str, str] = {}
    for share in (0.4, 0.7):
        at = int(len(session) * share)
        while session[at].role is not Role.USER:
            at -= 1
        prefix, future = session[:at], session[at:]
        size = sum(map(count, prefix))
        asked = _first_used(prefix, future)
        for target in (1_100, 4_000, size // 10):
            text = text_of(_ours(prefix, target))
            there = sum(holds(text, value) for value in asked)
            found[f"{size:,} to {target:,}"] = f"{there} of {len(asked)}"
    figures["first_used"] = found
    said = "; ".join(f"{sizes}: {share}" for sizes, share in found.items())
    return f"pi, arguments used for the first time afterwards, tokens before and after: {said}"


def _has_space(value: str) -> bool:
    return any(sign.isspace() for sign in value)


def _first_used(prefix: Sequence[Message], future: Sequence[Message]) -> list[str]:
    from bench.quality.data import future_arguments

    used = text_of([Message(Role.ASSISTANT, m.tool_calls) for m in prefix if m.tool_calls])
    return [v for v in future_arguments(prefix, future, "") if v not in used and not _has_space(v)]
